//! People whose Microsoft account ended.

use app::model::MailboxState;

use crate::common::{Browser, Database, Seat, World};

async fn page(browser: &Browser, world: &World, path: &str) -> String {
    browser.get(&world.url("demo", path)).await.text().await.unwrap()
}

/// Microsoft refuses to renew the person's mailbox with a number.
async fn ends_at_microsoft(world: &World, seat: &Seat, number: u32) {
    world.sandbox.world().faults.token_error = number;
    let mailbox = world.services.store.mailbox(seat.key()).await.unwrap().unwrap();
    world.services.tokens.forget(seat.mailbox);
    assert!(world.services.tokens.prove(&mailbox).await.is_err());
    world.sandbox.world().faults.token_error = 0;
    world.services.sweep_once().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_left_is_out_and_an_administrator_decides() {
    for number in [50057, 50034] {
        for database in Database::both().await {
            let world = World::start(&database).await;
            let address = format!("leaver{number}@demo.example");
            let seat = world.newcomer(&address).await;
            let (theirs, admin) = (Browser::new(&world), Browser::new(&world));
            theirs.sign_in(&world, "demo", &address).await;
            admin.sign_in(&world, "demo", "admin@demo.example").await;
            world.queue(&seat, 1, "other@demo.example", world.clock.now()).await;
            ends_at_microsoft(&world, &seat, number).await;
            assert_eq!(theirs.get(&world.url("demo", "/account/email")).await.status(), 302, "signed out");
            let fields = [("email", address.as_str()), ("password", crate::common::PASSWORD)];
            theirs.post(&world.url("demo", "/api/sign_in"), &fields).await;
            assert_eq!(
                theirs.get(&world.url("demo", "/account/email")).await.status(),
                302,
                "the password opens nothing"
            );
            while world.services.outbox.run_once().await.unwrap() > 0 {}
            assert_eq!(world.arrived("other@demo.example"), 0, "what they wrote waits");
            let list = page(&admin, &world, "/institution/users?state=left").await;
            assert!(list.contains(&address) && list.contains("Has left?"), "{list}");
            let person = format!("/institution/users/{}", seat.user);
            let shown = page(&admin, &world, &person).await;
            assert!(shown.contains("Has this person left?") && shown.contains("Add-MailboxPermission"), "{shown}");
            // They stay: nothing is asked again for the same refusal, and they sign in with a new link.
            let user = seat.user.to_string();
            admin.post(&world.url("demo", "/api/person_stays"), &[("user", &user)]).await;
            world.services.sweep_once().await.unwrap();
            assert!(!page(&admin, &world, &person).await.contains("Has this person left?"));
            let log = page(&admin, &world, "/institution/audit").await;
            assert!(log.contains("Has left, says Microsoft") && log.contains("Has not left"), "{log}");
            world.services.store.close().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_back_is_not_thrown_out_again() {
    let database = Database::sqlite();
    let world = World::start(&database).await;
    let address = "returns@demo.example";
    let seat = world.newcomer(address).await;
    ends_at_microsoft(&world, &seat, 50057).await;
    let admin = Browser::new(&world);
    admin.sign_in(&world, "demo", "admin@demo.example").await;
    let user = seat.user.to_string();
    admin.post(&world.url("demo", "/api/renew_invitation"), &[("user", &user)]).await;
    let shown = page(&admin, &world, &format!("/institution/users/{user}")).await;
    let token: String = shown
        .split("/invitation/")
        .nth(1)
        .unwrap()
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || "-_".contains(*c))
        .collect();
    let theirs = Browser::new(&world);
    let chosen = "a new long password";
    let fields = [("token", token.as_str()), ("password", chosen), ("repeated", chosen)];
    theirs.post(&world.url("demo", "/api/accept_invitation"), &fields).await;
    world.services.sweep_once().await.unwrap();
    assert_eq!(theirs.get(&world.url("demo", "/account/email")).await.status(), 200, "the old refusal is known");
    let shown = page(&admin, &world, &format!("/institution/users/{user}")).await;
    assert!(!shown.contains("Has this person left?"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_exported_and_erased() {
    for database in Database::both().await {
        let world = World::start(&database).await;
        let seat = world.newcomer("leaver@demo.example").await;
        let admin = Browser::new(&world);
        admin.sign_in(&world, "demo", "admin@demo.example").await;
        let theirs = Browser::new(&world);
        theirs.sign_in(&world, "demo", "leaver@demo.example").await;
        theirs.post(&world.url("demo", "/api/save_draft"), &[("subject", "Private words"), ("draft", "")]).await;
        world.queue(&seat, 3, "other@demo.example", world.clock.now()).await;
        assert!(world.services.outbox.run_once().await.unwrap() > 0);
        let user = seat.user.to_string();
        let export = format!("/institution/users/{user}/export");
        let answer = admin.post(&world.url("demo", &export), &[]).await;
        assert_eq!(answer.status(), 200);
        let text = answer.text().await.unwrap();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["mailboxes"][0]["address"], "leaver@demo.example");
        assert_eq!(json["stored"]["sent_or_waiting_messages"], 3);
        assert!(!text.contains("Private") && !text.contains("other@demo.example"), "{text}");
        for (browser, status) in [(&theirs, 403), (&Browser::new(&world), 401)] {
            assert_eq!(browser.post(&world.url("demo", &export), &[]).await.status(), status);
        }
        let erase = async |address: &str| {
            admin.post(&world.url("demo", "/api/erase_person"), &[("user", user.as_str()), ("address", address)]).await;
            page(&admin, &world, "/institution/users").await
        };
        let is_there = async || world.services.store.user(seat.institution, seat.user).await.unwrap().is_some();
        erase("leaver@demo.example").await;
        assert!(is_there().await, "not before they are disabled");
        admin.post(&world.url("demo", "/api/set_disabled"), &[("user", user.as_str()), ("disabled", "true")]).await;
        erase("someone@demo.example").await;
        assert!(is_there().await, "another address was typed");
        let list = erase(" Leaver@demo.example ").await;
        assert!(list.contains("leaver@demo.example is erased."), "{list}");
        assert!(!is_there().await);
        assert!(world.services.store.mailbox(seat.key()).await.unwrap().is_none());
        let log = page(&admin, &world, "/institution/audit").await;
        assert!(log.contains("Person erased") && log.contains("Data of a person downloaded"), "{log}");
        // The address is free again.
        world.newcomer("leaver@demo.example").await;
        world.services.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_the_last_administrator_nor_a_shared_mailbox_makes_a_leaver() {
    let database = Database::sqlite();
    let world = World::start(&database).await;
    let admin = world.seat("admin@demo.example").await;
    ends_at_microsoft(&world, &admin, 50057).await;
    let browser = Browser::new(&world);
    browser.sign_in(&world, "demo", "admin@demo.example").await;
    assert_eq!(browser.get(&world.url("demo", "/account/email")).await.status(), 200, "the last one can still come in");
    // Two of them at the same time, as when a tenant moves: one can still come in.
    let second = world.newcomer("second@demo.example").await;
    let user = second.user.to_string();
    browser.post(&world.url("demo", "/api/set_role"), &[("user", user.as_str()), ("role", "administrator")]).await;
    world.sandbox.world().faults.token_error = 50034;
    for seat in [&admin, &second] {
        let mailbox = world.services.store.mailbox(seat.key()).await.unwrap().unwrap();
        world.services.tokens.forget(seat.mailbox);
        assert!(world.services.tokens.prove(&mailbox).await.is_err());
    }
    world.sandbox.world().faults.token_error = 0;
    world.services.sweep_once().await.unwrap();
    let mut opened = 0;
    for address in ["admin@demo.example", "second@demo.example"] {
        let tries = Browser::new(&world);
        let fields = [("email", address), ("password", crate::common::PASSWORD)];
        tries.post(&world.url("demo", "/api/sign_in"), &fields).await;
        opened += usize::from(tries.get(&world.url("demo", "/account/email")).await.status() == 200);
    }
    assert!(opened >= 1, "nobody could undo it");
    // Somebody else's mailbox, connected by a person with another address.
    let seat = world.newcomer("shared@demo.example").await;
    let mut connection = <sqlx::AnyConnection as sqlx::Connection>::connect(&database.url).await.unwrap();
    sqlx::query("UPDATE users SET address = 'owner@demo.example', address_key = 'owner@demo.example', microsoft_subject = NULL WHERE id = $1")
        .bind(seat.user.to_string())
        .execute(&mut connection)
        .await
        .unwrap();
    ends_at_microsoft(&world, &seat, 50034).await;
    let mailbox = world.services.store.mailbox(seat.key()).await.unwrap().unwrap();
    assert_eq!(mailbox.state, MailboxState::NeedsReconnect);
    let shown = page(&browser, &world, &format!("/institution/users/{}", seat.user)).await;
    assert!(!shown.contains("Has this person left?"), "{shown}");
}
