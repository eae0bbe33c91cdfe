//! A copy button.

use leptos::prelude::*;

use super::alive;

/// Copies a text to the clipboard. Hidden without JavaScript: the text is shown beside it.
#[island]
pub fn CopyButton(text: String, label: String, #[prop(optional)] primary: Option<bool>) -> impl IntoView {
    let alive = alive();
    let (said, set_said) = signal(label.clone());
    let class = if primary.unwrap_or_default() { "button primary copy" } else { "button copy" };
    let copy = move |_| {
        #[cfg(feature = "hydrate")]
        {
            let (text, label) = (text.clone(), label.clone());
            leptos::task::spawn_local(async move {
                // Browsers allow the clipboard on https and localhost only.
                let copied = window().is_secure_context() && {
                    let written = window().navigator().clipboard().write_text(&text);
                    wasm_bindgen_futures::JsFuture::from(written).await.is_ok()
                };
                set_said.set(if copied { "Copied" } else { "Select and copy it" }.to_owned());
                set_timeout(move || set_said.set(label), std::time::Duration::from_secs(2));
            });
        }
        #[cfg(not(feature = "hydrate"))]
        let _ = (&text, &label, set_said);
    };
    view! {
        <button type="button" class=class on:click=copy data-hydrated=move || alive.get().then_some("true")>
            <span aria-live="polite">{said}</span>
        </button>
    }
}
