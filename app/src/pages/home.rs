//! The home page: problems and status.

use crate::model::{ACCOUNT_PATH, EMAIL_CONFIG_PATH, MAIL_HEALTH_PATH, USERS_PATH};
use leptos::prelude::*;

use super::signed_in_page;
use crate::components::{Banner, Layout, Section};
use crate::model::{EmailState, Role};

/// `/`
#[component]
pub fn Home() -> impl IntoView {
    signed_in_page(|page, user| async move {
        let flash = page.flash(&[]).await;
        let home = page.backend.email_config.home(&user).await?;
        let state = home.state.as_ref().map(EmailState::name);
        let admin = user.role() == Role::Administrator;
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
            .map(|(notice, path, action)| {
                view! {
                    <Banner standing=true tone=notice.tone title=notice.title text=notice.text>
                        <p>
                            <a class="button" href=path>
                                {action}
                            </a>
                        </p>
                    </Banner>
                }
            })
            .collect_view();
        Ok(view! {
            <Layout user title="Home" lead section=Section::Home flash>
                <div class="stack" data-email-state=state>
                    {notices}
                    {empty}
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
