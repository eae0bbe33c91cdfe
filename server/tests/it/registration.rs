//! Save: a new secret, other IDs, unchecked values, and errors that belong to no field.

use crate::common::{AppValues, Browser, Database, Seat, World};
use app::model::MailboxState;
use server::store::Slot;

const CONFIG: &str = "/institution/config/general/email";

async fn start(database: &Database) -> (World, Seat, Browser, AppValues) {
    let world = World::start(database).await;
    let seat = world.seat("user@demo.example").await;
    let admin = Browser::new(&world);
    admin.sign_in(&world, "demo", "admin@demo.example").await;
    let values = world.app_values();
    (world, seat, admin, values)
}

/// Posts the form; returns the page it leads to.
async fn save(world: &World, admin: &Browser, values: &AppValues, more: &[(&str, &str)]) -> String {
    let fields = [&values.fields()[..], more].concat();
    admin.post(&world.url("demo", "/api/save_email_config"), &fields).await;
    admin.get(&world.url("demo", CONFIG)).await.text().await.unwrap()
}

async fn proves(world: &World, seat: &Seat) -> bool {
    let mailbox = world.services.store.mailbox(seat.key()).await.unwrap().unwrap();
    world.services.tokens.prove(&mailbox).await.is_ok()
}

/// The form shows the date of the secret before: a new one does not inherit it.
#[tokio::test]
async fn a_new_secret_does_not_keep_the_date_of_the_old_one() {
    let database = Database::sqlite();
    let (world, seat, admin, values) = start(&database).await;
    let date = async || {
        let current = world.services.store.registration(seat.institution, Slot::Current).await.unwrap();
        current.unwrap().secret_expires_on
    };
    let renewed = |secret: &str| {
        world.sandbox.world().app.secret_value = secret.to_owned();
        AppValues { secret: secret.to_owned(), ..world.app_values() }
    };
    let given = [("secret_expires_on", "2099-01-31")];
    save(&world, &admin, &values, &given).await;
    assert_eq!(date().await.as_deref(), Some("2099-01-31"));
    save(&world, &admin, &AppValues { secret: String::new(), ..world.app_values() }, &given).await;
    assert_eq!(date().await.as_deref(), Some("2099-01-31"), "the same secret");
    let page = save(&world, &admin, &renewed("second~secret"), &given).await;
    assert_eq!(date().await, None);
    assert!(page.contains("No expiry date set."), "{page}");
    // Another date, or a lifetime from today, is meant.
    save(&world, &admin, &renewed("third~secret"), &[("secret_expires_on", "2099-06-30")]).await;
    assert_eq!(date().await.as_deref(), Some("2099-06-30"));
    save(&world, &admin, &renewed("fourth~secret"), &[("secret_lifetime", "180")]).await;
    let first = date().await;
    save(&world, &admin, &renewed("fifth~secret"), &[("secret_lifetime", "180")]).await;
    assert!(first.is_some() && date().await == first);
}

#[tokio::test]
async fn a_new_secret_takes_effect_at_once_for_mailboxes_connected_before() {
    for database in Database::both().await {
        let (world, seat, admin, values) = start(&database).await;
        assert!(proves(&world, &seat).await);
        world.sandbox.world().app.secret_value = "brand~new~secret".into();
        assert!(!proves(&world, &seat).await, "the old one is worth nothing now");
        world.services.tokens.forget(seat.mailbox);
        world.queue(&seat, 1, "other@demo.example", world.clock.now()).await;
        assert_eq!(world.services.outbox.run_once().await.unwrap(), 1);
        assert_eq!(world.services.outbox.run_once().await.unwrap(), 0, "it waits for somebody to mend it");
        let refused = "The Client Secret is wrong.";
        let home = async || admin.get(&world.url("demo", "/")).await.text().await.unwrap();
        assert!(home().await.contains(refused));
        let page = save(&world, &admin, &AppValues { secret: "brand~new~secret".into(), ..values }, &[]).await;
        assert!(page.contains("The new secret is already in use"), "{page}");
        assert!(proves(&world, &seat).await);
        assert!(!home().await.contains(refused), "the incident is over");
        assert_eq!(world.services.outbox.run_once().await.unwrap(), 1, "what waited leaves at once");
        let mailbox = world.services.store.mailbox(seat.key()).await.unwrap().unwrap();
        assert_eq!(mailbox.state, MailboxState::Connected, "a wrong secret is the institution's, not the mailbox's");
        world.services.store.close().await;
    }
}

