//! Final results: recipients that got a message and those that didn't; messages waiting for a mailbox. Both databases.

use crate::common::{Browser, Database, Seat, World, claim_one, delivery_of, record_of_one};
use app::model::{DeliveryId, DeliveryState, MailboxState, RecipientKind, RecipientState};
use server::clock::Clock;
use server::store::{DataStart, Delivery, Page, Record, SendQueue};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;
const GREY: &str = "grey@outside.example";

async fn world(database: &Database) -> (World, Clock, Seat) {
    let clock = Clock::manual(Clock::system().now());
    let world = World::start_with(database, clock.clone(), &[]).await;
    let seat = world.seat("user@demo.example").await;
    (world, clock, seat)
}

async fn newest(world: &World, seat: &Seat) -> Delivery {
    let found = world.services.store.deliveries_of(seat.institution, seat.user, Page::newest(1)).await;
    found.unwrap().remove(0)
}

async fn run(world: &World) -> usize {
    world.services.outbox.run_once().await.unwrap()
}

/// Recipients by state.
async fn said(world: &World, seat: &Seat, delivery_id: DeliveryId) -> Vec<(String, RecipientState)> {
    let found = world.services.store.recipients(seat.institution, delivery_id).await.unwrap();
    found.into_iter().map(|one| (one.address, one.state)).collect()
}

/// Queues a message to an accepting and a deferring recipient.
async fn to_two(world: &World, seat: &Seat) -> DeliveryId {
    let to = [(RecipientKind::To, "other@demo.example".to_owned()), (RecipientKind::Cc, GREY.to_owned())];
    let mut tx = world.services.store.begin().await.unwrap();
    let id = world.queue_one(&mut tx, seat, "To two", &to, world.clock.now()).await;
    tx.commit().await.unwrap();
    id
}

fn accepted(address: &str) -> (String, RecipientState) {
    (address.to_owned(), RecipientState::Accepted)
}

#[tokio::test]
async fn recipients_who_never_got_it_are_named() {
    for database in Database::both().await {
        let (world, clock, seat) = world(&database).await;
        let store = &world.services.store;
        world.sandbox.world().faults.greylisted = GREY.into();
        let id = to_two(&world, &seat).await;
        clock.advance_ms(10);
        run(&world).await;
        let found = store.delivery(seat.institution, id).await.unwrap().unwrap();
        assert_eq!(found.state, DeliveryState::Deferred);
        assert_eq!(
            said(&world, &seat, id).await,
            [accepted("other@demo.example"), (GREY.into(), RecipientState::Pending)]
        );
        // A deferring server delays nothing else.
        world.queue(&seat, 1, "admin@demo.example", clock.now()).await;
        assert_eq!(run(&world).await, 1);
        // Finally failed for one recipient, sent to the other.
        clock.advance_ms(4 * DAY_MS);
        run(&world).await;
        let found = store.delivery(seat.institution, id).await.unwrap().unwrap();
        assert_eq!(found.state, DeliveryState::Sent);
        let told = store.recipients(seat.institution, id).await.unwrap();
        assert_eq!((told[1].state, told[1].answer.contains("Greylisted")), (RecipientState::Refused, true), "{told:?}");
        let browser = Browser::new(&world);
        browser.sign_in(&world, "demo", "user@demo.example").await;
        let page = browser.get(&world.url("demo", "/mail/outbox")).await.text().await.unwrap();
        assert!(page.contains("Not delivered to ") && page.contains("Sent to "));
        // The text is kept for the failed recipient; the retry goes only there.
        assert!(page.contains("Correct and send to the rest"), "{page}");
        let fields = [("delivery", id.to_string())];
        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = browser.post(&world.url("demo", "/api/rewrite_message"), &fields).await;
        let draft = browser.get(&world.url("demo", &crate::common::location(&answer))).await.text().await.unwrap();
        assert!(draft.contains(GREY) && !draft.contains("other@demo.example"), "{draft}");
        // Text of completely accepted messages is deleted.
        world.sandbox.world().faults = sandbox::Faults::default();
        let id = to_two(&world, &seat).await;
        clock.advance_ms(10);
        run(&world).await;
        let found = store.delivery(seat.institution, id).await.unwrap().unwrap();
        assert_eq!((found.state, found.body_sealed.as_str()), (DeliveryState::Sent, ""));
    }
}

