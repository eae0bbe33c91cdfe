//! Institution Config › General › Sign-in, for administrators.

use leptos::prelude::*;
use leptos::server_fn::ServerFn;

use super::administrator_page;
use crate::api::accounts::SaveSignInSettings;
use crate::components::{ErrorSummary, Field, Layout, RadioGroup, Section, day};
use crate::islands::SubmitButton;
use crate::model::{CREDENTIALS_PATH, FormName};

/// `/institution/config/general/sign-in`
#[component]
pub fn SignInRules() -> impl IntoView {
    administrator_page(|page, admin| async move {
        let flash = page.flash(&[FormName::SignInSettings]).await;
        let view = page.backend.accounts.sign_in_settings(&admin).await?;
        let fields = flash.clone();
        let domains = flash.typed("domains").map_or_else(|| view.settings.domains.join("\n"), ToOwned::to_owned);
        let stays = view.passwords_stay.clone().map(|why| {
            view! {
                <p class="hint">
                    <strong>"Passwords stay for everyone now. "</strong>
                    {why}
                    " "
                    <a href=CREDENTIALS_PATH>"Credentials"</a>
                </p>
            }
        });
        let proven = (!view.proven.is_empty()).then(|| {
            let all = view.proven.iter().map(|(address, at)| format!("{address} ({})", day(at.0)));
            format!("Passwords that worked within 90 days: {}.", all.collect::<Vec<_>>().join(", "))
        });
        let error = flash.error("passwords-administrators").map(ToOwned::to_owned);
        Ok(view! {
            <Layout
                user=(*admin).clone()
                title="Sign-in"
                trail="Institution Config › General"
                lead="How people sign in to Entrepost. Sign in with Microsoft needs no second password, and connects the mailbox in one go."
                section=Section::Institution
                flash=flash.clone()
            >
                <ErrorSummary flash after="Nothing was saved." />
                <form class="sheet stack" method="post" action=SaveSignInSettings::PATH novalidate>
                    <RadioGroup
                        name="passwords"
                        legend="Passwords"
                        options=vec![
                            ("everyone", "Everyone may have a password"),
                            ("administrators", "Only administrators; everyone else signs in with Microsoft"),
                        ]
                        chosen=view.settings.passwords.as_str()
                        flash=fields.clone()
                    />
                    {error.map(|error| view! { <p class="error">{error}</p> })}
                    {stays}
                    {proven.map(|text| view! { <p class="quiet">{text}</p> })}
                    <RadioGroup
                        name="newcomers"
                        legend="People of your tenant who have no account here"
                        hint="They get an account as a user when they sign in with Microsoft. Guests never do."
                        options=vec![
                            ("refused", "Are told to ask an administrator for an invitation"),
                            ("assigned", "Get an account, if Entra lets them in (everyone, pupils too, unless assignment is required)"),
                            ("domains", "Get an account, if their sign-in name is of a domain below"),
                        ]
                        chosen=view.settings.newcomers.as_str()
                        flash=fields.clone()
                    />
                    <Field
                        name="domains"
                        label="Domains"
                        hint="One on each line. Pupils often share the tenant with teachers: name only domains whose people may all use Entrepost."
                        flash=fields
                    >
                        <textarea id="domains" name="domains" rows="3" spellcheck="false" autocapitalize="none">
                            {domains}
                        </textarea>
                    </Field>
                    <p class="hint">
                        "To limit whom Entra lets in, switch on " <strong>"Assignment required"</strong>
                        " in Entra ID › Enterprise apps › your app › Properties, and assign a group of your staff under Users and groups."
                    </p>
                    <div class="actions">
                        <SubmitButton label="Save".to_owned() busy="Saving…".to_owned() />
                    </div>
                </form>
            </Layout>
        }
        .into_any())
    })
}
