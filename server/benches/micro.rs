//! Micro-benchmarks of what each message and each page costs: `cargo bench -p server --bench micro`.

#[path = "../tests/it/common/mod.rs"]
mod common;

use std::sync::LazyLock;

use app::model::{DeliveryState, EmailAddress, RecipientState};
use common::{Browser, Database, Seat, World, claim_one, delivery_of};
use divan::Bencher;
use server::clock::Clock;
use server::mail::RecipientReply;
use server::message::addresses::Named;
use server::message::build::Written;
use server::message::{document, parse};
use server::outbox::body_place;
use server::store::{DataStart, Delivery, OutcomeRecord, Record, SendQueue};
use server::vault::Secret;
use tokio::runtime::Runtime;

fn main() {
    divan::main();
}

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());
static WORLD: LazyLock<(World, Seat)> = LazyLock::new(|| {
    RUNTIME.block_on(async {
        let database = Database::sqlite();
        let settings = ["ENTREPOST_MESSAGES_PER_MINUTE", "ENTREPOST_RECIPIENTS_PER_DAY"];
        let settings = settings.map(|name| (name, "100000000".to_owned()));
        let world = World::start_with(&database, Clock::system(), &settings).await;
        // The database must outlive the world; its directory goes with the process.
        std::mem::forget(database);
        let seat = world.seat("user@demo.example").await;
        (world, seat)
    })
});

const TEXT: &str = "A line of text, as long as people write them.\n";
const HTML: &str =
    "<p style=\"color: #333; margin: 0\">A paragraph with a <a href=\"https://demo.example/\">link</a>.</p>";

fn built() -> Vec<u8> {
    let from = EmailAddress::parse("user@demo.example").unwrap();
    let to = [Named { name: None, address: EmailAddress::parse("other@demo.example").unwrap() }];
    let written = Written {
        from: &from,
        to: &to,
        cc: &[],
        subject: "Timetable of the week",
        text: &TEXT.repeat(40),
        at: Clock::system().now(),
        message_id: "<1@demo.example>",
        references: &[],
        files: Vec::new(),
    };
    written.build().unwrap()
}

fn html_message() -> Vec<u8> {
    let html = HTML.repeat(100);
    format!("From: user@demo.example\r\nSubject: News\r\nMIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\n\r\n{html}")
        .into_bytes()
}

#[divan::bench]
fn build_message() -> Vec<u8> {
    built()
}

#[divan::bench]
fn parse_message(bencher: Bencher) {
    let raw = html_message();
    bencher.bench_local(|| parse(&raw, false));
}

#[divan::bench]
fn sanitise_html(bencher: Bencher) {
    let parsed = parse(&html_message(), false);
    bencher.bench_local(|| document(&parsed, false));
}

#[divan::bench]
fn seal_and_open(bencher: Bencher) {
    let (world, _) = &*WORLD;
    let place = body_place(app::model::DeliveryId(world.clock.uuid()));
    let body = Secret::new("x".repeat(4_096));
    bencher.bench_local(|| {
        let sealed = world.services.vault.seal(&place, &body).unwrap();
        world.services.vault.open(&place, &sealed).unwrap()
    });
}

async fn claimed(world: &World, seat: &Seat) -> Delivery {
    end_connections(world).await;
    world.queue(seat, 1, "other@demo.example", world.clock.now()).await;
    claim(world, seat).await
}

async fn claim(world: &World, seat: &Seat) -> Delivery {
    let (store, now) = (&world.services.store, world.clock.now());
    let queue = SendQueue::of_mailbox(seat.key());
    let limits = world.services.config.limits.throttle;
    delivery_of(claim_one(store, &queue, world.clock.uuid(), now.plus_ms(60_000), limits, now).await)
}

/// Each claim comes from a connection of its own: those of earlier ones end.
async fn end_connections(world: &World) {
    let later = world.clock.now().plus_ms(3 * 24 * 60 * 60 * 1000);
    world.services.store.sweep_submissions(later).await.unwrap();
}

#[divan::bench(sample_count = 50, sample_size = 1)]
fn claim_a_delivery(bencher: Bencher) {
    let (world, seat) = &*WORLD;
    bencher
        .with_inputs(|| {
            RUNTIME.block_on(async {
                end_connections(world).await;
                world.queue(seat, 1, "other@demo.example", world.clock.now()).await;
            });
        })
        .bench_local_values(|()| RUNTIME.block_on(claim(world, seat)));
}

#[divan::bench(sample_count = 50, sample_size = 1)]
fn mark_and_record(bencher: Bencher) {
    let (world, seat) = &*WORLD;
    bencher.with_inputs(|| RUNTIME.block_on(claimed(world, seat))).bench_local_values(|delivery| {
        let (institution, owner, now) = (seat.institution, delivery.lease, world.clock.now());
        let start = DataStart { institution, delivery: delivery.id, owner, refused: Vec::new(), again: false };
        let record = Record {
            state: DeliveryState::Sent,
            next_attempt_at: now,
            answer: "accepted".into(),
            fault: None,
            recipients: vec![RecipientReply {
                address: "other@demo.example".into(),
                state: RecipientState::Accepted,
                answer: "accepted".into(),
            }],
            counts: true,
        };
        let outcome = OutcomeRecord { institution, delivery: delivery.id, owner, record, pending: 1, now };
        RUNTIME.block_on(async {
            assert!(world.services.store.start_data(start).await.unwrap());
            assert!(world.services.store.record_outcome(outcome).await.unwrap());
        });
    });
}

#[divan::bench(sample_count = 50)]
fn render_the_outbox(bencher: Bencher) {
    let (world, seat) = &*WORLD;
    let browser = RUNTIME.block_on(async {
        let browser = Browser::new(world);
        browser.sign_in(world, "demo", "user@demo.example").await;
        world.queue(seat, 50, "other@demo.example", world.clock.now()).await;
        browser
    });
    let url = world.url("demo", "/mail/outbox");
    bencher.bench_local(|| RUNTIME.block_on(async { browser.get(&url).await.text().await.unwrap() }));
}