#[tokio::test]
async fn what_is_found_among_the_sent_proves_nothing_for_who_was_refused() {
    for database in Database::both().await {
        let (world, clock, seat) = world(&database).await;
        world.sandbox.world().faults =
            sandbox::Faults { greylisted: GREY.into(), cut_after_data: true, ..sandbox::Faults::default() };
        let id = to_two(&world, &seat).await;
        clock.advance_ms(10);
        run(&world).await;
        let store = &world.services.store;
        assert_eq!(store.delivery(seat.institution, id).await.unwrap().unwrap().state, DeliveryState::Unknown);
        assert!(store.prove_sent(seat.institution, id, "found", clock.now()).await.unwrap());
        assert_eq!(
            said(&world, &seat, id).await,
            [accepted("other@demo.example"), (GREY.into(), RecipientState::Refused)]
        );
        assert!(!store.delivery(seat.institution, id).await.unwrap().unwrap().body_sealed.is_empty());

        // The same after a crash: refusals are recorded before DATA.
        world.sandbox.world().faults = sandbox::Faults::default();
        let id = to_two(&world, &seat).await;
        let (dead, now) = (clock.uuid(), clock.now().plus_ms(10));
        let queue = SendQueue::of_mailbox(seat.key());
        let limits = world.services.config.limits.throttle;
        claim_one(store, &queue, dead, now, limits, now).await;
        let refused = [server::mail::RecipientReply {
            address: GREY.to_owned(),
            state: RecipientState::Pending,
            answer: "451 later".to_owned(),
        }];
        let start = DataStart {
            institution: seat.institution,
            delivery: id,
            owner: dead,
            refused: refused.to_vec(),
            again: false,
        };
        assert!(store.start_data(start).await.unwrap());
        store.reap_deliveries(now.plus_ms(1), now).await.unwrap();
        assert!(store.prove_sent(seat.institution, id, "found", now).await.unwrap());
        assert_eq!(said(&world, &seat, id).await[1], (GREY.into(), RecipientState::Refused));
    }
}

#[tokio::test]
async fn what_is_stopped_halfway_was_sent_to_some() {
    for database in Database::both().await {
        let (world, clock, seat) = world(&database).await;
        world.sandbox.world().faults.greylisted = GREY.into();
        let id = to_two(&world, &seat).await;
        clock.advance_ms(10);
        run(&world).await;
        let browser = Browser::new(&world);
        browser.sign_in(&world, "demo", "user@demo.example").await;
        browser.post(&world.url("demo", "/api/cancel_message"), &[("delivery", &id.to_string())]).await;
        let page = browser.get(&world.url("demo", "/mail/outbox")).await.text().await.unwrap();
        assert!(page.contains("Some recipients already have it"), "{page}");
        let found = world.services.store.delivery(seat.institution, id).await.unwrap().unwrap();
        assert_eq!(found.state, DeliveryState::Sent);
        assert_eq!(said(&world, &seat, id).await[1].1, RecipientState::Refused);
    }
}

#[tokio::test]
async fn what_waited_for_days_is_as_young_as_new() {
    for database in Database::both().await {
        let (world, clock, seat) = world(&database).await;
        let store = &world.services.store;
        let ended = MailboxState::NeedsReconnect;
        store.set_mailbox_state(seat.key(), ended, None, None, clock.now()).await.unwrap();
        world.queue(&seat, 3, "other@demo.example", clock.now()).await;
        run(&world).await;
        clock.advance_ms(5 * DAY_MS);
        let seat = world.seat("user@demo.example").await;
        store.resume_queue(&server::store::SendQueue::of_mailbox(seat.key()), clock.now()).await.unwrap();
        world.sandbox.world().faults.cut_before_data = true;
        assert_eq!(run(&world).await, 3);
        let states = async || {
            let found = store.deliveries_of(seat.institution, seat.user, Page::newest(9)).await.unwrap();
            found.into_iter().map(|one| one.state).collect::<Vec<_>>()
        };
        assert_eq!(states().await, [DeliveryState::Deferred; 3], "none is stopped trying at its first attempt");
        world.sandbox.world().faults.cut_before_data = false;
        clock.advance_ms(5 * 60_000);
        assert_eq!(run(&world).await, 3);
        assert_eq!(states().await, [DeliveryState::Sent; 3]);
    }
}

