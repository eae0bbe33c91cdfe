//! Writes of the outbox that share a commit: each has its own result.

use std::sync::Arc;

use app::model::{DeliveryId, DeliveryState, RecipientState, Timestamp};
use server::mail::RecipientReply;
use server::store::{Claim, ClaimRequest, DataStart, DatabaseKind, Delivery, OutcomeRecord, Record, SendQueue};
use sqlx::Connection;
use uuid::Uuid;

use crate::common::{Database, Seat, World};

/// Claims so many messages of a seat at once.
async fn claim(world: &World, seat: &Seat, most: i64) -> Vec<Delivery> {
    let now = world.clock.now();
    let owner = world.clock.uuid();
    let request = ClaimRequest {
        queue: SendQueue::of_mailbox(seat.key()),
        owner,
        connection: owner,
        until: now.plus_ms(30_000),
        limits: world.services.config.limits.throttle,
        now,
        most,
    };
    match world.services.store.claim_deliveries(request).await.unwrap() {
        Claim::Deliveries { deliveries, .. } => deliveries.into_iter().map(|claimed| claimed.delivery).collect(),
        Claim::Nothing => Vec::new(),
        other => panic!("{other:?}"),
    }
}

fn start(seat: &Seat, delivery: DeliveryId, owner: Uuid) -> DataStart {
    DataStart { institution: seat.institution, delivery, owner, refused: Vec::new(), again: false }
}

