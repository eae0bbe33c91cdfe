//! Tokens: one refresh at a time among tasks and replicas; a rejection is requested once.

use std::sync::Arc;

use crate::common::{Browser, Database, World};
use app::backend::SignedIn;
use app::model::{MailboxState, Role, SessionId};
use futures::StreamExt;
use server::service::Services;
use server::store::{Lease, Mailbox};

/// A number of concurrent token requests; returns how many succeeded.
async fn senders(services: &[Arc<Services>], mailbox: &Mailbox, count: usize) -> usize {
    let asking = (0..count).map(|number| {
        let (tokens, mailbox) = (Arc::clone(&services[number % services.len()].tokens), mailbox.clone());
        tokio::spawn(async move { tokens.access(&mailbox).await.is_ok() })
    });
    futures::future::join_all(asking).await.into_iter().filter(|got| *got.as_ref().unwrap()).count()
}

#[tokio::test]
async fn two_hundred_senders_make_one_request() {
    for database in Database::both().await {
        let world = World::start(&database).await;
        let seat = world.seat("user@demo.example").await;
        world.sandbox.world().faults.token_slow_ms = 300;
        let mailbox = world.services.store.mailbox(seat.key()).await.unwrap().unwrap();
        assert_eq!(senders(&[Arc::clone(&world.services)], &mailbox, 200).await, 200);
        assert_eq!(world.refreshes(), 1);
        // The rotated token is stored by then.
        let after = world.services.store.mailbox(seat.key()).await.unwrap().unwrap();
        assert_eq!(after.grant_version, mailbox.grant_version + 1);
        assert_ne!(after.refresh_token_sealed, mailbox.refresh_token_sealed);
    }
}

#[tokio::test]
async fn two_replicas_make_one_request_too() {
    let world = World::start(&Database::postgres().await).await;
    let seat = world.seat("user@demo.example").await;
    let replicas = [Arc::clone(&world.services), world.replica().await];
    world.sandbox.world().faults.token_slow_ms = 300;
    let mailbox = world.services.store.mailbox(seat.key()).await.unwrap().unwrap();
    assert_eq!(senders(&replicas, &mailbox, 200).await, 200);
    assert_eq!(world.refreshes(), 1);
    // Access tokens are shared in memory: no column has them.
    assert_eq!(senders(&replicas, &mailbox, 20).await, 20);
    assert_eq!(world.refreshes(), 1);

    // So are tokens longer than a PostgreSQL notification.
    world.sandbox.world().faults.token_padding = 20_000;
    replicas.iter().for_each(|services| services.tokens.forget(seat.mailbox));
    assert_eq!(senders(&replicas, &mailbox, 200).await, 200);
    assert_eq!(world.refreshes(), 2);
}

#[tokio::test]
async fn a_refusal_is_asked_for_once_and_ends_with_a_new_grant() {
    for database in Database::both().await {
        let world = World::start(&database).await;
        let seat = world.seat("user@demo.example").await;
        world.sandbox.world().faults.grants_revoked = true;
        world.sandbox.world().faults.token_slow_ms = 100;
        let store = &world.services.store;
        let mailbox = store.mailbox(seat.key()).await.unwrap().unwrap();
        assert_eq!(senders(&[Arc::clone(&world.services)], &mailbox, 200).await, 0);
        assert_eq!(world.refreshes(), 1, "nobody asks again for the same no");
        let ended = store.mailbox(seat.key()).await.unwrap().unwrap();
        assert_eq!(ended.state, MailboxState::NeedsReconnect);
        world.sandbox.world().faults.grants_revoked = false;
        let seat = world.seat("user@demo.example").await;
        let mailbox = store.mailbox(seat.key()).await.unwrap().unwrap();
        assert_eq!(senders(&[Arc::clone(&world.services)], &mailbox, 3).await, 3);
    }
}