#[tokio::test]
async fn other_ids_end_every_connection_but_only_after_asking() {
    for database in Database::both().await {
        let (world, seat, admin, values) = start(&database).await;
        let other = uuid::Uuid::from_u128(7);
        world.sandbox.world().app.client_id = other;
        let new = AppValues { client_id: other.to_string(), ..values };
        let page = save(&world, &admin, &new, &[]).await;
        assert!(page.contains("1 person must sign in again") && page.contains("Use the new values"), "{page}");
        let store = &world.services.store;
        let current = store.registration(seat.institution, Slot::Current).await.unwrap().unwrap();
        assert_ne!(current.client_id.0, other, "the old ones stay in use until somebody decides");
        let mailbox = store.mailbox(seat.key()).await.unwrap().unwrap();
        assert_eq!(mailbox.state, MailboxState::Connected);
        admin.post(&world.url("demo", "/api/verify_again"), &[("confirm_disconnect", "yes")]).await;
        let current = store.registration(seat.institution, Slot::Current).await.unwrap().unwrap();
        assert_eq!(current.client_id.0, other);
        let mailbox = store.mailbox(seat.key()).await.unwrap().unwrap();
        assert_eq!((mailbox.state, mailbox.refresh_token_sealed.as_str()), (MailboxState::NeedsReconnect, ""));
        world.services.sweep_once().await.unwrap();
        // The daily email may be due at this hour.
        let told = store.told_alerts(seat.institution).await.unwrap();
        let others: Vec<_> = told.iter().filter(|incident| !incident.starts_with("digest ")).collect();
        assert!(others.is_empty(), "no e-mail about what the administrator just did: {others:?}");
        world.services.store.close().await;
    }
}

#[tokio::test]
async fn the_system_default_ends_every_connection_but_only_after_asking() {
    for database in Database::both().await {
        let (world, seat, admin, values) = start(&database).await;
        let default = [("provider", "system_default"), ("custom_from", "no")];
        let address = world.url("demo", "/api/save_email_config");
        admin.post(&address, &default).await;
        let page = admin.get(&world.url("demo", CONFIG)).await.text().await.unwrap();
        assert!(page.contains("Stop using MS Exchange Online?") && page.contains("1 person must sign in"), "{page}");
        assert!(proves(&world, &seat).await, "nothing has changed before somebody agreed");
        let confirmed: Vec<_> = default.into_iter().chain([("confirm_disconnect", "yes")]).collect();
        admin.post(&address, &confirmed).await;
        let store = &world.services.store;
        let mailbox = store.mailbox(seat.key()).await.unwrap().unwrap();
        assert_eq!((mailbox.state, mailbox.refresh_token_sealed.as_str()), (MailboxState::NeedsReconnect, ""));
        let user = Browser::new(&world);
        user.sign_in(&world, "demo", "user@demo.example").await;
        let page = user.get(&world.url("demo", "/account/email")).await.text().await.unwrap();
        assert!(page.contains("has stopped using MS Exchange Online"), "{page}");
        assert!(
            !page.contains("hasn't set up")
                && !page.contains("Your mailbox is connected")
                && !page.contains("Sign in again<"),
            "{page}"
        );
        let page = admin.get(&world.url("demo", "/institution/users")).await.text().await.unwrap();
        assert!(page.contains("has stopped using MS Exchange Online"), "{page}");
        let page = save(&world, &admin, &AppValues { secret: String::new(), ..values }, &[]).await;
        assert!(page.contains("Microsoft accepted the credentials."), "the registration is stored still: {page}");
        world.services.store.close().await;
    }
}