fn outcome(seat: &Seat, delivery: DeliveryId, owner: Uuid, now: Timestamp) -> OutcomeRecord {
    let accepted = RecipientReply {
        address: "other@demo.example".into(),
        state: RecipientState::Accepted,
        answer: "250 accepted".into(),
    };
    let record = Record {
        state: DeliveryState::Sent,
        next_attempt_at: now,
        answer: "250 accepted".into(),
        fault: None,
        recipients: vec![accepted],
        counts: true,
    };
    OutcomeRecord { institution: seat.institution, delivery, owner, record, pending: 1, now }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_lease_fails_only_its_own_item() {
    for database in Database::both().await {
        let world = World::start(&database).await;
        let seat = world.seat("user@demo.example").await;
        let (store, now) = (&world.services.store, world.clock.now());
        world.queue(&seat, 12, "other@demo.example", now).await;
        let claimed = claim(&world, &seat, 12).await;
        assert_eq!(claimed.len(), 12);
        // Every third start names a claim that another one replaced, and one names another institution's.
        let starts = claimed.iter().enumerate().map(|(at, delivery)| {
            let owner = if at % 3 == 0 { Uuid::from_u128(7) } else { delivery.lease };
            let mut start = start(&seat, delivery.id, owner);
            if at == 4 {
                start.institution = app::model::InstitutionId(Uuid::from_u128(8));
            }
            store.start_data(start)
        });
        let started: Vec<bool> = futures::future::try_join_all(starts).await.unwrap();
        assert!(started.iter().enumerate().all(|(at, started)| *started == (at % 3 != 0 && at != 4)), "{started:?}");
        let outcomes = claimed.iter().enumerate().map(|(at, delivery)| {
            let owner = if at % 2 == 0 { Uuid::from_u128(7) } else { delivery.lease };
            store.record_outcome(outcome(&seat, delivery.id, owner, now))
        });
        let recorded: Vec<bool> = futures::future::try_join_all(outcomes).await.unwrap();
        assert!(recorded.iter().enumerate().all(|(at, recorded)| *recorded == (at % 2 == 1)), "{recorded:?}");
        for (at, delivery) in claimed.iter().enumerate() {
            let found = store.delivery(seat.institution, delivery.id).await.unwrap().unwrap();
            let state = if at % 2 == 1 { DeliveryState::Sent } else { DeliveryState::Sending };
            assert_eq!((found.state, found.data_started), (state, at % 3 != 0 && at != 4), "{at}");
            assert_eq!(found.body_sealed.is_empty(), state == DeliveryState::Sent);
        }
        store.close().await;
    }
}

/// What is ready together shares commits; a commit for each would be forty.
#[tokio::test(flavor = "multi_thread")]
async fn writes_that_are_ready_together_share_a_commit() {
    for database in Database::both().await {
        let settings = [("ENTREPOST_MESSAGES_PER_MINUTE", "100".to_owned())];
        let world = World::start_with(&database, server::clock::Clock::system(), &settings).await;
        let seat = world.seat("user@demo.example").await;
        let (store, now) = (&world.services.store, world.clock.now());
        world.queue(&seat, 40, "other@demo.example", now).await;
        let claimed = claim(&world, &seat, 20).await.into_iter().chain(claim(&world, &seat, 20).await);
        let claimed: Vec<Delivery> = claimed.collect();
        assert_eq!(claimed.len(), 40);
        let before = store.group_commits();
        let starts = claimed.iter().map(|one| store.start_data(start(&seat, one.id, one.lease)));
        assert!(futures::future::try_join_all(starts).await.unwrap().iter().all(|started| *started));
        let outcomes = claimed.iter().map(|one| store.record_outcome(outcome(&seat, one.id, one.lease, now)));
        assert!(futures::future::try_join_all(outcomes).await.unwrap().iter().all(|recorded| *recorded));
        let commits = store.group_commits() - before;
        assert!((1..=20).contains(&commits), "{commits} commits for 80 writes");
        store.close().await;
    }
}

/// Groups of two processes that name the same deliveries in opposite orders wait for each other, and neither for both.
#[tokio::test(flavor = "multi_thread")]
async fn groups_of_the_same_deliveries_end_in_no_deadlock() {
    let database = Database::postgres().await;
    let settings = [("ENTREPOST_MESSAGES_PER_MINUTE", "1000".to_owned())];
    let world = World::start_with(&database, server::clock::Clock::system(), &settings).await;
    let seat = world.seat("user@demo.example").await;
    let (store, other) = (&world.services.store, world.replica().await);
    world.queue(&seat, 16, "other@demo.example", world.clock.now()).await;
    let claimed = claim(&world, &seat, 16).await;
    for _ in 0..40 {
        let here = claimed.iter().map(|one| store.start_data(start(&seat, one.id, one.lease)));
        // A claim that was replaced: its rows are locked all the same.
        let there = claimed.iter().rev().map(|one| other.store.start_data(start(&seat, one.id, Uuid::from_u128(7))));
        let (here, there) = tokio::join!(futures::future::try_join_all(here), futures::future::try_join_all(there));
        assert!(here.unwrap().iter().all(|started| *started) && there.unwrap().iter().all(|started| !*started));
    }
    other.store.close().await;
    store.close().await;
    assert_eq!(deadlocks(&world, &database).await, 0);
}

/// People's messages leave before those of devices, within one claim, too.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_has_the_order_in_which_its_messages_leave() {
    for database in Database::both().await {
        let world = World::start(&database).await;
        let seat = world.seat("user@demo.example").await;
        let now = world.clock.now();
        world.queue(&seat, 3, "other@demo.example", now.plus_ms(-2_000)).await;
        let mut connection = sqlx::AnyConnection::connect(&database.url).await.unwrap();
        sqlx::query("UPDATE deliveries SET priority = 1").execute(&mut connection).await.unwrap();
        world.queue(&seat, 2, "other@demo.example", now.plus_ms(-1_000)).await;
        let claimed = claim(&world, &seat, 10).await;
        assert_eq!(claimed.len(), 5);
        let times: Vec<i64> = claimed.iter().map(|one| now.since_ms(one.created_at)).collect();
        assert!(times[..2].iter().all(|age| *age == 1_000) && times[2..].iter().all(|age| *age == 2_000), "{times:?}");
        world.services.store.close().await;
    }
}

/// A start by a stale claim and an outcome by the one that replaced it, at the same time.
#[tokio::test(flavor = "multi_thread")]
async fn two_claims_of_one_delivery_do_not_disturb_each_other() {
    for database in Database::both().await {
        let world = World::start(&database).await;
        let seat = world.seat("user@demo.example").await;
        let (store, now) = (&world.services.store, world.clock.now());
        world.queue(&seat, 4, "other@demo.example", now).await;
        for delivery in claim(&world, &seat, 4).await {
            let stale = store.start_data(start(&seat, delivery.id, Uuid::from_u128(7)));
            let recorded = store.record_outcome(outcome(&seat, delivery.id, delivery.lease, now));
            assert_eq!(tokio::try_join!(stale, recorded).unwrap(), (false, true));
        }
        store.close().await;
    }
}

