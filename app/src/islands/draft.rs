//! What is typed is kept as a draft, without a button.

use leptos::prelude::*;

use super::alive;

/// Stands in the form it keeps, and says when it did.
#[island]
pub fn DraftKeeper() -> impl IntoView {
    let alive = alive();
    let (said, set_said) = signal(String::new());
    let here = NodeRef::<leptos::html::Span>::new();
    #[cfg(feature = "hydrate")]
    Effect::new(move |_| {
        if let Some(here) = here.get()
            && let Ok(Some(form)) = here.closest("form")
        {
            keep::follow(form, set_said);
        }
    });
    #[cfg(not(feature = "hydrate"))]
    let _ = set_said;
    view! {
        <span node_ref=here class="quiet draft-said" role="status" data-hydrated=move || alive.get().then_some("true")>
            {said}
        </span>
    }
}

#[cfg(feature = "hydrate")]
mod keep {
    use std::cell::Cell;
    use std::rc::Rc;
    use std::time::Duration;

    use leptos::prelude::{Set, WriteSignal, set_timeout};
    use wasm_bindgen::prelude::Closure;
    use wasm_bindgen::{JsCast, JsValue};

    /// What is typed is kept this long after the last letter.
    const PAUSE: Duration = Duration::from_millis(1_200);

    pub(super) fn follow(form: web_sys::Element, said: WriteSignal<String>) {
        let Ok(form) = form.dyn_into::<web_sys::HtmlFormElement>() else { return };
        let version = Rc::new(Cell::new(0_u32));
        let typed = {
            let (form, version) = (form.clone(), Rc::clone(&version));
            Closure::<dyn Fn()>::new(move || {
                let mine = version.get().wrapping_add(1);
                version.set(mine);
                let (form, version) = (form.clone(), Rc::clone(&version));
                set_timeout(
                    move || {
                        // Only after the last letter.
                        if version.get() == mine {
                            leptos::task::spawn_local(save(form, version, mine, said));
                        }
                    },
                    PAUSE,
                );
            })
        };
        // A form that is being sent keeps itself.
        let sent = {
            let version = Rc::clone(&version);
            Closure::<dyn Fn()>::new(move || version.set(version.get().wrapping_add(1)))
        };
        for (event, listener) in [("input", &typed), ("submit", &sent)] {
            let _ = form.add_event_listener_with_callback(event, listener.as_ref().unchecked_ref());
        }
        typed.forget();
        sent.forget();
    }

    async fn save(form: web_sys::HtmlFormElement, version: Rc<Cell<u32>>, mine: u32, said: WriteSignal<String>) {
        let Ok(data) = web_sys::FormData::new_with_form(&form) else { return };
        let field = |name: &str| data.get(name).as_string().unwrap_or_default();
        let kept = crate::api::mail::save_draft(
            field("mailbox"),
            field("to"),
            field("cc"),
            field("bcc"),
            field("subject"),
            field("text"),
            field("key"),
        )
        .await;
        if version.get() != mine {
            return;
        }
        match kept {
            Ok(()) => {
                let time = js_sys::Date::new_0().to_locale_time_string("en-GB");
                let time = JsValue::from(time).as_string().unwrap_or_default();
                said.set(format!("Kept as a draft at {}", time.get(..5).unwrap_or(&time)));
            }
            Err(error) => said.set(format!("Not kept as a draft: {error}")),
        }
    }
}