/// A token revoked early: 200 holders cause one request.
#[tokio::test]
async fn two_hundred_who_were_refused_make_one_request() {
    let database = Database::sqlite();
    let clock = server::clock::Clock::manual(server::clock::Clock::system().now());
    let world = World::start_with(&database, clock.clone(), &[]).await;
    let seat = world.seat("user@demo.example").await;
    let mailbox = world.services.store.mailbox(seat.key()).await.unwrap().unwrap();
    let held = world.services.tokens.access(&mailbox).await.unwrap();
    clock.advance_ms(60_000);
    world.sandbox.world().faults.token_slow_ms = 200;
    let asking = (0..200).map(|_| {
        let (tokens, mailbox, held) = (Arc::clone(&world.services.tokens), mailbox.clone(), held.clone());
        tokio::spawn(async move {
            tokens.instead_of(&mailbox, server::access_tokens::Resource::Outlook, &held).await.unwrap().is_some()
        })
    });
    let got = futures::future::join_all(asking).await;
    assert!(got.into_iter().all(|got| got.unwrap()));
    assert_eq!(world.refreshes(), 2, "the first one, and one more");
}

/// The caller gives up, or the server stops: the response is stored anyway.
#[tokio::test]
async fn a_renewal_that_nobody_waits_for_is_stored() {
    let database = Database::sqlite();
    let world = World::start(&database).await;
    let seat = world.seat("user@demo.example").await;
    let store = &world.services.store;
    let mailbox = store.mailbox(seat.key()).await.unwrap().unwrap();
    world.sandbox.world().faults.token_slow_ms = 300;
    world.sandbox.world().faults.strict_rotation = true;
    let asking = {
        let (tokens, mailbox) = (Arc::clone(&world.services.tokens), mailbox.clone());
        tokio::spawn(async move { tokens.access(&mailbox).await.is_ok() })
    };
    world.until(async || world.refreshes() == 1).await;
    asking.abort();
    world.services.tasks.close();
    world.services.tasks.wait().await;
    let after = store.mailbox(seat.key()).await.unwrap().unwrap();
    assert_eq!(after.grant_version, mailbox.grant_version + 1);
    world.services.tokens.forget(seat.mailbox);
    assert!(world.services.tokens.access(&after).await.is_ok(), "the grant that was stored is the one that works");
}

/// Tokens are renewed some minutes before they expire.
#[tokio::test]
async fn a_token_is_renewed_before_it_ends() {
    let database = Database::sqlite();
    let clock = server::clock::Clock::manual(server::clock::Clock::system().now());
    let world = World::start_with(&database, clock.clone(), &[]).await;
    let seat = world.seat("user@demo.example").await;
    let mailbox = world.services.store.mailbox(seat.key()).await.unwrap().unwrap();
    let first = world.services.tokens.access(&mailbox).await.unwrap();
    clock.advance_ms(54 * 60 * 1000);
    world.services.tokens.access(&mailbox).await.unwrap();
    assert_eq!(world.refreshes(), 1);
    clock.advance_ms(2 * 60 * 1000);
    let second = world.services.tokens.access(&mailbox).await.unwrap();
    assert_eq!(world.refreshes(), 2);
    assert!(clock.now() < first.expires_at && second.expires_at > first.expires_at);
}

/// After long downtime, grants are renewed a few at a time.
#[tokio::test]
async fn renewals_never_come_as_a_storm() {
    let database = Database::sqlite();
    let clock = server::clock::Clock::manual(server::clock::Clock::system().now());
    let world = World::start_with(&database, clock.clone(), &[]).await;
    for number in 0..12 {
        world.newcomer(&format!("person{number}@demo.example")).await;
    }
    clock.advance_ms(80 * 24 * 60 * 60 * 1000);
    for renewed in [5, 10, 12, 12] {
        world.services.sweep_once().await.unwrap();
        assert_eq!(world.refreshes(), renewed);
    }
}

/// Requests to an unreachable authority back off, and resume once it responds.
#[tokio::test]
async fn an_authority_in_trouble_is_asked_less_and_less_often() {
    for database in Database::both().await {
        let clock = server::clock::Clock::manual(server::clock::Clock::system().now());
        let world = World::start_with(&database, clock.clone(), &[]).await;
        let seat = world.seat("user@demo.example").await;
        let (services, store) = ([Arc::clone(&world.services)], &world.services.store);
        let mailbox = store.mailbox(seat.key()).await.unwrap().unwrap();
        world.sandbox.world().faults.token_seconds = 10 * 60;
        assert_eq!(senders(&services, &mailbox, 1).await, 1);
        clock.advance_ms(6 * 60 * 1000);
        world.sandbox.world().faults.unavailable = true;
        // Half a second, doubled each time, plus up to a fifth.
        let mut rest = 500;
        for asked in 2..=10 {
            assert_eq!(senders(&services, &mailbox, 3).await, 0);
            assert_eq!(world.refreshes(), asked, "its turn had come");
            clock.advance_ms(rest - 1);
            assert_eq!(senders(&services, &mailbox, 3).await, 0);
            assert_eq!(world.refreshes(), asked, "{rest} ms are not over");
            clock.advance_ms(rest / 5 + 2);
            rest = (rest * 2).min(60_000);
        }
        world.sandbox.world().faults.unavailable = false;
        assert_eq!(senders(&services, &mailbox, 3).await, 3);
        clock.advance_ms(6 * 60 * 1000);
        world.sandbox.world().faults.unavailable = true;
        assert_eq!(senders(&services, &mailbox, 3).await, 0);
        let asked = world.refreshes();
        clock.advance_ms(601);
        assert_eq!(senders(&services, &mailbox, 3).await, 0);
        assert_eq!(world.refreshes(), asked + 1, "what went well ends the patience");
        store.close().await;
    }
}