/// Sessions, replicas and enqueues at once: each delivery is claimed by one of them, and nobody waits for a deadlock to end.
#[tokio::test(flavor = "multi_thread")]
async fn claims_enqueues_and_records_of_many_go_on_together() {
    for database in Database::both().await {
        let settings = [("ENTREPOST_MESSAGES_PER_MINUTE", "100000".to_owned())];
        let world = World::start_with(&database, server::clock::Clock::system(), &settings).await;
        let mut replicas = vec![Arc::clone(&world.services)];
        if world.services.store.backend() == DatabaseKind::Postgres {
            replicas.push(world.replica().await);
        }
        let mut seats = Vec::new();
        for number in 0..6 {
            seats.push(world.newcomer(&format!("m{number}@demo.example")).await);
        }
        let running: Vec<_> = replicas
            .iter()
            .map(|services| tokio::spawn(Arc::clone(&services.outbox).run(services.tasks.clone())))
            .collect();
        let began = tokio::time::Instant::now();
        let queueing = seats.iter().map(async |seat| {
            for _ in 0..20 {
                world.queue(seat, 1, "other@demo.example", world.clock.now()).await;
                world.services.outbox.wake();
            }
        });
        futures::future::join_all(queueing).await;
        world.until(async || world.arrived("other@demo.example") == 120).await;
        assert!(began.elapsed().as_secs() < 30, "{:?}", began.elapsed());
        for services in &replicas {
            services.stop.cancel();
        }
        for task in running {
            task.await.unwrap();
        }
        assert_eq!(world.arrived("other@demo.example"), 120, "each once");
        let backend = world.services.store.backend();
        for services in &replicas {
            services.store.close().await;
        }
        if backend == DatabaseKind::Postgres {
            assert_eq!(deadlocks(&world, &database).await, 0);
        }
    }
}

/// What one statement does not take goes the ordinary way, with the same result on both databases: a bounce that came between mark
/// and record, a stale claim, a message whose DATA had not begun.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_out_of_the_ordinary_in_a_group_has_its_own_result() {
    for database in Database::both().await {
        let world = World::start(&database).await;
        let seat = world.seat("user@demo.example").await;
        let (store, now) = (&world.services.store, world.clock.now());
        world.queue(&seat, 5, "other@demo.example", now).await;
        let claimed = claim(&world, &seat, 5).await;
        for delivery in &claimed[..4] {
            assert!(store.start_data(start(&seat, delivery.id, delivery.lease)).await.unwrap());
        }
        let mut connection = sqlx::AnyConnection::connect(&database.url).await.unwrap();
        let bounced = "UPDATE deliveries SET bounce_answer = 'it came back', bounce_fault = '{\"cause\":\"bounced\",\"facts\":[]}' WHERE id = $1";
        sqlx::query(bounced).bind(claimed[1].id.to_string()).execute(&mut connection).await.unwrap();
        let sending = store.sending();
        let recorded = claimed.iter().enumerate().map(|(at, delivery)| {
            let owner = if at == 2 { Uuid::from_u128(7) } else { delivery.lease };
            store.record_outcome(outcome(&seat, delivery.id, owner, now))
        });
        let recorded: Vec<bool> = futures::future::try_join_all(recorded).await.unwrap();
        drop(sending);
        assert_eq!(recorded, [true, true, false, true, true]);
        let states = futures::future::try_join_all(claimed.iter().map(|one| store.delivery(seat.institution, one.id)));
        let states: Vec<DeliveryState> = states.await.unwrap().into_iter().map(|found| found.unwrap().state).collect();
        let done = DeliveryState::Sent;
        assert_eq!(states, [done, DeliveryState::Bounced, DeliveryState::Sending, done, done]);
        // The one whose DATA had not begun addressed no recipients.
        let counted = "SELECT CAST(SUM(recipients) AS BIGINT) FROM submissions WHERE delivery_id = $1";
        for (at, wanted) in [(0, 1), (4, 0)] {
            let query = sqlx::query_scalar::<_, i64>(counted).bind(claimed[at].id.to_string());
            assert_eq!(query.fetch_one(&mut connection).await.unwrap(), wanted, "{at}");
        }
        let counts = store.mail_hours(seat.institution, Timestamp(0)).await.unwrap().remove(0).1;
        assert_eq!((counts.sent, counts.recipients, counts.bounced), (4, 4, 1));
        store.close().await;
    }
}

