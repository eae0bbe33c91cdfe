//! The home page: problems and status.

use crate::api::accounts::DismissUndelivered;
use crate::backend::HomeNotice;
use crate::model::{ACCOUNT_PATH, EMAIL_CONFIG_PATH, MAIL_HEALTH_PATH, USERS_PATH};
use leptos::prelude::*;
use leptos::server_fn::ServerFn;

use super::{mail_health, signed_in_page};
use crate::components::{Banner, Layout, Section, Submit};
use crate::model::{EmailState, FormName, HealthOverview, Role};

/// `/`
#[component]
pub fn Home() -> impl IntoView {
    signed_in_page(|page, user| async move {
        let flash = page.flash(&[FormName::Users]).await;
        let home = page.backend.email_config.home(&user).await?;
        let state = home.state.as_ref().map(EmailState::name);
        let admin = user.role() == Role::Administrator;
        // An administrator's home is the health of everyone's mail.
        let health = match user.administrator() {
            Ok(admin) => {
                let state = home.state.clone().unwrap_or(EmailState::NotSetUp);
                Some(page.backend.health.overview(&admin, &state).await?)
            }
            Err(_) => None,
        };
        let is_set_up = home.state != Some(EmailState::NotSetUp);
        let health = health.filter(|health| is_set_up || !health.causes.is_empty());
        let institution = user.institution().name.clone();
        let lead = format!("Email of {institution}, through Entrepost.");
        let empty = home.notices.is_empty().then(|| {
            view! {
                <section class="sheet">
                    <h2>"Nothing to do yet"</h2>
                    <p>{institution} " hasn't set up email yet. When an administrator has, you can connect your mailbox here."</p>
                </section>
            }
        });
        let notices = home
            .notices
            .into_iter()
            .map(|HomeNotice { notice, path, action, is_past }| {
                let dismiss =
                    is_past.then(|| view! { <Submit action=DismissUndelivered::PATH values=vec![] label="Dismiss" /> });
                view! {
                    <Banner standing=true tone=notice.tone title=notice.title text=notice.text>
                        <div class="actions">
                            <a class="button" href=path>
                                {action}
                            </a>
                            {dismiss}
                        </div>
                    </Banner>
                }
            })
            .collect_view();
        Ok(view! {
            <Layout user title="Home" lead section=Section::Home flash>
                <div class="stack" data-email-state=state>
                    {notices}
                    {empty}
                    {health.map(overview)}
                </div>
                <nav class="tiles" aria-label="Pages">
                    <a class="tile" href=ACCOUNT_PATH>
                        <strong>"User Account › Email"</strong>
                        <span>"Connect and test your mailbox."</span>
                    </a>
                    {admin
                        .then(|| {
                            view! {
                                <a class="tile" href=MAIL_HEALTH_PATH>
                                    <strong>"Institution › Mail health"</strong>
                                    <span>"What works, what doesn't and why, what was sent."</span>
                                </a>
                                <a class="tile" href=EMAIL_CONFIG_PATH>
                                    <strong>"Institution Config › General › Email"</strong>
                                    <span>"How the institution sends and receives."</span>
                                </a>
                                <a class="tile" href=USERS_PATH>
                                    <strong>"Institution › Users"</strong>
                                    <span>"Invite people, see who is connected."</span>
                                </a>
                            }
                        })}
                </nav>
            </Layout>
        }
        .into_any())
    })
}

fn overview(health: HealthOverview) -> AnyView {
    let sentence = health.sentence();
    view! {
        <section class="sheet" aria-labelledby="health-title">
            <h2 id="health-title">{sentence}</h2>
            <p>
                <a href=MAIL_HEALTH_PATH>"Mail health: the queue, what was sent, domains, changes at Microsoft"</a>
            </p>
        </section>
        {(!health.causes.is_empty()).then(|| mail_health::causes(health))}
    }
    .into_any()
}
