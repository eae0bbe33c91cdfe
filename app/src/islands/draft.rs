//! What is typed is kept as a draft, without a button.

use leptos::prelude::*;

use super::alive;

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

/// Deletes this tab's copy once the message is sent or saved.
pub fn forget_what_was_sent() {
    #[cfg(feature = "hydrate")]
    {
        use crate::model::{DRAFTS_PATH, OUTBOX_PATH};
        let path = window().location().pathname().unwrap_or_default();
        let said = document().query_selector(".banner.said:not(.bad)").ok().flatten().is_some();
        if said && (path.starts_with(OUTBOX_PATH) || path.starts_with(DRAFTS_PATH)) {
            keep::forget_mirror();
        }
    }
}

#[cfg(feature = "hydrate")]
mod keep {
    use std::cell::Cell;
    use std::rc::Rc;
    use std::time::Duration;

    use js_sys::Reflect;
    use leptos::prelude::{Set, WriteSignal, document, set_timeout, window};
    use leptos::server_fn::ServerFn;
    use wasm_bindgen::prelude::Closure;
    use wasm_bindgen::{JsCast, JsValue};
    use wasm_bindgen_futures::JsFuture;
    use web_sys::{FormData, HtmlFormElement, HtmlInputElement, RequestInit, Response, UrlSearchParams};

    use crate::api::drafts::SaveDraft;
    use crate::error::AppError;

    /// Delay between the last keystroke and saving.
    const PAUSE: Duration = Duration::from_millis(1_200);
    /// Session storage key of unsaved text.
    const MIRROR: &str = "entrepost-draft";
    /// The text's owner: it isn't shown to another user of this tab.
    const OWNER: &str = "owner";
    const FIELDS: [&str; 6] = ["key", "to", "cc", "bcc", "subject", "text"];

    struct Editor {
        form: HtmlFormElement,
        version: Cell<u32>,
        unkept: Cell<bool>,
        said: WriteSignal<String>,
    }

    pub(super) fn follow(form: web_sys::Element, said: WriteSignal<String>) {
        let Ok(form) = form.dyn_into::<HtmlFormElement>() else { return };
        let editor = Rc::new(Editor { form, version: Cell::new(0), unkept: Cell::new(false), said });
        editor.restore();
        listen(&editor.form, "input", {
            let editor = Rc::clone(&editor);
            move || {
                let mine = editor.touch(true);
                editor.mirror();
                let editor = Rc::clone(&editor);
                set_timeout(
                    move || {
                        // Only after the last keystroke.
                        if editor.version.get() == mine {
                            leptos::task::spawn_local(editor.keep(mine));
                        }
                    },
                    PAUSE,
                );
            }
        });
        // A submitted form saves itself.
        listen(&editor.form, "submit", {
            let editor = Rc::clone(&editor);
            move || {
                editor.touch(false);
                editor.number();
                // If the session has ended, the sign-in page leads back here.
                editor.mirror();
            }
        });
        // Saves when the page is left or hidden.
        listen(&document(), "visibilitychange", move || {
            if document().hidden() && editor.unkept.get() {
                let mine = editor.touch(false);
                let beacon =
                    |typed| window().navigator().send_beacon_with_opt_url_search_params(SaveDraft::PATH, Some(&typed));
                // Texts too long for a beacon are sent by fetch.
                if !editor.typed().is_some_and(|typed| beacon(typed).unwrap_or(false)) {
                    leptos::task::spawn_local(Rc::clone(&editor).keep(mine));
                }
            }
        });
    }

    fn listen(target: &web_sys::EventTarget, event: &str, then: impl Fn() + 'static) {
        let listener = Closure::<dyn Fn()>::new(then).into_js_value();
        let _ = target.add_event_listener_with_callback(event, listener.unchecked_ref());
    }

    impl Editor {
        fn touch(&self, unkept: bool) -> u32 {
            self.unkept.set(unkept);
            self.version.set(self.version.get() + 1);
            self.version.get()
        }