/// The one statement of a group takes the counts of hours before the versions, as every other transaction does.
#[tokio::test(flavor = "multi_thread")]
async fn a_group_locks_in_the_order_of_all_others() {
    let database = Database::postgres().await;
    let world = World::start(&database).await;
    let seat = world.seat("user@demo.example").await;
    let (store, now) = (world.services.store.clone(), world.clock.now());
    world.queue(&seat, 2, "other@demo.example", now).await;
    let claimed = claim(&world, &seat, 2).await;
    for delivery in &claimed {
        assert!(store.start_data(start(&seat, delivery.id, delivery.lease)).await.unwrap());
    }
    assert!(store.record_outcome(outcome(&seat, claimed[0].id, claimed[0].lease, now)).await.unwrap());
    // Another transaction holds the count of this hour.
    let mut other = sqlx::AnyConnection::connect(&database.url).await.unwrap();
    sqlx::raw_sql("BEGIN; UPDATE mail_hours SET sent = sent").execute(&mut other).await.unwrap();
    let recording = tokio::spawn(store.record_outcome(outcome(&seat, claimed[1].id, claimed[1].lease, now)));
    let mut third = sqlx::AnyConnection::connect(&database.url).await.unwrap();
    let waits = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while sqlx::query_scalar::<_, i64>(waits).fetch_one(&mut third).await.unwrap() == 0 {
        tokio::task::yield_now().await;
    }
    // It waits, and does not hold the version.
    sqlx::raw_sql("SELECT * FROM mail_versions FOR UPDATE NOWAIT").execute(&mut third).await.unwrap();
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    assert!(recording.await.unwrap().unwrap());
    store.close().await;
}

/// Deadlocks that PostgreSQL ended in this database. A connection reports its own when it ends.
async fn deadlocks(world: &World, database: &Database) -> i64 {
    let mut connection = sqlx::AnyConnection::connect(&database.url).await.unwrap();
    let connection = tokio::sync::Mutex::new(&mut connection);
    let one = async |statement: &'static str| -> i64 {
        sqlx::query_scalar(statement).fetch_one(&mut **connection.lock().await).await.unwrap()
    };
    let others = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
        AND backend_type = 'client backend' AND query NOT LIKE 'LISTEN%'";
    world.until(async || one(others).await == 0).await;
    one("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()").await
}

/// What a session does not reach is given back as if it had never been claimed.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_is_given_back_counts_for_nothing() {
    for database in Database::both().await {
        let settings = [("ENTREPOST_MESSAGES_PER_MINUTE", "3".to_owned())];
        let world = World::start_with(&database, server::clock::Clock::system(), &settings).await;
        let seat = world.seat("user@demo.example").await;
        let store = &world.services.store;
        world.queue(&seat, 5, "other@demo.example", world.clock.now()).await;
        let claimed = claim(&world, &seat, 5).await;
        assert_eq!(claimed.len(), 3, "as many as the minute has room for");
        assert!(store.start_data(start(&seat, claimed[0].id, claimed[0].lease)).await.unwrap());
        let all: Vec<DeliveryId> = claimed.iter().map(|delivery| delivery.id).collect();
        store.release_claim(seat.institution, claimed[0].lease, &all).await.unwrap();
        let states: Vec<_> = futures::future::try_join_all(all.iter().map(|id| store.delivery(seat.institution, *id)))
            .await
            .unwrap()
            .into_iter()
            .map(|found| found.unwrap().state)
            .collect();
        let (sending, queued) = (DeliveryState::Sending, DeliveryState::Queued);
        assert_eq!(states, [sending, queued, queued], "one of them has begun");
        store.end_connection(claimed[0].lease).await.unwrap();
        assert_eq!(claim(&world, &seat, 5).await.len(), 2, "the minute has room again");
        store.close().await;
    }
}

/// A change that concerns everybody at an institution: more users than one statement takes.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_for_ten_thousand_users_is_committed() {
    for database in Database::both().await {
        let world = World::start(&database).await;
        let seat = world.seat("user@demo.example").await;
        let mut connection = sqlx::AnyConnection::connect(&database.url).await.unwrap();
        sqlx::query(
            "INSERT INTO users (id, institution_id, address, address_key, role, created_at)
             WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 10000)
             SELECT '00000000-0000-4000-8000-' || SUBSTR('000000000000' || CAST(n AS TEXT), LENGTH(CAST(n AS TEXT)) + 1), $1,
               'u' || CAST(n AS TEXT) || '@demo.example', 'u' || CAST(n AS TEXT) || '@demo.example', 'user', 1 FROM numbers",
        )
        .bind(seat.institution.to_string())
        .execute(&mut connection)
        .await
        .unwrap();
        let store = &world.services.store;
        let before = store.mail_version(seat.institution, seat.user).await.unwrap();
        let mut tx = store.begin().await.unwrap();
        store.resume_queues(&mut tx, seat.institution, world.clock.now()).await.unwrap();
        tx.commit().await.unwrap();
        assert_ne!(store.mail_version(seat.institution, seat.user).await.unwrap(), before);
    }
}
