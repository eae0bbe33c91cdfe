//! Sign-in.

use crate::api::accounts::SignIn;
use crate::model::{COMPOSE_PATH, FormName, MICROSOFT_SIGN_IN_PATH, escaped};
use leptos::prelude::*;
use leptos::server_fn::ServerFn;
use leptos_router::hooks::use_query_map;

use super::open_page;
use crate::components::{ErrorSummary, GuestLayout, TextInput};
use crate::islands::SubmitButton;
use crate::model::AppPath;

/// `/login`
#[component]
pub fn Login() -> impl IntoView {
    let (next, mail) = use_query_map().with_untracked(|query| (query.get("next"), query.get("mail")));
    open_page(move |page| async move {
        let next = AppPath::parse(next.as_deref());
        if page.visitor.person.is_some() {
            leptos_axum::redirect(next.as_str());
            return ().into_any();
        }
        let flash = page.flash(&[FormName::SignIn]).await;
        let is_writing = next.as_str().starts_with(COMPOSE_PATH);
        let fields = flash.clone();
        let passwords = page.backend.accounts.offers_passwords(&page.visitor).await;
        let with_mail = mail.as_deref() != Some("no");
        let microsoft = page.backend.accounts.offers_microsoft(&page.visitor).await.then(|| {
            let (label, mail) =
                if with_mail { ("Sign in with Microsoft", "") } else { ("Sign in with Microsoft, without mailbox", "&mail=no") };
            view! {
                <p class="microsoft">
                    <a class="button" rel="nofollow" href=format!("{MICROSOFT_SIGN_IN_PATH}?next={}{mail}", escaped(next.as_str()))>
                        {label}
                    </a>
                </p>
                <p class="or">{if passwords { "or with a password" } else { "or, for administrators in an emergency, with a password" }}</p>
            }
        });
        view! {
            <GuestLayout visitor=page.visitor.clone() title="Sign in" flash=flash.clone()>
                <ErrorSummary flash title="Not signed in. Check the fields below." />
                {is_writing.then(|| view! { <p>"Your message is waiting: sign in to get it back."</p> })}
                {microsoft}
                <form method="post" action=SignIn::PATH>
                    <TextInput name="email" label="Email" kind="email" autocomplete="username" flash=fields.clone() />
                    <TextInput name="password" label="Password" kind="password" autocomplete="current-password" flash=fields />
                    <input type="hidden" name="next" value=next.as_str().to_owned() />
                    <SubmitButton label="Sign in".to_owned() busy="Signing in…".to_owned() />
                </form>
                <details class="forgot">
                    <summary>"Forgot your password?"</summary>
                    <p>
                        {if passwords {
                            "Ask your administrator for a new password link (Institution › Users)."
                        } else {
                            "Your institution signs in with Microsoft. Only a few administrators keep a password, for emergencies."
                        }}
                    </p>
                </details>
            </GuestLayout>
        }
        .into_any()
    })
}
