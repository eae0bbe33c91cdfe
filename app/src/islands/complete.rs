//! The redirect URI's island: completes the sign-in and removes code and state from the address bar.

use leptos::prelude::*;

use super::alive;
#[cfg(feature = "hydrate")]
use crate::api::mailboxes::complete_sign_in;

/// Completes a sign-in, then opens the attempt's page.
#[island]
pub fn CompleteSignIn(
    state: String,
    code: Option<String>,
    error: Option<String>,
    error_description: Option<String>,
    iss: Option<String>,
    admin_consent: Option<String>,
) -> impl IntoView {
    let alive = alive();
    let (problem, set_problem) = signal(None::<String>);
    #[cfg(feature = "hydrate")]
    Effect::new(move |_| {
        let (state, code, error) = (state.clone(), code.clone(), error.clone());
        let (description, iss, consent) = (error_description.clone(), iss.clone(), admin_consent.clone());
        let location = window().location();
        if let (Ok(history), Ok(path)) = (window().history(), location.pathname()) {
            let _ = history.replace_state_with_url(&wasm_bindgen::JsValue::NULL, "", Some(&path));
        }
        leptos::task::spawn_local(async move {
            match complete_sign_in(state, code, error, description, iss, consent, None).await {
                Ok(path) => {
                    let _ = window().location().replace(&path);
                }
                Err(error) => set_problem.set(Some(error.to_string())),
            }
        });
    });
    #[cfg(not(feature = "hydrate"))]
    let _ = (state, code, error, error_description, iss, admin_consent, set_problem);
    view! {
        <div data-hydrated=move || {
            alive.get().then_some("true")
        }>
            {move || match problem.get() {
                None => {
                    view! {
                        <p class="working" role="status">
                            <span class="spinner" aria-hidden="true"></span>
                            "Completing the sign-in…"
                        </p>
                    }
                        .into_any()
                }
                Some(text) => {
                    view! {
                        <p class="error" role="alert">
                            {text}
                        </p>
                        <p>
                            <a class="button" href=crate::model::ACCOUNT_PATH>
                                "Start again"
                            </a>
                        </p>
                    }
                        .into_any()
                }
            }}
        </div>
    }
}
