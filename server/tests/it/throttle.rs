//! A mailbox's sending rate: counted over retries, replicas and send queues; and clocks set back.

use std::sync::Arc;

use crate::common::{Database, Seat, World, claim_one};
use app::model::{DeliveryState, RecipientKind};
use server::clock::Clock;
use server::service::Services;
use server::store::{Claim, DatabaseKind, Page};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

async fn world(database: &Database, settings: &[(&'static str, &str)]) -> (World, Clock, Seat) {
    let clock = Clock::manual(Clock::system().now());
    let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    let world = World::start_with(database, clock.clone(), &settings).await;
    let seat = world.seat("user@demo.example").await;
    (world, clock, seat)
}

async fn states(world: &World, seat: &Seat) -> Vec<DeliveryState> {
    let found = world.services.store.deliveries_of(seat.institution, seat.user, Page::newest(1000)).await;
    found.unwrap().into_iter().map(|one| one.state).collect()
}

/// Sends on all replicas until the limit is reached.
async fn send(replicas: &[Arc<Services>]) {
    loop {
        let sending = replicas.iter().map(|services| services.outbox.run_once());
        let sent: usize = futures::future::join_all(sending).await.into_iter().map(Result::unwrap).sum();
        if sent == 0 {
            return;
        }
    }
}

#[tokio::test]
async fn messages_a_minute_are_counted_over_all_replicas() {
    for database in Database::both().await {
        let (world, clock, seat) = world(&database, &[("ENTREPOST_MESSAGES_PER_MINUTE", "5")]).await;
        let mut replicas = vec![Arc::clone(&world.services)];
        if world.services.store.backend() == DatabaseKind::Postgres {
            replicas.push(world.replica().await);
        }
        world.queue(&seat, 12, "other@demo.example", clock.now()).await;
        for minute in 1..=3 {
            send(&replicas).await;
            assert_eq!(world.arrived("other@demo.example"), (5 * minute).min(12));
            clock.advance_ms(60_002);
        }
    }
}

/// A slow claim, or a replica whose clock is behind, counts submissions with a later time.
#[tokio::test]
async fn what_another_connection_sent_a_moment_later_counts() {
    let limits = [("ENTREPOST_MESSAGES_PER_MINUTE", "2"), ("ENTREPOST_RECIPIENTS_PER_DAY", "2")];
    for limit in limits {
        for database in Database::both().await {
            let (world, clock, seat) = world(&database, &[limit]).await;
            world.queue(&seat, 3, "other@demo.example", clock.now()).await;
            clock.advance_ms(30_000);
            let services = &world.services;
            let queues = services.store.due_queues(clock.now(), 1).await.unwrap();
            let claim = async |ahead: i64| {
                let (limits, now) = (services.outbox.limits.throttle, clock.now());
                let until = now.plus_ms(60_000);
                claim_one(&services.store, &queues[0], clock.uuid(), until, limits, now.plus_ms(ahead)).await
            };
            for ahead in [20_000, 5] {
                assert!(matches!(claim(ahead).await, Claim::Deliveries { .. }), "{limit:?}");
            }
            let third = claim(0).await;
            assert!(matches!(third, Claim::Throttled(_) | Claim::Postponed), "{limit:?}: {third:?}");
        }
    }
}

#[tokio::test]
async fn recipients_a_day_are_counted_and_the_rest_leaves_the_next_day() {
    for database in Database::both().await {
        let (world, clock, seat) = world(&database, &[("ENTREPOST_RECIPIENTS_PER_DAY", "3")]).await;
        let mut replicas = vec![Arc::clone(&world.services)];
        if world.services.store.backend() == DatabaseKind::Postgres {
            replicas.push(world.replica().await);
        }
        // Messages that never reached RCPT count no recipients.
        world.sandbox.world().faults.cut_before_data = true;
        world.queue(&seat, 1, "other@demo.example", clock.now()).await;
        send(&replicas).await;
        assert_eq!(states(&world, &seat).await, [DeliveryState::Deferred]);
        world.sandbox.world().faults.cut_before_data = false;
        world.queue(&seat, 4, "other@demo.example", clock.now()).await;
        for _ in 0..3 {
            clock.advance_ms(2 * 60_000);
            send(&replicas).await;
        }
        assert_eq!(world.arrived("other@demo.example"), 3);
        clock.advance_ms(DAY_MS);
        send(&replicas).await;
        assert_eq!(world.arrived("other@demo.example"), 5);
        assert!(states(&world, &seat).await.iter().all(|state| *state == DeliveryState::Sent));
    }
}

/// A message with more recipients than are left today waits; smaller ones go on.
#[tokio::test]
async fn a_message_to_many_holds_up_none_to_few() {
    for database in Database::both().await {
        let (world, clock, seat) = world(&database, &[("ENTREPOST_RECIPIENTS_PER_DAY", "3")]).await;
        let services = [Arc::clone(&world.services)];
        world.queue(&seat, 2, "other@demo.example", clock.now()).await;
        send(&services).await;
        let many = ["other", "admin", "secretary"].map(|name| (RecipientKind::To, format!("{name}@demo.example")));
        let mut tx = world.services.store.begin().await.unwrap();
        world.queue_one(&mut tx, &seat, "Many", &many, clock.now()).await;
        tx.commit().await.unwrap();
        clock.advance_ms(1_000);
        world.queue(&seat, 1, "other@demo.example", clock.now()).await;
        send(&services).await;
        assert_eq!(world.arrived("other@demo.example"), 3, "the small one left");
        let page = Page::newest(9);
        let all = world.services.store.deliveries_of(seat.institution, seat.user, page).await.unwrap();
        let waiting = all.iter().find(|one| one.subject == "Many").unwrap();
        assert_eq!(waiting.state, DeliveryState::Queued);
        assert!(waiting.answer.contains("3 recipients in 24 hours"), "{}", waiting.answer);
        // After some hours, smaller ones wait for it.
        for _ in 0..4 {
            clock.advance_ms(DAY_MS / 4);
            world.queue(&seat, 1, "other@demo.example", clock.now()).await;
            send(&services).await;
        }
        assert_eq!(world.arrived("office.manager@demo.example"), 1, "the next day");
    }
}

/// Batches of four workers at once, none of which knows of the others: what they may send together is one mailbox's limit.
#[tokio::test(flavor = "multi_thread")]
async fn workers_that_run_at_the_same_time_stay_within_one_limit() {
    let limits = [("ENTREPOST_MESSAGES_PER_MINUTE", "7"), ("ENTREPOST_RECIPIENTS_PER_DAY", "7")];
    for limit in limits {
        let database = Database::postgres().await;
        let (world, clock, seat) = world(&database, &[limit]).await;
        world.queue(&seat, 60, "other@demo.example", clock.now()).await;
        let mut replicas = vec![Arc::clone(&world.services)];
        for _ in 0..3 {
            replicas.push(world.replica().await);
        }
        let running: Vec<_> = replicas
            .iter()
            .map(|services| tokio::spawn(Arc::clone(&services.outbox).run(services.tasks.clone())))
            .collect();
        // The clock stands still: once nothing is due, nothing more will be.
        let store = &world.services.store;
        world
            .until(async || {
                let all = store.deliveries_of(seat.institution, seat.user, Page::newest(100)).await.unwrap();
                let sending = all.iter().any(|one| one.state == DeliveryState::Sending);
                !sending && store.due_queues(clock.now(), 1).await.unwrap().is_empty()
            })
            .await;
        for services in &replicas {
            services.stop.cancel();
        }
        for task in running {
            task.await.unwrap();
        }
        assert_eq!(world.arrived("other@demo.example"), 7, "{limit:?}");
        let (_, most, _) = world.sandbox.world().smtp_sessions["user@demo.example"];
        assert!(most <= 3, "{most} at a time");
    }
}

/// The order of a mailbox's messages with batches: through one session as they were written, through three no further apart than
/// what two other sessions hold.
#[tokio::test(flavor = "multi_thread")]
async fn batches_keep_the_order_of_a_queue() {
    for (connections, apart) in [("1", 0), ("3", 40)] {
        for database in Database::both().await {
            let settings = [("ENTREPOST_SMTP_CONNECTIONS", connections), ("ENTREPOST_MESSAGES_PER_MINUTE", "1000")];
            let (world, clock, seat) = world(&database, &settings).await;
            world.sandbox.world().messages_per_minute = usize::MAX;
            let mut tx = world.services.store.begin().await.unwrap();
            for number in 0..120 {
                let to = [(RecipientKind::To, "other@demo.example".to_owned())];
                world.queue_one(&mut tx, &seat, &format!("Number {number}."), &to, clock.now()).await;
                clock.advance_ms(1);
            }
            tx.commit().await.unwrap();
            tokio::spawn(Arc::clone(&world.services.outbox).run(world.services.tasks.clone()));
            world.until(async || world.arrived("other@demo.example") == 120).await;
            let order: Vec<usize> = {
                let sandbox = world.sandbox.world();
                let mails = sandbox
                    .mails()
                    .into_iter()
                    .filter(|(address, folder, _)| address == "other@demo.example" && folder == "INBOX");
                let mut mails: Vec<_> =
                    mails.map(|(_, _, mail)| (mail.uid, String::from_utf8_lossy(&mail.raw))).collect();
                mails.sort();
                let number = |text: &str| text.split("Number ").nth(1)?.split('.').next()?.parse().ok();
                mails.iter().map(|(_, text)| number(text).unwrap()).collect()
            };
            for (at, number) in order.iter().enumerate() {
                assert!(at.abs_diff(*number) <= apart, "{connections} connections: {number} came as {at}");
            }
            world.services.stop.cancel();
        }
    }
}

/// Three connections at a time over replicas and queues, each for many messages.
#[tokio::test(flavor = "multi_thread")]
async fn three_connections_carry_everything() {
    for database in Database::both().await {
        let world =
            World::start_with(&database, Clock::system(), &[("ENTREPOST_MESSAGES_PER_MINUTE", "1000".to_owned())])
                .await;
        let seat = world.seat("user@demo.example").await;
        world.notifications_leave_through(&seat).await;
        let mut replicas = vec![Arc::clone(&world.services)];
        if world.services.store.backend() == DatabaseKind::Postgres {
            replicas.push(world.replica().await);
        }
        world.sandbox.world().messages_per_minute = usize::MAX;
        world.sandbox.world().faults.slow_ms = 10;
        world.queue(&seat, 40, "other@demo.example", world.clock.now()).await;
        for _ in 0..10 {
            world.queue_notification(&seat).await;
        }
        let running: Vec<_> = replicas
            .iter()
            .map(|services| tokio::spawn(Arc::clone(&services.outbox).run(services.tasks.clone())))
            .collect();
        world
            .until(async || world.arrived("other@demo.example") == 40 && world.arrived("admin@demo.example") == 10)
            .await;
        let (_, most, all) = world.sandbox.world().smtp_sessions["user@demo.example"];
        assert!((1..=3).contains(&most), "{most} at a time");
        // Notifications have their own session.
        assert!(all < 10 + 20, "{all} sessions for 50 messages");
        for services in &replicas {
            services.stop.cancel();
        }
        for task in running {
            task.await.unwrap();
        }
    }
}

/// A session is reused for the next message, but not beyond its token's expiry.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_with_its_token() {
    let database = Database::sqlite();
    let world = World::start(&database).await;
    let seat = world.seat("user@demo.example").await;
    {
        let mut world = world.sandbox.world();
        // A token isn't used in its last minute, so each session lasts a second.
        world.faults.token_seconds = 61;
        world.faults.slow_ms = 25;
    }
    world.queue(&seat, 20, "other@demo.example", world.clock.now()).await;
    while world.arrived("other@demo.example") < 20 {
        world.services.outbox.run_once().await.unwrap();
    }
    let (_, _, sessions) = world.sandbox.world().smtp_sessions["user@demo.example"];
    assert!((2..20).contains(&sessions), "{sessions} sessions for 20 messages");
}

/// More senders than sessions: a waiting one gets the next free session.
#[tokio::test(flavor = "multi_thread")]
async fn many_busy_mailboxes_let_another_one_have_its_turn() {
    let database = Database::sqlite();
    let world = World::start(&database).await;
    let late = world.seat("user@demo.example").await;
    world.sandbox.world().faults.slow_ms = 40;
    for number in 0..36 {
        let busy = world.newcomer(&format!("busy{number}@demo.example")).await;
        world.queue(&busy, 30, "other@demo.example", world.clock.now()).await;
    }
    let running = tokio::spawn(Arc::clone(&world.services.outbox).run(world.services.tasks.clone()));
    let open = || world.sandbox.world().smtp_sessions.values().map(|(open, ..)| *open).sum::<usize>();
    world.until(async || open() >= 30).await;
    let began = tokio::time::Instant::now();
    world.queue(&late, 1, "admin@demo.example", world.clock.now()).await;
    world.services.outbox.wake();
    world.until(async || world.arrived("admin@demo.example") == 1).await;
    let (waited, others) = (began.elapsed(), world.arrived("other@demo.example"));
    assert!(others < 36 * 20, "{others} left before it, in {waited:?}");
    world.services.stop.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn one_session_carries_a_whole_turn() {
    let database = Database::sqlite();
    let (world, clock, seat) = world(&database, &[]).await;
    world.queue(&seat, 10, "other@demo.example", clock.now()).await;
    assert_eq!(world.services.outbox.run_once().await.unwrap(), 10);
    assert_eq!(world.sandbox.world().smtp_sessions["user@demo.example"], (0, 1, 1));
}

#[tokio::test]
async fn each_attempt_counts() {
    let settings = [("ENTREPOST_MESSAGES_PER_MINUTE", "2"), ("ENTREPOST_RETRY_SECONDS", "1")];
    let database = Database::sqlite();
    let (world, clock, seat) = world(&database, &settings).await;
    world.sandbox.world().faults.cut_before_data = true;
    world.queue(&seat, 1, "other@demo.example", clock.now()).await;
    for attempts in [1, 1, 0, 0] {
        assert_eq!(world.services.outbox.run_once().await.unwrap(), attempts);
        clock.advance_ms(5_000);
    }
    world.sandbox.world().faults.cut_before_data = false;
    clock.advance_ms(60_000);
    assert_eq!(world.services.outbox.run_once().await.unwrap(), 1);
    assert_eq!(states(&world, &seat).await, [DeliveryState::Sent]);
}

#[tokio::test]
async fn notifications_and_letters_of_one_mailbox_are_counted_together() {
    for database in Database::both().await {
        let (world, clock, seat) = world(&database, &[("ENTREPOST_MESSAGES_PER_MINUTE", "1")]).await;
        let services = &world.services;
        world.notifications_leave_through(&seat).await;
        world.queue(&seat, 1, "other@demo.example", clock.now()).await;
        assert_eq!(services.outbox.run_once().await.unwrap(), 1);

        world.queue_notification(&seat).await;
        assert_eq!(services.outbox.run_once().await.unwrap(), 0, "the mailbox had its message for this minute");
        clock.advance_ms(60_002);
        assert_eq!(services.outbox.run_once().await.unwrap(), 1);
        assert_eq!(world.arrived("admin@demo.example"), 1);
    }
}

/// The clock was two days ahead and is corrected while a message waits: it doesn't wait two days.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_back_holds_nothing_up() {
    for database in Database::both().await {
        let (world, clock, seat) = world(&database, &[]).await;
        world.sandbox.world().faults.throttled = true;
        world.queue(&seat, 2, "other@demo.example", clock.now()).await;
        assert_eq!(world.services.outbox.run_once().await.unwrap(), 1);
        clock.advance_ms(-2 * DAY_MS);
        world.sandbox.world().faults.throttled = false;
        assert_eq!(world.services.outbox.run_once().await.unwrap(), 0, "their time seems far away");
        let running = tokio::spawn(Arc::clone(&world.services.outbox).run(world.services.tasks.clone()));
        world.until(async || states(&world, &seat).await.iter().all(|state| *state == DeliveryState::Sent)).await;
        assert_eq!(world.arrived("other@demo.example"), 2);
        world.services.stop.cancel();
        running.await.unwrap();
    }
}

/// What was sent long ago is listed no more, and nothing of it is left.
#[tokio::test]
async fn what_is_long_finished_is_forgotten() {
    for database in Database::both().await {
        let (world, clock, seat) = world(&database, &[]).await;
        world.queue(&seat, 1, "other@demo.example", clock.now()).await;
        world.services.outbox.run_once().await.unwrap();
        clock.advance_ms(89 * DAY_MS);
        world.services.sweep_once().await.unwrap();
        assert_eq!(states(&world, &seat).await, [DeliveryState::Sent]);
        world.queue(&seat, 1, "other@demo.example", clock.now()).await;
        clock.advance_ms(2 * DAY_MS);
        world.services.sweep_once().await.unwrap();
        assert_eq!(states(&world, &seat).await, [DeliveryState::Queued], "what waits stays");
    }
}
