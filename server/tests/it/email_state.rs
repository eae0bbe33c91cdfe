//! One state of email for the home page, the configuration page and mail health, whatever breaks.

use app::model::MailboxState;
use server::clock::Clock;
use server::store::Slot;

use crate::common::{Browser, Database, Seat, World, without_comments};

const CONFIG: &str = "/institution/config/general/email";

/// The state and the title of the strip, as every page shows it.
pub async fn shown(world: &World, admin: &Browser) -> (String, String) {
    let between = |text: &str, from: &str, to: &str| -> String {
        let rest = text.split_once(from).unwrap_or_else(|| panic!("no {from} in {text}")).1;
        rest.split_once(to).unwrap().0.to_owned()
    };
    let config = without_comments(&admin.get(&world.url("demo", CONFIG)).await.text().await.unwrap());
    let state = between(&config, "data-email-state=\"", "\"");
    let strip = between(&config, "data-email-state=", "</div>");
    let title = between(&strip, "</span>", "</p>").rsplit("</span>").next().unwrap().trim().to_owned();
    let is_well = title == "Microsoft accepted the credentials.";
    for other in ["/", "/institution/mail-health"] {
        let page = admin.get(&world.url("demo", other)).await.text().await.unwrap();
        assert_eq!(state, between(&page, "data-email-state=\"", "\""), "{other} reads the same value");
        assert_eq!(is_well, !page.contains(&title), "{other}: {state}: {title}: {page}");
        let is_stopped = page.contains("Email is stopped for everyone.");
        assert_eq!(is_stopped, state == "stopped", "{other}: the sentence agrees with the state: {page}");
        assert!(!is_stopped || !page.contains("No mailbox is blocked"), "{other}: {page}");
    }
    (state, title)
}

/// The field of a page that has the focus.
pub fn focused(page: &str) -> Option<&str> {
    let (before, _) = page.split_once(" autofocus")?;
    before.rsplit_once(" id=\"")?.1.split('"').next()
}