        /// Numbers the saves, so that none overwrites a later one.
        fn number(&self) -> Option<()> {
            let number = self.form.query_selector("[name=revision]").ok()??.dyn_into::<HtmlInputElement>().ok()?;
            number.set_value(&self.version.get().to_string());
            Some(())
        }

        fn typed(&self) -> Option<UrlSearchParams> {
            self.number()?;
            let typed: JsValue = FormData::new_with_form(&self.form).ok()?.into();
            UrlSearchParams::new_with_str_sequence_sequence(&typed).ok()
        }

        /// Stores the text in this tab until the server has it.
        fn mirror(&self) -> Option<()> {
            let typed = self.typed()?;
            typed.append(OWNER, &self.form.get_attribute("data-owner")?);
            storage()?.set_item(MIRROR, &String::from(typed.to_string())).ok()
        }

        /// Restores this tab's copy into the same draft or a blank form.
        fn restore(&self) -> Option<()> {
            let kept = storage()?.get_item(MIRROR).ok()??;
            let kept = UrlSearchParams::new_with_str(&kept).ok()?;
            let sent = self.form.get_attribute("data-sent").unwrap_or_default();
            let is_sent = kept.get("key").is_some_and(|key| sent.split(' ').any(|sent| sent == key));
            if is_sent || kept.get(OWNER) != self.form.get_attribute("data-owner") {
                forget_mirror();
                return None;
            }
            let field = |name| Reflect::get(&self.form, &JsValue::from_str(name)).ok();
            let value = JsValue::from_str("value");
            if !self.form.has_attribute("data-blank")
                && Reflect::get(&field("key")?, &value).ok()?.as_string() != kept.get("key")
            {
                return None;
            }
            for name in FIELDS {
                Reflect::set(&field(name)?, &value, &kept.get(name)?.into()).ok()?;
            }
            self.touch(true);
            Some(())
        }

        /// Shows or hides the signed-out bar.
        fn show_signed_out(&self, out: bool) -> Option<bool> {
            self.form.query_selector(".signed-out").ok()??.toggle_attribute_with_force("hidden", !out).ok()
        }

        async fn keep(self: Rc<Self>, mine: u32) {
            self.unkept.set(false);
            let Some(typed) = self.typed() else { return };
            let kept = post(&typed).await;
            if self.version.get() != mine {
                return;
            }
            self.said.set(match kept {
                Ok(()) => {
                    forget_mirror();
                    self.show_signed_out(false);
                    let time = js_sys::Date::new_0().to_locale_time_string("en-GB");
                    let time = JsValue::from(time).as_string().unwrap_or_default();
                    format!("Draft saved {}", time.get(..5).unwrap_or(&time))
                }
                Err(error) => {
                    self.unkept.set(true);
                    self.show_signed_out(matches!(error, AppError::NotSignedIn));
                    format!("Draft not saved: {error}")
                }
            });
        }
    }

    fn storage() -> Option<web_sys::Storage> {
        window().session_storage().ok()?
    }

    pub(super) fn forget_mirror() {
        if let Some(storage) = storage() {
            let _ = storage.remove_item(MIRROR);
        }
    }

    async fn post(typed: &UrlSearchParams) -> Result<(), AppError> {
        let asked = RequestInit::new();
        asked.set_method("POST");
        asked.set_body(typed);
        let answer = JsFuture::from(window().fetch_with_str_and_init(SaveDraft::PATH, &asked)).await;
        let answer: Response = answer.map_err(|_| AppError::Unreachable)?.unchecked_into();
        if answer.ok() {
            return Ok(());
        }
        let text = match answer.text() {
            Ok(text) => JsFuture::from(text).await.ok().and_then(|text| text.as_string()),
            Err(_) => None,
        };
        Err(serde_json::from_str(&text.unwrap_or_default()).unwrap_or(AppError::Unreachable))
    }
}