/// The retry period is a setting.
#[tokio::test]
async fn a_message_is_given_up_at_the_age_that_was_set() {
    let database = Database::sqlite();
    let clock = Clock::manual(Clock::system().now());
    let settings = [("ENTREPOST_MESSAGE_SECONDS", "600".to_owned()), ("ENTREPOST_RETRY_SECONDS", "1".to_owned())];
    let world = World::start_with(&database, clock.clone(), &settings).await;
    let seat = world.seat("user@demo.example").await;
    world.sandbox.world().faults.cut_before_data = true;
    world.queue(&seat, 1, "other@demo.example", clock.now()).await;
    run(&world).await;
    clock.advance_ms(500_000);
    run(&world).await;
    assert_eq!(newest(&world, &seat).await.state, DeliveryState::Deferred, "it is young enough");
    clock.advance_ms(150_000);
    run(&world).await;
    assert_eq!(newest(&world, &seat).await.state, DeliveryState::Failed);
}

/// A message waiting at a disconnected mailbox leaves once it's connected again.
#[tokio::test]
async fn what_waited_leaves_through_the_mailbox_that_was_connected_again() {
    for database in Database::both().await {
        let (world, clock, seat) = world(&database).await;
        let (store, browser) = (&world.services.store, Browser::new(&world));
        browser.sign_in(&world, "demo", "user@demo.example").await;
        world.queue(&seat, 1, "other@demo.example", clock.now()).await;
        browser.post(&world.url("demo", "/api/disconnect"), &[("mailbox", &seat.mailbox.to_string())]).await;
        run(&world).await;
        let waiting = newest(&world, &seat).await;
        assert_eq!(waiting.state, DeliveryState::Deferred);
        assert!(waiting.answer.contains("disconnected"), "{}", waiting.answer);
        let again = world.seat("user@demo.example").await;
        assert_ne!(again.mailbox, seat.mailbox);
        let mut tx = store.begin().await.unwrap();
        let queue = SendQueue::of_mailbox(again.key());
        store.adopt_waiting(&mut tx, &queue, again.user, "User@demo.example", clock.now()).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(run(&world).await, 1);
        assert_eq!(newest(&world, &again).await.state, DeliveryState::Sent);

        // A message being sent meanwhile moves to the new mailbox for its retries.
        clock.advance_ms(10);
        world.queue(&again, 1, "other@demo.example", clock.now()).await;
        let (owner, now) = (world.clock.uuid(), clock.now());
        let limits = world.services.config.limits.throttle;
        let hanging = delivery_of(claim_one(store, &queue, owner, now.plus_ms(30_000), limits, now).await);
        browser.post(&world.url("demo", "/api/disconnect"), &[("mailbox", &again.mailbox.to_string())]).await;
        let again = world.seat("user@demo.example").await;
        let mut tx = store.begin().await.unwrap();
        let queue = SendQueue::of_mailbox(again.key());
        store.adopt_waiting(&mut tx, &queue, again.user, "user@demo.example", clock.now()).await.unwrap();
        tx.commit().await.unwrap();
        let record = Record {
            state: DeliveryState::Deferred,
            next_attempt_at: now,
            answer: "the connection was lost".into(),
            fault: None,
            recipients: Vec::new(),
            counts: true,
        };
        assert!(record_of_one(store, again.institution, hanging.id, owner, &record, now).await);
        assert_eq!(run(&world).await, 1);
        assert_eq!(newest(&world, &again).await.state, DeliveryState::Sent);

        // Never connected again: it fails in the end, and can be sent again.
        clock.advance_ms(10);
        world.queue(&again, 1, "other@demo.example", clock.now()).await;
        browser.post(&world.url("demo", "/api/disconnect"), &[("mailbox", &again.mailbox.to_string())]).await;
        for _ in 0..2 {
            run(&world).await;
            clock.advance_ms(4 * DAY_MS);
        }
        let failed = newest(&world, &again).await;
        assert_eq!(failed.state, DeliveryState::Failed);
        assert!(failed.answer.contains("stopped trying"), "{}", failed.answer);
    }
}