#[tokio::test]
async fn every_missing_value_is_named_and_a_lost_secret_is_asked_for_again() {
    let database = Database::sqlite();
    let world = World::start(&database).await;
    let admin = Browser::new(&world);
    admin.sign_in(&world, "demo", "admin@demo.example").await;
    let nothing = AppValues { client_id: String::new(), tenant_id: String::new(), secret: String::new() };
    let page = save(&world, &admin, &nothing, &[]).await;
    for field in ["client_id", "tenant_id", "client_secret"] {
        assert!(page.contains(&format!("{field}-error")), "{field}: {page}");
    }
    let typo = AppValues { client_id: "typo".into(), secret: "a~secret".into(), ..nothing };
    let page = save(&world, &admin, &typo, &[]).await;
    assert!(page.contains("paste it again") && !page.contains("a~secret"), "{page}");
}

#[tokio::test]
async fn values_that_wait_are_not_used() {
    let database = Database::sqlite();
    let (world, seat, admin, values) = start(&database).await;
    world.sandbox.world().faults = sandbox::Faults { unavailable: true, ..sandbox::Faults::default() };
    let page = save(&world, &admin, &AppValues { secret: "wrong~secret".into(), ..values }, &[]).await;
    assert!(page.contains("New values not in use yet"), "{page}");
    world.sandbox.world().faults = sandbox::Faults::default();
    assert!(proves(&world, &seat).await, "the verified ones are in use");
    admin.post(&world.url("demo", "/api/verify_again"), &[]).await;
    let page = admin.get(&world.url("demo", CONFIG)).await.text().await.unwrap();
    assert!(page.contains("Microsoft rejected these values.") && proves(&world, &seat).await);
}

#[tokio::test]
async fn what_is_no_fields_fault_is_not_blamed_on_a_field() {
    let database = Database::sqlite();
    let (world, seat, admin, values) = start(&database).await;
    let before = world.services.store.registration(seat.institution, Slot::Current).await.unwrap().unwrap();
    for (code, says) in [
        (7_000_229, "The app is not yet present in the tenant."),
        (53003, "A security policy of your institution blocked the sign-in."),
        (1_234_567, "Nothing was saved."),
        (7_000_112, "app is disabled at Microsoft."),
        (650_052, "tenant has no Exchange Online."),
        (500_011, "tenant has no Exchange Online."),
        (7_000_218, "Microsoft did not get the client secret."),
        (700_027, "Microsoft does not accept this server"),
        (70021, "The federated credential doesn't match."),
    ] {
        world.sandbox.world().faults = sandbox::Faults { app_error: code, ..sandbox::Faults::default() };
        let page = save(&world, &admin, &values, &[("secret_expires_on", "2099-01-31")]).await;
        assert!(page.contains(says), "{code}: {page}");
        assert!(!page.contains("client_secret-error") && !page.contains("client_id-error"), "{code}");
        assert!(page.contains("2099-01-31"), "what was typed stays");
        let after = world.services.store.registration(seat.institution, Slot::Current).await.unwrap().unwrap();
        assert_eq!(after.id, before.id, "nothing stored has changed");
    }
    // Tenant errors are shown at its field.
    for (code, says) in [(50059, "The Tenant ID is wrong."), (500_208, "for work or school accounts")] {
        world.sandbox.world().faults = sandbox::Faults { app_error: code, ..sandbox::Faults::default() };
        let page = save(&world, &admin, &values, &[]).await;
        assert!(page.contains(says) && page.contains("tenant_id-error"), "{code}: {page}");
    }
}

