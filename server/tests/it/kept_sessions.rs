//! SMTP sessions that are kept for a while after their queue is empty.

use std::sync::Arc;
use std::time::Duration;

use app::model::MailboxState;
use server::clock::Clock;
use server::diagnosis::Fault;
use server::store::{DatabaseKind, Page, SendQueue};

use sqlx::Connection;

use crate::common::{Database, Seat, World, claim_one};

/// A world whose outbox runs, with sessions kept for so many seconds.
async fn world(database: &Database, seconds: u64, more: &[(&'static str, &str)]) -> World {
    world_at(Clock::system(), database, seconds, more).await
}

async fn world_at(clock: Clock, database: &Database, seconds: u64, more: &[(&'static str, &str)]) -> World {
    let mut settings = vec![("ENTREPOST_SMTP_IDLE_SECONDS", seconds.to_string())];
    settings.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
    let world = World::start_with(database, clock, &settings).await;
    tokio::spawn(Arc::clone(&world.services.outbox).run(world.services.tasks.clone()));
    world
}

/// Open sessions of a mailbox, and all that it ever had.
fn sessions(world: &World, address: &str) -> (usize, usize) {
    let (open, _, all) = world.sandbox.world().smtp_sessions.get(address).copied().unwrap_or_default();
    (open, all)
}

async fn sends(world: &World, seat: &Seat) {
    let before = sent(world, seat).await;
    world.queue(seat, 1, "other@demo.example", world.clock.now()).await;
    world.services.outbox.wake();
    world.until(async || sent(world, seat).await == before + 1).await;
}

async fn sent(world: &World, seat: &Seat) -> usize {
    let all = world.services.store.deliveries_of(seat.institution, seat.user, Page::newest(1_000)).await.unwrap();
    all.iter().filter(|one| one.state.is_final()).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_kept_for_what_comes_next() {
    let (user, database) = ("user@demo.example", Database::sqlite());
    let world = world(&database, 600, &[]).await;
    let seat = world.seat(user).await;
    for _ in 0..3 {
        sends(&world, &seat).await;
    }
    assert_eq!(sessions(&world, user), (1, 1), "one sign-in for three messages");
}

/// A process that was killed leaves the places of its connections behind; with SQLite no other holds them.
#[tokio::test(flavor = "multi_thread")]
async fn places_of_a_killed_process_are_free_at_the_next_start() {
    let database = Database::sqlite();
    let world = World::start(&database).await;
    let seat = world.seat("user@demo.example").await;
    let (store, now) = (&world.services.store, world.clock.now());
    world.queue(&seat, 3, "other@demo.example", now).await;
    for _ in 0..3 {
        let (queue, owner) = (SendQueue::of_mailbox(seat.key()), world.clock.uuid());
        claim_one(store, &queue, owner, now.plus_ms(30_000), world.services.config.limits.throttle, now).await;
    }
    let began = std::time::Instant::now();
    tokio::spawn(Arc::clone(&world.services.outbox).run(world.services.tasks.clone()));
    world.until(async || world.arrived("other@demo.example") == 3).await;
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_kept_no_longer_than_was_set() {
    let (user, database) = ("user@demo.example", Database::sqlite());
    let world = world(&database, 1, &[]).await;
    let seat = world.seat(user).await;
    sends(&world, &seat).await;
    world.until(async || sessions(&world, user).0 == 0).await;
    sends(&world, &seat).await;
    assert_eq!(sessions(&world, user).1, 2);
}

/// A token is not used in its last minute, so this one lasts two seconds.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_not_kept_longer_than_its_token() {
    let (user, database) = ("user@demo.example", Database::sqlite());
    let world = world(&database, 600, &[]).await;
    let seat = world.seat(user).await;
    world.sandbox.world().faults.token_seconds = 62;
    sends(&world, &seat).await;
    world.until(async || sessions(&world, user).0 == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_the_server_ended_meanwhile_is_replaced() {
    let (user, database) = ("user@demo.example", Database::sqlite());
    let world = world(&database, 600, &[]).await;
    let seat = world.seat(user).await;
    world.sandbox.world().smtp_idle_ms = 2_000;
    sends(&world, &seat).await;
    world.until(async || sessions(&world, user).0 == 0).await;
    sends(&world, &seat).await;
    assert_eq!(sessions(&world, user).1, 2);
    let all = world.services.store.deliveries_of(seat.institution, seat.user, Page::newest(9)).await.unwrap();
    assert!(all.iter().all(|one| one.attempts == 1), "no attempt was lost on the ended one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_when_its_mailbox_may_not_send_any_more() {
    for database in Database::both().await {
        let world = world(&database, 600, &[]).await;
        let (store, now) = (&world.services.store, world.clock.now());
        let fault = Fault::new("signed_out", now, &[]);
        for reason in ["disconnected", "blocked", "disabled", "registration"] {
            let address = format!("{reason}@demo.example");
            let seat = world.newcomer(&address).await;
            sends(&world, &seat).await;
            assert_eq!(sessions(&world, &address), (1, 1));
            let state = |state| store.set_mailbox_state(seat.key(), state, Some(&fault), Some(now), now);
            match reason {
                "blocked" => state(MailboxState::Blocked).await.unwrap(),
                // What another client ID makes of each mailbox.
                "registration" => state(MailboxState::NeedsReconnect).await.unwrap(),
                "disconnected" => {
                    let mut tx = store.begin().await.unwrap();
                    assert!(store.drop_mailbox(&mut tx, seat.key()).await.unwrap());
                    tx.commit().await.unwrap();
                }
                _ => {
                    let mut tx = store.begin().await.unwrap();
                    store.set_disabled(&mut tx, seat.institution, seat.user, Some(now)).await.unwrap();
                    tx.commit().await.unwrap();
                }
            }
            world.until(async || sessions(&world, &address).0 == 0).await;
        }
        world.services.stop.cancel();
    }
}

/// The mailbox signs in otherwise now, and is still connected: what it sends next does not leave through the old session.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_not_used_for_another_registration_or_sign_in_name() {
    for change in [
        "client_id = '00000000-0000-4000-8000-000000000007'",
        "tenant_id = '00000000-0000-4000-8000-000000000007'",
        "sign_in_name = 'USER@demo.example'",
    ] {
        let (user, database) = ("user@demo.example", Database::sqlite());
        let world = world(&database, 600, &[]).await;
        let seat = world.seat(user).await;
        sends(&world, &seat).await;
        assert_eq!(sessions(&world, user), (1, 1));
        let services = &world.services;
        let mailbox = services.store.mailbox(seat.key()).await.unwrap().unwrap();
        let token = services.tokens.access(&mailbox).await.unwrap();
        let mut connection = sqlx::AnyConnection::connect(&database.url).await.unwrap();
        let change = sqlx::AssertSqlSafe(format!("UPDATE mailboxes SET {change}"));
        sqlx::query(change).execute(&mut connection).await.unwrap();
        // The token is one of the registration that there is now.
        let changed = services.store.mailbox(seat.key()).await.unwrap().unwrap();
        services.tokens.remember(changed.id, &changed.sign_in_name, &changed.app, token);
        sends(&world, &seat).await;
        assert_eq!(sessions(&world, user), (1, 2), "another sign-in, and the old session has ended");
    }
}

/// Another queue of the same mailbox needs the only connection that it may have.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_for_another_queue_of_its_mailbox() {
    let (user, database) = ("user@demo.example", Database::sqlite());
    let world = world(&database, 600, &[("ENTREPOST_SMTP_CONNECTIONS", "1")]).await;
    let seat = world.seat(user).await;
    sends(&world, &seat).await;
    world.notifications_leave_through(&seat).await;
    world.queue_notification(&seat).await;
    world.services.outbox.wake();
    world.until(async || world.arrived("admin@demo.example") == 1).await;
    let (_, most, all) = world.sandbox.world().smtp_sessions[user];
    assert_eq!((most, all), (1, 2));
}

/// An idle session holds its place also on another replica, and gives it up when that one needs it.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_for_another_replica() {
    let (user, database) = ("user@demo.example", Database::postgres().await);
    let world = world(&database, 600, &[("ENTREPOST_SMTP_CONNECTIONS", "1")]).await;
    assert_eq!(world.services.store.backend(), DatabaseKind::Postgres);
    let seat = world.seat(user).await;
    // What is due for it is not due yet for the first, which keeps its session.
    let other = world.replica_at(Clock::ahead_ms(10_000)).await;
    world.notifications_leave_through(&seat).await;
    sends(&world, &seat).await;
    world.queue_notification_at(&seat, world.clock.now().plus_ms(9_000)).await;
    world.until(async || other.outbox.run_once().await.unwrap() == 1).await;
    assert_eq!(world.arrived("admin@demo.example"), 1);
    let (_, most, _) = world.sandbox.world().smtp_sessions[user];
    assert_eq!(most, 1, "never two at a time");
}

/// A process that was suspended for longer than its place is reserved: another replica may have taken it.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_whose_place_expired_ends() {
    let (user, database) = ("user@demo.example", Database::sqlite());
    let clock = Clock::manual(Clock::system().now());
    let world = world_at(clock.clone(), &database, 600, &[]).await;
    let seat = world.seat(user).await;
    sends(&world, &seat).await;
    assert_eq!(sessions(&world, user), (1, 1));
    clock.advance_ms(60_000);
    world.until_longer(Duration::from_secs(30), async || sessions(&world, user).0 == 0).await;
}

/// As many mailboxes as there is room for keep a session; one more needs it.
#[tokio::test(flavor = "multi_thread")]
async fn the_session_that_was_idle_longest_makes_room() {
    let database = Database::sqlite();
    let world = world(&database, 600, &[]).await;
    let mut seats = Vec::new();
    for number in 0..33 {
        seats.push(world.newcomer(&format!("m{number}@demo.example")).await);
    }
    for seat in &seats[..32] {
        sends(&world, seat).await;
    }
    let open = || world.sandbox.world().smtp_sessions.values().map(|(open, ..)| *open).sum::<usize>();
    assert_eq!(open(), 32);
    sends(&world, &seats[32]).await;
    world.until(async || open() == 32).await;
    assert_eq!(sessions(&world, "m0@demo.example").0, 0, "it was idle for the longest time");
}

/// All connections of a mailbox send a long queue; its notifications do not wait for the end of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_queue_gives_a_connection_to_another_queue_of_its_mailbox() {
    for database in Database::both().await {
        let settings = [("ENTREPOST_SMTP_CONNECTIONS", "1"), ("ENTREPOST_MESSAGES_PER_MINUTE", "100000")];
        let world = world(&database, 600, &settings).await;
        let seat = world.seat("user@demo.example").await;
        {
            let mut world = world.sandbox.world();
            world.messages_per_minute = usize::MAX;
            world.faults.slow_ms = 10;
        }
        world.notifications_leave_through(&seat).await;
        world.queue(&seat, 400, "other@demo.example", world.clock.now()).await;
        world.services.outbox.wake();
        world.until(async || world.arrived("other@demo.example") > 0).await;
        world.queue_notification(&seat).await;
        world.until(async || world.arrived("admin@demo.example") == 1).await;
        let others = world.arrived("other@demo.example");
        assert!(others < 400, "{others} left before it");
        let (_, most, _) = world.sandbox.world().smtp_sessions["user@demo.example"];
        assert_eq!(most, 1);
        world.services.stop.cancel();
    }
}