async fn proves(world: &World, seat: &Seat) -> bool {
    let mailbox = world.services.store.mailbox(seat.key()).await.unwrap().unwrap();
    world.services.tokens.forget(seat.mailbox);
    world.services.tokens.prove(&mailbox).await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn home_and_configuration_agree_however_the_registration_breaks() {
    for database in Database::both().await {
        let world = World::start(&database).await;
        let seat = world.seat("user@demo.example").await;
        let admin = Browser::new(&world);
        admin.sign_in(&world, "demo", "admin@demo.example").await;
        assert_eq!(shown(&world, &admin).await.0, "works");
        let (client, tenant, secret) = {
            let world = world.sandbox.world();
            (world.app.client_id, world.tenant_id, world.app.secret_value.clone())
        };
        for (how, title) in [
            ("secret expired", "The Client Secret has expired."),
            ("another secret", "The Client Secret is wrong."),
            ("app gone", "The Client ID is not known in this tenant."),
            ("tenant gone", "The Tenant ID is wrong."),
            ("app disabled", "The institution's app is disabled at Microsoft."),
            ("consent withdrawn", "An administrator must allow the app first."),
            ("not in the tenant", "The app is not yet present in the tenant."),
            ("secrets forbidden", "A policy of the tenant forbids this credential."),
            ("another cloud", "This tenant lives in another Microsoft cloud."),
            ("another tenant", "The app accepts only its own tenant."),
            ("keys out of reach", "Microsoft can't fetch this server's keys."),
            ("signature refused", "Microsoft does not accept this server's signature."),
            ("federation unknown", "The federated credential doesn't match."),
            ("nothing sent", "Microsoft did not get the client secret."),
        ] {
            {
                let mut world = world.sandbox.world();
                match how {
                    "secret expired" => world.faults.secret_expired = true,
                    "another secret" => world.app.secret_value = "another~secret".into(),
                    "app gone" => world.app.client_id = uuid::Uuid::from_u128(7),
                    "tenant gone" => world.tenant_id = uuid::Uuid::from_u128(7),
                    "app disabled" => world.faults.token_error = 7_000_112,
                    "secrets forbidden" => world.faults.secrets_forbidden = true,
                    "another cloud" | "another tenant" | "keys out of reach" | "signature refused"
                    | "federation unknown" | "nothing sent" => {
                        world.faults.token_error_kind = "invalid_request".into();
                        world.faults.token_error = match how {
                            "federation unknown" => 70021,
                            "nothing sent" => 7_000_218,
                            "another cloud" => 90038,
                            "another tenant" => 50194,
                            "keys out of reach" => 50166,
                            _ => 700_027,
                        };
                    }
                    "not in the tenant" => world.faults.token_error = 7_000_229,
                    _ => world.faults.token_error = 65001,
                }
            }
            assert!(!proves(&world, &seat).await, "{how}");
            let (state, said) = shown(&world, &admin).await;
            assert_eq!(state, "stopped", "{how}");
            assert!(said.starts_with(title) || said == title, "{how}: {said}");
            let page = admin.get(&world.url("demo", CONFIG)).await.text().await.unwrap();
            assert!(page.contains("Email is stopped for 1 person."), "{how}: {page}");
            let field = match how {
                "secret expired" | "another secret" => Some("client_secret"),
                "app gone" => Some("client_id"),
                "tenant gone" | "another tenant" => Some("tenant_id"),
                _ => None,
            };
            assert!(field.is_none() || focused(&page) == field, "{how}: {:?}", focused(&page));
            // The steps below contradict neither.
            let step = undone(how);
            let ticks = page.split(&format!("data-step=\"{step}\"")).nth(1).unwrap();
            let ticks = ticks.split("</li>").next().unwrap();
            assert!(!ticks.contains("Checked ✓"), "{how}: {ticks}");
            let current = if step == "consent" { "setup-consent" } else { "setup-values" };
            assert!(!page.contains(&format!("class=\"done\"><a href=\"#{current}\"")), "{how}: {page}");
            // The home page asks no one to connect a mailbox meanwhile.
            let home = admin.get(&world.url("demo", "/")).await.text().await.unwrap();
            assert!(
                !home.contains("Your mailbox isn&#x27;t connected") && !home.contains("Your mailbox isn't connected"),
                "{how}"
            );
            {
                let mut world = world.sandbox.world();
                world.faults = sandbox::Faults::default();
                (world.app.client_id, world.tenant_id, world.app.secret_value) = (client, tenant, secret.clone());
            }
            if how == "consent withdrawn" {
                // Nobody signs in again: the grant is tried by itself.
                let store = &world.services.store;
                let mut tx = store.begin().await.unwrap();
                store.test_consented_now(&mut tx, seat.institution, world.clock.now()).await.unwrap();
                tx.commit().await.unwrap();
                world.services.sweep_once().await.unwrap();
                let state = async || store.mailbox(seat.key()).await.unwrap().unwrap().state;
                world.until(async || state().await == MailboxState::Connected).await;
            } else {
                assert!(proves(&world, &seat).await, "{how}");
            }
            assert_eq!(shown(&world, &admin).await.0, "works", "after {how}");
        }
        world.services.store.close().await;
    }
}

/// The step of the guide that a way to break the registration undoes.
fn undone(how: &str) -> &'static str {
    match how {
        "consent withdrawn" | "not in the tenant" | "app disabled" => "consent",
        "app gone" | "tenant gone" | "another cloud" | "another tenant" => "ids",
        _ => "secret",
    }
}

/// Before anything is set up, and while the values are not checked, the pages agree as well.
#[tokio::test(flavor = "multi_thread")]
async fn pages_agree_before_anything_works() {
    let database = Database::sqlite();
    let world = World::start(&database).await;
    let admin = Browser::new(&world);
    admin.sign_in(&world, "demo", "admin@demo.example").await;
    assert_eq!(shown(&world, &admin).await.0, "not_set_up");
    world.sandbox.world().faults.unavailable = true;
    admin.post(&world.url("demo", "/api/save_email_config"), &world.app_values().fields()).await;
    admin.get(&world.url("demo", CONFIG)).await;
    assert_eq!(shown(&world, &admin).await.0, "unchecked");
    // A switch that was ticked takes a while.
    world.sandbox.world().faults.unavailable = false;
    admin.post(&world.url("demo", "/api/verify_again"), &[]).await;
    admin.post(&world.url("demo", "/api/set_guide_step"), &[("step", "protocols"), ("done", "true")]).await;
    let page = admin.get(&world.url("demo", CONFIG)).await.text().await.unwrap();
    assert!(page.contains("Switched on, not active yet."), "{page}");
    assert_eq!(shown(&world, &admin).await.0, "works");
}

