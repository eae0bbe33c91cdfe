//! Institution Config › General › Sign-in, for administrators.

use leptos::prelude::*;
use leptos::server_fn::ServerFn;

use super::administrator_page;
use crate::api::accounts::SaveSignInSettings;
use crate::components::{ErrorSummary, Field, Layout, RadioGroup, Section, day};
use crate::islands::SubmitButton;
use crate::model::{CREDENTIALS_PATH, Flash, FormName, SignInSettingsView};

/// `/institution/config/general/sign-in`
#[component]
pub fn SignInRules() -> impl IntoView {
    administrator_page(|page, admin| async move {
        let flash = page.flash(&[FormName::SignInSettings]).await;
        let view = page.backend.accounts.sign_in_settings(&admin).await?;
        let fields = flash.clone();
        let domains = flash.typed("domains").map_or_else(|| view.settings.domains.join("\n"), ToOwned::to_owned);
        let error = flash.error("passwords-administrators").map(ToOwned::to_owned);
        // The error says the same.
        let stays = view.passwords_stay.clone().filter(|_| error.is_none()).map(|why| {
            view! {
                <p class="hint">
                    <strong>"Passwords stay for everyone now. "</strong>
                    {why}
                    " "
                    <a href=CREDENTIALS_PATH>"Credentials"</a>
                </p>
            }
        });
        let keepers = keepers(&view, &flash);
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
                            ("administrators", "Only two administrators, for emergencies; everyone else signs in with Microsoft"),
                        ]
                        chosen=view.settings.passwords.as_str()
                        flash=fields.clone()
                    />
                    {error.map(|error| view! { <p class="error">{error}</p> })}
                    {stays}
                    {keepers}
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

/// Whose passwords stay when everyone else signs in with Microsoft.
fn keepers(view: &SignInSettingsView, flash: &Flash) -> Option<AnyView> {
    if view.proven.is_empty() {
        return None;
    }
    let typed = flash.typed("keepers");
    let few = view.keepers.is_empty() && view.proven.len() <= 2;
    let choices = view.proven.iter().map(|(id, address, at)| {
        let text = id.to_string();
        let checked =
            typed.map_or(few || view.keepers.contains(id), |typed| typed.split(' ').any(|chosen| chosen == text));
        view! {
            <label class="radio">
                <input type="checkbox" name="keepers[]" value=text checked=checked />
                <span>{format!("{address}, password last used on {}", day(at.0))}</span>
            </label>
        }
    });
    let choices = choices.collect_view();
    let error = flash.error("keepers").map(|error| view! { <p class="error">{error.to_owned()}</p> });
    Some(
        view! {
            <fieldset class="field" id="keepers" aria-describedby="keepers-hint">
                <legend>"Whose passwords stay"</legend>
                <p class="hint" id="keepers-hint">
                    "Two administrators whose passwords worked within 90 days, for the day when Microsoft's sign-in or the app fails."
                </p>
                {error}
                <div class="radios">{choices}</div>
            </fieldset>
        }
        .into_any(),
    )
}
