//! The one-time link to set a password.

use crate::api::accounts::{AcceptInvitation, SignInWithMicrosoft};
use crate::model::{FormName, LOGIN_PATH};
use leptos::prelude::*;
use leptos::server_fn::ServerFn;
use leptos_router::hooks::{use_params_map, use_query_map};

use super::open_page;
use crate::components::{Banner, ErrorSummary, GuestLayout, TextInput};
use crate::islands::SubmitButton;
use crate::model::Tone;

/// `/invitation/{token}`
#[component]
pub fn Invitation() -> impl IntoView {
    let token = use_params_map().with_untracked(|params| params.get("token")).unwrap_or_default();
    let without_mail = use_query_map().with_untracked(|query| query.get("mail")).as_deref() == Some("no");
    open_page(move |page| async move {
        let flash = page.flash(&[FormName::Invitation]).await;
        match page.backend.accounts.invitation(&page.visitor, &token).await {
            Ok(invitation) => {
                let fields = flash.clone();
                let may_set_password = invitation.may_set_password;
                let invited = token.clone();
                let microsoft = page.backend.accounts.offers_microsoft(&page.visitor).await.then(|| {
                    view! {
                        <form method="post" action=SignInWithMicrosoft::PATH class="microsoft">
                            <input type="hidden" name="invitation" value=invited />
                            {without_mail.then(|| view! { <input type="hidden" name="mail" value="no" /> })}
                            <p>"Use your Microsoft account: it also connects your mailbox, and you need no other password."</p>
                            <button class="button">{if without_mail { "Sign in with Microsoft, without mailbox" } else { "Sign in with Microsoft" }}</button>
                        </form>
                        {may_set_password.then(|| view! { <p class="or">"or set a password"</p> })}
                    }
                });
                view! {
                    <GuestLayout
                        visitor=page.visitor.clone()
                        title=if may_set_password { "Set your password" } else { "Welcome to Entrepost" }
                        flash=flash.clone()
                    >
                        <p>{invitation.institution} " invited you (" <strong>{invitation.address.clone()}</strong> ") to Entrepost."</p>
                        <ErrorSummary flash title="Password not set. Check the fields below." />
                        {microsoft}
                        {may_set_password
                            .then(|| {
                                view! {
                                    <form method="post" action=AcceptInvitation::PATH>
                                        <input type="hidden" name="token" value=token />
                                        <input type="hidden" autocomplete="username" value=invitation.address />
                                        <TextInput
                                            name="password"
                                            label="Password"
                                            kind="password"
                                            autocomplete="new-password"
                                            hint="At least 12 characters. Several words in a row are easy to remember."
                                            flash=fields.clone()
                                        />
                                        <TextInput name="repeated" label="Confirm password" kind="password" autocomplete="new-password" flash=fields />
                                        <SubmitButton label="Set password and sign in".to_owned() busy="Setting…".to_owned() />
                                    </form>
                                }
                            })}
                    </GuestLayout>
                }
                .into_any()
            }
            Err(error) => {
                page.status(page.backend.told(error).status());
                view! {
                    <GuestLayout visitor=page.visitor.clone() title="This link doesn't work">
                        <Banner
                            tone=Tone::Problem
                            title="It was already used, has expired, or was replaced by a newer one."
                            text="Ask your administrator for a new link. If you already have a password, sign in with it."
                        />
                        <p>
                            <a class="button" href=LOGIN_PATH>
                                "Go to the sign-in page"
                            </a>
                        </p>
                    </GuestLayout>
                }
                .into_any()
            }
        }
    })
}