/// A new Conditional Access requirement ends the connection as a revoked grant does.
#[tokio::test]
async fn a_new_condition_needs_the_person_and_administrators_see_it() {
    for database in Database::both().await {
        let world = World::start(&database).await;
        let seat = world.seat("user@demo.example").await;
        world.sandbox.world().faults.token_error = 50076;
        let store = &world.services.store;
        let mailbox = store.mailbox(seat.key()).await.unwrap().unwrap();
        let refused = world.services.tokens.access(&mailbox).await.err().unwrap();
        assert!(refused.needs_reconnect(), "{refused}");
        let after = store.mailbox(seat.key()).await.unwrap().unwrap();
        assert_eq!(after.state, MailboxState::NeedsReconnect);
        assert!(after.problem.unwrap().to_json().contains("interaction_required"));
        let admin = Browser::new(&world);
        admin.sign_in(&world, "demo", "admin@demo.example").await;
        let home = admin.get(&world.url("demo", "/")).await.text().await.unwrap();
        assert!(home.contains("Email works for 0 of ") && home.contains("data-cause=\"mfa\""), "{home}");
        let person = Browser::new(&world);
        person.sign_in(&world, "demo", "user@demo.example").await;
        let account = person.get(&world.url("demo", "/account/email")).await.text().await.unwrap();
        assert!(account.contains("Sign in again"));
    }
}

/// All replicas obey Retry-After.
#[tokio::test]
async fn patience_is_asked_of_all_replicas() {
    let database = Database::postgres().await;
    let clock = server::clock::Clock::manual(server::clock::Clock::system().now());
    let world = World::start_with(&database, clock.clone(), &[]).await;
    let seat = world.seat("user@demo.example").await;
    let replicas = [Arc::clone(&world.services), world.replica().await];
    let mailbox = world.services.store.mailbox(seat.key()).await.unwrap().unwrap();
    world.sandbox.world().faults.token_busy = true;
    assert_eq!(senders(&replicas, &mailbox, 20).await, 0);
    assert_eq!(world.refreshes(), 1);
    clock.advance_ms(119_000);
    assert_eq!(senders(&replicas, &mailbox, 20).await, 0);
    assert_eq!(world.refreshes(), 1, "it asked for two minutes");
    world.sandbox.world().faults.token_busy = false;
    clock.advance_ms(2_000);
    assert_eq!(senders(&replicas, &mailbox, 20).await, 20);
    assert_eq!(world.refreshes(), 2);
    let after = world.services.store.mailbox(seat.key()).await.unwrap().unwrap();
    assert_eq!((after.state, after.refresh_refusal), (MailboxState::Connected, None));
}

#[tokio::test]
async fn a_replica_that_died_while_it_refreshed_holds_nobody_up_for_long() {
    let database = Database::postgres().await;
    let clock = server::clock::Clock::manual(server::clock::Clock::system().now());
    let world = World::start_with(&database, clock.clone(), &[]).await;
    let seat = world.seat("user@demo.example").await;
    let store = &world.services.store;
    let now = clock.now();
    let dead = clock.uuid();
    assert!(store.lease(Lease::Refresh, seat.key(), dead, now, now.plus_ms(30_000)).await.unwrap());
    let mailbox = store.mailbox(seat.key()).await.unwrap().unwrap();
    let tokens = Arc::clone(&world.services.tokens);
    let waiting = tokio::spawn(async move { tokens.access(&mailbox).await.is_ok() });
    tokio::task::yield_now().await;
    assert_eq!(world.refreshes(), 0, "the lease is respected");
    clock.advance_ms(30_001);
    assert!(waiting.await.unwrap());
    assert_eq!(world.refreshes(), 1);
}