#[tokio::test]
async fn ids_in_each_others_field_are_recognised() {
    let database = Database::sqlite();
    let (world, _, admin, values) = start(&database).await;
    let swapped = AppValues {
        client_id: values.tenant_id.clone(),
        tenant_id: values.client_id.clone(),
        secret: values.secret.clone(),
    };
    let page = save(&world, &admin, &swapped, &[]).await;
    assert!(page.contains("Client ID and Tenant ID are swapped."), "{page}");
    // A secret swapped with an ID: the fields are reported, not the secret.
    let page = save(&world, &admin, &AppValues { secret: "wrong~secret".into(), ..swapped }, &[]).await;
    assert!(page.contains("are swapped"), "{page}");
    // An unknown tenant doesn't prove that fields were swapped.
    let (client_id, tenant_id) = (values.tenant_id.clone(), uuid::Uuid::from_u128(9).to_string());
    let page = save(&world, &admin, &AppValues { client_id, tenant_id, secret: "x".into() }, &[]).await;
    assert!(page.contains("The Tenant ID is wrong.") && !page.contains("are swapped"), "{page}");
    let (client_id, tenant_id) = (uuid::Uuid::from_u128(8).to_string(), uuid::Uuid::from_u128(9).to_string());
    let page = save(&world, &admin, &AppValues { client_id, tenant_id, secret: "x".into() }, &[]).await;
    assert!(page.contains("The Tenant ID is wrong.") && !page.contains("are swapped"), "{page}");
}

#[tokio::test]
async fn configure_and_test_while_microsoft_is_away_shows_the_whole_diagnosis() {
    let database = Database::sqlite();
    let (world, _, admin, _) = start(&database).await;
    world.sandbox.world().faults.unavailable = true;
    admin.post(&world.url("demo", "/api/configure_and_test"), &[("email", "admin@demo.example")]).await;
    let page = admin.get(&world.url("demo", "/account/email")).await.text().await.unwrap();
    assert!(page.contains("Microsoft is not available right now.") && page.contains("Technical details"), "{page}");
}

/// Administrators are notified 60, 30, 14, 7, 3 and 1 days before a secret expires, and on the day: once each.
#[tokio::test]
async fn the_end_of_a_secret_is_told_in_time_and_a_missing_date_is_asked_for() {
    const DAY_MS: i64 = 24 * 60 * 60 * 1000;
    let database = Database::sqlite();
    let clock = server::clock::Clock::manual(server::clock::Clock::system().now());
    let world = World::start_with(&database, clock.clone(), &[]).await;
    let seat = world.seat("user@demo.example").await;
    let admin = Browser::new(&world);
    admin.sign_in(&world, "demo", "admin@demo.example").await;
    let page = admin.get(&world.url("demo", CONFIG)).await.text().await.unwrap();
    assert!(page.contains("No expiry date set.") && page.contains("12 months from today"), "{page}");
    let store = &world.services.store;
    let mut registration = store.registration(seat.institution, Slot::Current).await.unwrap().unwrap();
    let ends =
        time::OffsetDateTime::from_unix_timestamp(clock.now().0 / 1000).unwrap().date() + time::Duration::days(40);
    registration.secret_expires_on = Some(ends.to_string());
    let mut tx = store.begin().await.unwrap();
    store.put_registration(&mut tx, seat.institution, Slot::Current, &registration, clock.now()).await.unwrap();
    tx.commit().await.unwrap();
    let mut told = Vec::new();
    for day in 0..45 {
        world.services.sweep_once().await.unwrap();
        world.services.sweep_once().await.unwrap();
        world.services.outbox.run_once().await.unwrap();
        let mails = {
            let world = world.sandbox.world();
            let about =
                |mail: &sandbox::Mail| String::from_utf8_lossy(&mail.raw).contains("Subject: The Client Secret");
            world.mails().iter().filter(|(to, _, mail)| to == "admin@demo.example" && about(mail)).count()
        };
        while told.len() < mails {
            told.push(40 - day);
        }
        clock.advance_ms(DAY_MS);
    }
    // The date was wrong: Microsoft accepts the secret on the day after, so nothing is stopped.
    assert_eq!(told, [40, 30, 14, 7, 3, 1, 0], "40 days before, the reminder of 60 days is due");
}
