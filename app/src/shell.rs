//! The document and the routes. Routes are rendered completely before sending, so that they work without JavaScript.

use leptos::prelude::*;
use leptos_meta::{MetaTags, provide_meta_context};
use leptos_router::components::{Route, Router, Routes};
use leptos_router::{SsrMode, path};

use crate::pages::{
    Account, Attempt, Attempts, Audit, Callback, Compose, Credentials, Device, Drafts, EmailConfig, Home, Inbox,
    Invitation, InviteList, InviteMany, Login, MailHealth, Message, NotFound, Outbox, OwnPrograms, Person, Programs,
    SentMessage, SignInRules, Users,
};

pub fn shell(options: LeptosOptions) -> impl IntoView {
    view! {
        <!DOCTYPE html>
        <html lang="en">
            <head>
                <meta charset="utf-8" />
                <meta name="viewport" content="width=device-width, initial-scale=1" />
                <meta name="color-scheme" content="light dark" />
                <link rel="icon" type="image/svg+xml" href="/favicon.svg" />
                <AutoReload options=options.clone() />
                <HydrationScripts options=options.clone() islands=true />
                <leptos_meta::HashedStylesheet options id="style" />
                <MetaTags />
            </head>
            <body>
                <App />
            </body>
        </html>
    }
}

#[component]
pub fn App() -> impl IntoView {
    provide_meta_context();
    let mode = SsrMode::Async;
    view! {
        <Router>
            <Routes fallback=NotFound>
                <Route path=path!("/") view=Home ssr=mode.clone() />
                <Route path=path!("/login") view=Login ssr=mode.clone() />
                <Route path=path!("/invitation/:token") view=Invitation ssr=mode.clone() />
                <Route path=path!("/institution/config/general/email") view=EmailConfig ssr=mode.clone() />
                <Route path=path!("/institution/config/general/sign-in") view=SignInRules ssr=mode.clone() />
                <Route path=path!("/institution/config/general/email/credentials") view=Credentials ssr=mode.clone() />
                <Route path=path!("/institution/config/general/email/attempts") view=Attempts ssr=mode.clone() />
                <Route path=path!("/institution/config/general/email/attempts/:id") view=Attempt ssr=mode.clone() />
                <Route path=path!("/institution/mail-health") view=MailHealth ssr=mode.clone() />
                <Route path=path!("/institution/audit") view=Audit ssr=mode.clone() />
                <Route path=path!("/institution/programs") view=Programs ssr=mode.clone() />
                <Route path=path!("/institution/programs/:id") view=Device ssr=mode.clone() />
                <Route path=path!("/institution/users") view=Users ssr=mode.clone() />
                <Route path=path!("/institution/users/invite") view=InviteMany ssr=mode.clone() />
                <Route path=path!("/institution/users/invite/:list") view=InviteList ssr=mode.clone() />
                <Route path=path!("/institution/users/:id") view=Person ssr=mode.clone() />
                <Route path=path!("/account/email") view=Account ssr=mode.clone() />
                <Route path=path!("/account/programs") view=OwnPrograms ssr=mode.clone() />
                <Route path=path!("/account/email/attempts") view=Attempts ssr=mode.clone() />
                <Route path=path!("/account/email/attempts/:id") view=Attempt ssr=mode.clone() />
                <Route path=path!("/mail/inbox") view=Inbox ssr=mode.clone() />
                <Route path=path!("/mail/message") view=Message ssr=mode.clone() />
                <Route path=path!("/mail/compose") view=Compose ssr=mode.clone() />
                <Route path=path!("/mail/drafts") view=Drafts ssr=mode.clone() />
                <Route path=path!("/mail/outbox") view=Outbox ssr=mode.clone() />
                <Route path=path!("/mail/outbox/:id") view=SentMessage ssr=mode.clone() />
                <Route path=path!("/web/home/emails/msexchangeonlineoauth") view=Callback ssr=mode />
            </Routes>
        </Router>
    }
}
