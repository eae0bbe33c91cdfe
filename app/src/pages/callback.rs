//! The redirect URI: its GET changes nothing. The island (or the button) completes the sign-in.

use crate::api::mailboxes::CompleteSignIn;
use crate::model::ACCOUNT_PATH;
use leptos::prelude::*;
use leptos::server_fn::ServerFn;
use leptos_router::hooks::use_query_map;

use super::{Page, open_page};
use crate::components::{Banner, GuestLayout};
use crate::islands::CompleteSignIn;
use crate::model::{SHARED_CONSENT, Tone};

/// `/web/home/emails/msexchangeonlineoauth`
#[component]
pub fn Callback() -> impl IntoView {
    let query = use_query_map().get_untracked();
    open_page(move |page| async move {
        let value = move |name: &str| query.get(name).filter(|value| !value.is_empty());
        let [code, error, description, iss, consent] =
            ["code", "error", "error_description", "iss", "admin_consent"].map(&value);
        if value("state").as_deref() == Some(SHARED_CONSENT) {
            return shared_consent(&page, consent.as_deref(), error, description);
        }
        // Microsoft's message is shown even if nothing can be completed: consent may have begun in the portal.
        let waits = page.visitor.person.is_some() || page.visitor.microsoft_sign_in.is_some();
        if consent.is_some() && (value("state").is_none() || !waits) {
            return shared_consent(&page, consent.as_deref(), error, description);
        }
        let told = error.as_deref().and_then(|error| told(&page, error, description.as_deref()));
        // After a lost session the sign-in starts again: the code never goes into a return address.
        if !waits {
            page.status(401);
            return view! {
                <GuestLayout visitor=page.visitor.clone() title="You've been signed out">
                    <Banner
                        tone=Tone::Warning
                        title="Your Entrepost session ended."
                        text="Sign in, then press Configure & Test again. Nothing was connected."
                    />
                    {told}
                    <p>
                        <a class="button primary" href="/login?next=/account/email">
                            "Sign in"
                        </a>
                    </p>
                </GuestLayout>
            }
            .into_any();
        }
        let Some(state) = value("state") else {
            page.status(400);
            return view! {
                <GuestLayout visitor=page.visitor.clone() title="Nothing to complete">
                    <Banner tone=Tone::Warning title="Microsoft sends you to this page after signing in." text="Press Configure & Test to start." />
                    {told}
                    <p>
                        <a class="button primary" href=ACCOUNT_PATH>
                            "Open User Account › Email"
                        </a>
                    </p>
                </GuestLayout>
            }
            .into_any();
        };
        let plain = [
            ("code", &code),
            ("error", &error),
            ("error_description", &description),
            ("iss", &iss),
            ("admin_consent", &consent),
        ]
        .into_iter()
        .filter_map(|(name, value)| value.clone().map(|value| view! { <input type="hidden" name=name value=value /> }))
        .collect_view();
        view! {
            <GuestLayout visitor=page.visitor.clone() title="Back from Microsoft">
                <div class="with-script">
                    <CompleteSignIn state=state.clone() code error error_description=description iss admin_consent=consent />
                </div>
                <div class="without-script">
                    <form method="post" action=CompleteSignIn::PATH>
                        <input type="hidden" name="state" value=state />
                        {plain}
                        <input type="hidden" name="plain" value="1" />
                        <p>"One step left."</p>
                        <button class="button primary">"Complete the sign-in"</button>
                    </form>
                </div>
            </GuestLayout>
        }
        .into_any()
    })
}

/// Explains an error of Microsoft in our words; of its text only codes and ids are shown.
fn told(page: &Page, error: &str, description: Option<&str>) -> Option<AnyView> {
    let (notice, ids) = page.backend.mailboxes.returned(&page.visitor, error, description.unwrap_or_default())?;
    Some(
        view! {
            <Banner tone=notice.tone title=notice.title text=notice.text>
                {(!ids.is_empty()).then(|| view! { <p class="quiet mono">{ids.join(" ")}</p> })}
            </Banner>
        }
        .into_any(),
    )
}

/// Result of a shared consent link, or of consent in the portal. Anyone may open it, and the parameters prove nothing: connecting
/// a mailbox does.
fn shared_consent(page: &Page, consent: Option<&str>, error: Option<String>, description: Option<String>) -> AnyView {
    let visitor = &page.visitor;
    let granted = error.is_none() && consent.is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let name = visitor.institution.name.clone();
    let (tone, title, text) = if granted {
        (
            Tone::Success,
            "Microsoft says consent was granted.",
            format!(
                "Tell the person who sent you the link. They continue in Entrepost; connecting a mailbox of {name} confirms it."
            ),
        )
    } else {
        (Tone::Problem, "Consent was not granted.", "Tell the person who sent you the link.".to_owned())
    };
    let why = error.as_deref().and_then(|error| told(page, error, description.as_deref()));
    view! {
        <GuestLayout visitor=visitor.clone() title="Back from Microsoft">
            <Banner tone title text />
            {why}
            <p class="quiet">"You can close this page."</p>
        </GuestLayout>
    }
    .into_any()
}
