//! A submit button that shows progress.

use leptos::prelude::*;

use super::alive;

/// Submits its form. Until the response it shows progress and ignores further presses.
#[island]
pub fn SubmitButton(
    label: String,
    busy: String,
    /// Its class, where it is not the page's main action.
    #[prop(optional)]
    class: Option<String>,
) -> impl IntoView {
    let class = class.unwrap_or_else(|| "button primary".to_owned());
    let alive = alive();
    let (waiting, set_waiting) = signal(false);
    let press = move |event: leptos::ev::MouseEvent| {
        if waiting.get_untracked() {
            event.prevent_default();
            return;
        }
        #[cfg(feature = "hydrate")]
        {
            use wasm_bindgen::JsCast;
            let button = event.current_target().and_then(|target| target.dyn_into::<web_sys::HtmlButtonElement>().ok());
            let valid =
                button.and_then(|button| button.form()).is_none_or(|form| form.no_validate() || form.check_validity());
            if valid {
                set_waiting.set(true);
                // A page restored from the history isn't waiting.
                let _ = window_event_listener(leptos::ev::pageshow, move |_| set_waiting.set(false));
            }
        }
        #[cfg(not(feature = "hydrate"))]
        let _ = set_waiting;
    };
    view! {
        <button class=class on:click=press aria-busy=move || waiting.get().then_some("true") data-hydrated=move || alive.get().then_some("true")>
            {move || if waiting.get() { busy.clone() } else { label.clone() }}
        </button>
    }
}