#[tokio::test]
async fn a_date_that_passes_is_checked_with_microsoft() {
    const DAY_MS: i64 = 24 * 60 * 60 * 1000;
    let (database, clock) = (Database::sqlite(), Clock::manual(Clock::system().now()));
    let world = World::start_with(&database, clock.clone(), &[]).await;
    let mailbox = world.seat("user@demo.example").await;
    let admin = Browser::new(&world);
    admin.sign_in(&world, "demo", "admin@demo.example").await;
    let store = &world.services.store;
    let set = async |days: i64| {
        let today = time::OffsetDateTime::from_unix_timestamp(clock.now().0 / 1000).unwrap().date();
        let mut registration = store.registration(mailbox.institution, Slot::Current).await.unwrap().unwrap();
        registration.secret_expires_on = Some((today + time::Duration::days(days)).to_string());
        registration.verified_at = Some(clock.now());
        let mut tx = store.begin().await.unwrap();
        store.put_registration(&mut tx, mailbox.institution, Slot::Current, &registration, clock.now()).await.unwrap();
        tx.commit().await.unwrap();
    };
    set(3).await;
    assert_eq!(shown(&world, &admin).await.1, "The Client Secret expires in 3 days.");
    let page = admin.get(&world.url("demo", CONFIG)).await.text().await.unwrap();
    assert!(page.contains("href=\"#client_secret\"") && page.contains("id=\"client_secret\""), "{page}");
    clock.advance_ms(5 * DAY_MS);
    let admin = Browser::new(&world);
    admin.sign_in(&world, "demo", "admin@demo.example").await;
    assert_eq!(shown(&world, &admin).await.0, "stopped", "as the date says");
    world.services.sweep_once().await.unwrap();
    assert_eq!(shown(&world, &admin).await.1, "Microsoft still accepts the Client Secret.");
    let page = admin.get(&world.url("demo", CONFIG)).await.text().await.unwrap();
    assert!(page.contains("href=\"#secret_expires_on\"") && !page.contains("Paste a new secret"), "{page}");
    set(3).await;
    clock.advance_ms(5 * DAY_MS);
    world.sandbox.world().faults.secret_expired = true;
    world.services.sweep_once().await.unwrap();
    let admin = Browser::new(&world);
    admin.sign_in(&world, "demo", "admin@demo.example").await;
    let (state, title) = shown(&world, &admin).await;
    assert_eq!((state.as_str(), title.as_str()), ("stopped", "The Client Secret has expired."));
    let before = world.sandbox.world().token_requests.clone();
    world.services.sweep_once().await.unwrap();
    assert_eq!(world.sandbox.world().token_requests, before, "what is known is not asked again");
}

/// One person who takes back the own consent stops nobody else; and what lacked consent is tried again, however often it fails.
#[tokio::test(flavor = "multi_thread")]
async fn consent_that_one_person_lacks_stops_no_one_and_heals_unseen() {
    for database in Database::both().await {
        let clock = Clock::manual(Clock::system().now());
        let world = World::start_with(&database, clock.clone(), &[]).await;
        let (one, other) = (world.seat("user@demo.example").await, world.newcomer("two@demo.example").await);
        let admin = Browser::new(&world);
        admin.sign_in(&world, "demo", "admin@demo.example").await;
        let state = async |seat: &Seat| world.services.store.mailbox(seat.key()).await.unwrap().unwrap().state;
        world.sandbox.world().faults.token_error = 65001;
        assert!(!proves(&world, &one).await);
        assert_eq!(shown(&world, &admin).await.0, "works", "the other one may have consent");
        // The other one lacks it, too.
        clock.advance_ms(1_000);
        world.services.sweep_once().await.unwrap();
        world.until(async || state(&other).await == MailboxState::NeedsReconnect).await;
        assert_eq!(shown(&world, &admin).await.0, "stopped");
        // It is tried again, and refused again.
        let attempts = async || {
            let page = server::store::Page::newest(100);
            let all = world.services.store.attempts_of(one.institution, one.user, page).await.unwrap();
            all.iter().filter(|attempt| attempt.stage == app::model::Stage::Finished).count()
        };
        for round in 1..3 {
            clock.advance_ms(16 * 60 * 1000);
            world.services.sweep_once().await.unwrap();
            world.until(async || attempts().await == round).await;
            assert_eq!(state(&one).await, MailboxState::NeedsReconnect);
        }
        world.sandbox.world().faults.token_error = 0;
        clock.advance_ms(16 * 60 * 1000);
        world.services.sweep_once().await.unwrap();
        world.until(async || state(&one).await == MailboxState::Connected).await;
        world.until(async || state(&other).await == MailboxState::Connected).await;
        assert_eq!(shown(&world, &admin).await.0, "works");
        world.services.store.close().await;
    }
}