#[tokio::test]
async fn what_one_replica_sends_is_seen_by_who_follows_another() {
    let world = World::start(&Database::postgres().await).await;
    let seat = world.seat("user@demo.example").await;
    let browser = Browser::new(&world);
    browser.sign_in(&world, "demo", "user@demo.example").await;
    let sender = world.replica().await;
    world.queue(&seat, 1, "other@demo.example", world.clock.now()).await;

    let row = world.services.store.institution_by_slug("demo").await.unwrap().unwrap();
    let session = world.services.store.sessions_of(row.id, seat.user).await.unwrap()[0];
    let institution = Arc::new(app::backend::Institution {
        id: row.id,
        slug: row.slug,
        name: row.name,
        public_url: world.url("demo", ""),
    });
    let user = SignedIn::from_session(
        session,
        seat.user,
        institution,
        "user@demo.example".into(),
        Role::User,
        false,
        std::net::Ipv4Addr::LOCALHOST.into(),
    );
    let user = user.mail().unwrap();
    let inbox = world.services.backend().inbox;
    let mut event = inbox.watch(&user, None, inbox.version(&user).await).await.unwrap();
    assert_eq!(sender.outbox.run_once().await.unwrap(), 1);
    let heard = tokio::time::timeout(std::time::Duration::from_secs(10), event.next()).await;
    assert_eq!(heard.expect("it is told at once"), Some(()));

    // Signed out: it ends by itself.
    let out = browser.post(&world.url("demo", "/api/sign_out"), &[]).await;
    assert_eq!(out.status(), 302);
    let ended = tokio::time::timeout(std::time::Duration::from_secs(10), event.next()).await;
    assert_eq!(ended.expect("it ends at once"), None);
    let _: SessionId = session;
}

/// A rejected secret is one incident of the institution; it ends when the secret is accepted again.
#[tokio::test]
async fn a_refused_registration_is_one_incident() {
    for database in Database::both().await {
        let clock = server::clock::Clock::manual(server::clock::Clock::system().now());
        let world = World::start_with(&database, clock.clone(), &[]).await;
        let seats = [
            world.seat("user@demo.example").await,
            world.newcomer("one@demo.example").await,
            world.newcomer("two@demo.example").await,
        ];
        let store = &world.services.store;
        let ask = async || {
            for seat in &seats {
                let mailbox = store.mailbox(seat.key()).await.unwrap().unwrap();
                let _ = world.services.tokens.prove(&mailbox).await;
            }
        };
        world.sandbox.world().faults.secret_expired = true;
        ask().await;
        let told = || {
            let world = world.sandbox.world();
            let all: Vec<String> =
                world.mails().iter().map(|(_, _, mail)| String::from_utf8_lossy(&mail.raw).into_owned()).collect();
            all.iter().filter(|raw| raw.contains("Subject: Email is stopped: The Client Secret has expired")).count()
        };
        for _ in 0..2 {
            world.services.sweep_once().await.unwrap();
            world.services.outbox.run_once().await.unwrap();
        }
        assert_eq!(told(), 1, "one email, not three");
        let browser = Browser::new(&world);
        browser.sign_in(&world, "demo", "admin@demo.example").await;
        let home = browser.get(&world.url("demo", "/")).await.text().await.unwrap();
        assert!(home.contains("The Client Secret has expired."));
        for seat in &seats {
            let mailbox = store.mailbox(seat.key()).await.unwrap().unwrap();
            assert_eq!(mailbox.state, MailboxState::Connected, "nobody has to connect again");
        }
        world.sandbox.world().faults.secret_expired = false;
        ask().await;
        let home = browser.get(&world.url("demo", "/")).await.text().await.unwrap();
        assert!(!home.contains("The Client Secret has expired."));

        // A flapping problem is one incident; the next incident is notified, however short the first was.
        for (hours, mails) in [(1, 1), (24, 2)] {
            world.sandbox.world().faults.secret_expired = false;
            ask().await;
            clock.advance_ms(hours * 60 * 60 * 1000);
            world.sandbox.world().faults.secret_expired = true;
            ask().await;
            world.services.sweep_once().await.unwrap();
            world.services.outbox.run_once().await.unwrap();
            assert_eq!(told(), mails);
        }
    }
}
