//! Load for the measurements of `make bench`: drives the outbox, and prints one line of JSON.
//!
//! `end2end/bench/run.mjs` starts it beside the peers that it is compared with.

#[path = "../tests/it/common/mod.rs"]
mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use app::model::{DeliveryId, EmailAddress, RecipientKind, SessionId};
use clap::{Parser, Subcommand};
use common::program::Program;
use common::{Browser, Database, Seat, World};
use futures::StreamExt;
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use serde_json::json;
use server::clock::Clock;
use server::message::addresses::Named;
use server::message::build::Written;
use server::outbox::{QueuedBody, body_place};
use server::store::{Claim, ClaimRequest, NewDelivery, Page, SendQueue, Tx};
use server::vault::Secret;
use sqlx::Connection;

/// Enqueues under way at one time, as many requests would make.
const CALLERS: usize = 64;

const POLL: Duration = Duration::from_millis(10);

#[derive(Parser)]
struct Arguments {
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
    /// The mail server, `localhost:PORT`
    #[arg(long, default_value = "localhost:1")]
    smtp: String,
    /// Its certificate
    #[arg(long)]
    ca: Option<std::path::PathBuf>,
    /// `sqlite`, or the URL of a PostgreSQL server
    #[arg(long, default_value = "sqlite")]
    database: String,
    /// Size of a message, in bytes
    #[arg(long, default_value_t = 2048)]
    bytes: usize,
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Subcommand)]
enum What {
    /// Resident memory of the program: at rest, after sixty sign-ins, after messages, and after as many again
    Memory { mailboxes: usize, messages: usize },
    /// Sends with several programs on one database
    Replicas { replicas: usize, mailboxes: usize, messages: usize },
    /// Time of an enqueue, of a claim and of a page of the outbox, with so many messages in the queue
    Scale { queued: usize },
    /// Resident memory with so many mailboxes watched, an event stream each; then that of a command with as many IMAP connections,
    /// which gets the port, the certificate and the file of names and tokens
    Watch { mailboxes: usize, command: Vec<String> },
    /// Time from the start of the program to its first answer
    Start { times: usize },
    /// Writes the certificate and the key of a mail server on this machine
    Certificate { certificate: std::path::PathBuf, key: std::path::PathBuf },
    /// Queues messages and sends them: all at once, and sending alone
    Send { mailboxes: usize, messages: usize },
    /// Queues one message at a time; prints when each was submitted
    Latency {
        messages: usize,
        /// Milliseconds between two
        pause: u64,
    },
}

struct Bench {
    world: World,
    seats: Vec<Seat>,
    bytes: usize,
    enqueued: AtomicUsize,
}

/// Settings of a program of its own that sends.
const PROGRAM: [(&str, &str); 1] = [("ENTREPOST_POLL_SECONDS", "3600")];
const SIGN_INS: usize = 60;
/// Deadline for opening all IMAP connections.
const WATCHING: Duration = Duration::from_secs(300);
/// Until the memory of what was needed to open them is free again.
const SETTLING: Duration = Duration::from_secs(10);
/// Repetitions of what `Scale` times.
const TIMES: usize = 200;

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}

/// Processor time of this process, in milliseconds.
fn cpu() -> f64 {
    let statistics = std::fs::read_to_string("/proc/self/stat").unwrap();
    // The name of the program, in parentheses, may contain blanks. Ticks are hundredths of a second.
    let fields: Vec<&str> = statistics.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) * 10.0
}

/// Milliseconds since 1970.
fn now() -> f64 {
    #[expect(clippy::disallowed_methods, reason = "compared with the clock of another process")]
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64() * 1000.0
}

impl Bench {
    async fn start(arguments: &Arguments, mailboxes: usize) -> Self {
        let database = match arguments.database.as_str() {
            "sqlite" => Database::sqlite(),
            url => Database::postgres_at(url).await,
        };
        let mut settings = vec![
            ("ENTREPOST_MICROSOFT_SMTP", arguments.smtp.clone()),
            ("ENTREPOST_MESSAGES_PER_MINUTE", "100000000".to_owned()),
            ("ENTREPOST_RECIPIENTS_PER_DAY", "100000000".to_owned()),
        ];
        if let Some(ca) = &arguments.ca {
            settings.push(("ENTREPOST_EXTRA_CA_FILE", ca.display().to_string()));
        }
        let world = World::start_with(&database, Clock::system(), &settings).await;
        // The database must outlive the world; its directory goes with the process.
        std::mem::forget(database);
        let mut seats = Vec::new();
        for number in 0..mailboxes {
            seats.push(world.newcomer(&format!("m{number}@demo.example")).await);
        }
        Self { world, seats, bytes: arguments.bytes, enqueued: AtomicUsize::new(0) }
    }

    /// What a server function does with a message: build, seal, commit.
    async fn enqueue(&self) {
        let mut tx = self.world.services.store.begin().await.unwrap();
        self.enqueue_within(&mut tx).await;
        tx.commit().await.unwrap();
        self.world.services.outbox.wake();
    }

    async fn enqueue_within(&self, tx: &mut Tx) {
        let number = self.enqueued.fetch_add(1, Ordering::Relaxed);
        let services = &self.world.services;
        let seat = &self.seats[number % self.seats.len()];
        let from = EmailAddress::parse(&format!("m{}@demo.example", number % self.seats.len())).unwrap();
        let to = EmailAddress::parse("other@demo.example").unwrap();
        let (id, now) = (DeliveryId(services.clock.uuid()), services.clock.now());
        let message_id = format!("<{}@demo.example>", id.0);
        let subject = self.subject(number);
        let written = Written {
            from: &from,
            to: &[Named { name: None, address: to.clone() }],
            cc: &[],
            subject: &subject,
            text: &"Text. ".repeat(self.bytes / 6),
            at: now,
            message_id: &message_id,
            references: &[],
            files: Vec::new(),
        };
        let body = Secret::new(serde_json::to_string(&QueuedBody::of(written.build().unwrap())).unwrap());
        let new = NewDelivery {
            id,
            user: Some(seat.user),
            idempotency_key: id.to_string(),
            message_id,
            from: from.to_string(),
            subject,
            body_sealed: services.vault.seal(&body_place(id), &body).unwrap(),
            form_sealed: String::new(),
            recipients: vec![(RecipientKind::To, to.to_string())],
        };
        let (store, queue) = (&services.store, SendQueue::of_mailbox(seat.key()));
        assert!(store.enqueue(tx, &queue, &new, now).await.unwrap());
    }

    /// Differs in each run: the mail server counts what arrives twice.
    fn subject(&self, number: usize) -> String {
        format!("bench {} {number}", self.world.port)
    }

    async fn enqueue_all(&self, messages: usize) {
        let enqueues = futures::stream::iter(0..messages).map(|_| self.enqueue());
        enqueues.buffer_unordered(CALLERS).collect::<Vec<()>>().await;
    }

    /// Many in each transaction: only to have a long queue.
    async fn fill(&self, messages: usize) {
        let mut missing = messages;
        while missing > 0 {
            let mut tx = self.world.services.store.begin().await.unwrap();
            let part = missing.min(1_000);
            for _ in 0..part {
                self.enqueue_within(&mut tx).await;
            }
            tx.commit().await.unwrap();
            missing -= part;
        }
    }

    fn run(&self) {
        tokio::spawn(Arc::clone(&self.world.services.outbox).run(self.world.services.tasks.clone()));
    }

    /// Waits until nothing waits to be sent or recorded, and checks that all is sent.
    async fn sent(&self, messages: usize, poll: Duration) {
        let url = self.world.settings.iter().find(|(name, _)| *name == "ENTREPOST_DATABASE_URL").unwrap();
        let mut database = sqlx::AnyConnection::connect(&url.1).await.unwrap();
        let under_way = "SELECT CASE WHEN EXISTS (SELECT 1 FROM deliveries WHERE state IN ('queued', 'deferred'))
            OR EXISTS (SELECT 1 FROM deliveries WHERE state = 'sending') THEN 1 ELSE 0 END";
        while sqlx::query_scalar::<_, i64>(under_way).fetch_one(&mut database).await.unwrap() == 1 {
            tokio::time::sleep(poll).await;
        }
        let sent = "SELECT COUNT(*) FROM deliveries WHERE state = 'sent'";
        let sent: i64 = sqlx::query_scalar(sent).fetch_one(&mut database).await.unwrap();
        assert_eq!(sent, i64::try_from(messages).unwrap());
    }
}

async fn send(arguments: &Arguments, mailboxes: usize, messages: usize) -> serde_json::Value {
    let bench = Bench::start(arguments, mailboxes).await;
    bench.run();
    let (began, used) = (Instant::now(), cpu());
    bench.enqueue_all(messages).await;
    let queued = milliseconds(began);
    bench.sent(messages, POLL).await;
    let (whole, whole_cpu) = (milliseconds(began), cpu() - used);
    bench.world.services.stop.cancel();

    // Sending alone: everything is queued before.
    let bench = Bench::start(arguments, mailboxes).await;
    let used = cpu();
    bench.enqueue_all(messages).await;
    let queue_cpu = cpu() - used;
    let (began, used) = (Instant::now(), cpu());
    bench.run();
    bench.sent(messages, POLL).await;
    json!({
        "milliseconds": whole, "cpu": whole_cpu, "queued": queued, "queue_cpu": queue_cpu,
        "send_milliseconds": milliseconds(began), "send_cpu": cpu() - used, "rss": common::memory(),
    })
}

async fn latency(arguments: &Arguments, messages: usize, pause: u64) -> serde_json::Value {
    let bench = Bench::start(arguments, 1).await;
    bench.run();
    let mut times = Vec::new();
    for number in 0..messages {
        times.push((bench.subject(number), now()));
        bench.enqueue().await;
        bench.sent(number + 1, POLL / 10).await;
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
    json!(times)
}

async fn memory(arguments: &Arguments, mailboxes: usize, messages: usize) -> serde_json::Value {
    let bench = Bench::start(arguments, mailboxes).await;
    let program = Program::start(&bench.world, &PROGRAM).await;
    let rest = common::memory_of(program.pid());
    for number in 0..SIGN_INS {
        program.browser(&format!("m{}@demo.example", number % mailboxes)).await;
    }
    let signed_in = common::memory_of(program.pid());
    let mut after = Vec::new();
    for round in 1..=2 {
        bench.enqueue_all(messages).await;
        bench.sent(messages * round, POLL * 10).await;
        after.push(common::memory_of(program.pid()));
    }
    json!({ "rest": rest, "signed_in": signed_in, "after": after })
}

async fn replicas(arguments: &Arguments, replicas: usize, mailboxes: usize, messages: usize) -> serde_json::Value {
    let bench = Bench::start(arguments, mailboxes).await;
    bench.enqueue_all(messages).await;
    let starting = (0..replicas).map(|_| Program::start(&bench.world, &PROGRAM));
    let began = Instant::now();
    let programs = futures::future::join_all(starting).await;
    bench.sent(messages, POLL).await;
    drop(programs);
    json!({ "milliseconds": milliseconds(began) })
}

async fn scale(arguments: &Arguments, queued: usize) -> serde_json::Value {
    let bench = Bench::start(arguments, 1).await;
    let (store, clock, seat) = (&bench.world.services.store, &bench.world.clock, bench.seats[0]);
    bench.fill(queued).await;
    let queue = SendQueue::of_mailbox(seat.key());
    let (mut enqueue, mut claim, mut page) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..TIMES {
        let began = Instant::now();
        bench.enqueue().await;
        enqueue.push(milliseconds(began));
        let (owner, now) = (clock.uuid(), clock.now());
        let request = ClaimRequest {
            queue: queue.clone(),
            owner,
            connection: owner,
            until: now.plus_ms(60_000),
            limits: bench.world.services.config.limits.throttle,
            now,
            most: 1,
        };
        let began = Instant::now();
        let claimed = store.claim_deliveries(request).await.unwrap();
        claim.push(milliseconds(began));
        let Claim::Deliveries { deliveries, .. } = claimed else { panic!("{claimed:?}") };
        store.release_claim(seat.institution, owner, &[deliveries[0].delivery.id]).await.unwrap();
        store.end_connection(owner).await.unwrap();
        let began = Instant::now();
        assert_eq!(store.deliveries_of(seat.institution, seat.user, Page::newest(50)).await.unwrap().len(), 50);
        page.push(milliseconds(began));
    }
    json!({ "enqueue": median(enqueue), "claim": median(claim), "page": median(page) })
}

async fn watch(arguments: &Arguments, mailboxes: usize, command: &[String]) -> serde_json::Value {
    let bench = Bench::start(arguments, mailboxes).await;
    let Bench { world, seats, .. } = &bench;
    let (store, clock) = (&world.services.store, &world.clock);
    let mut cookies = Vec::new();
    let mut tx = store.begin().await.unwrap();
    for seat in seats {
        let (session, token) = (SessionId(clock.uuid()), clock.uuid().to_string());
        let hashed = server::clock::sha256(&token);
        store.add_session(&mut tx, seat.institution, seat.user, session, &hashed, clock.now()).await.unwrap();
        cookies.push(format!("entrepost_session={token}"));
    }
    tx.commit().await.unwrap();
    let settings = [("ENTREPOST_CONNECTIONS_PER_ADDRESS", "100000"), ("ENTREPOST_POLL_SECONDS", "3600")];
    let program = Program::start(world, &settings).await;
    let rest = common::memory_of(program.pid());
    let http = Browser::at(program.port).http;
    let streams = seats.iter().zip(cookies).map(|(seat, cookie)| {
        let url = program.url(&format!("/events/mail?mailbox={}&folder=INBOX&version=0", seat.mailbox));
        http.get(url).header("cookie", cookie).send()
    });
    let streams: Vec<reqwest::Response> =
        futures::stream::iter(streams).buffer_unordered(CALLERS).map(Result::unwrap).collect().await;
    assert!(streams.iter().all(|stream| stream.status() == 200));
    let open = || world.sandbox.world().imap_sessions.values().filter(|(open, _)| *open > 0).count();
    world.until_longer(WATCHING, async || open() == mailboxes).await;
    tokio::time::sleep(SETTLING).await;
    let watched = common::memory_of(program.pid());
    drop((streams, program));
    world.until_longer(WATCHING, async || open() == 0).await;

    let peers = world.directory.path().join("peers.json");
    let mut tokens = Vec::new();
    for seat in seats {
        let mailbox = store.mailbox(seat.key()).await.unwrap().unwrap();
        let token = world.services.tokens.access(&mailbox).await.unwrap();
        tokens.push((mailbox.sign_in_name, token.secret.expose().to_owned()));
    }
    std::fs::write(&peers, json!(tokens).to_string()).unwrap();
    let imap = world.sandbox.imap_addr().port().to_string();
    let ca = world.directory.path().join("ca.pem");
    let mut peer = std::process::Command::new(&command[0])
        .args(&command[1..])
        .args([&imap, &ca.display().to_string(), &peers.display().to_string()])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    world.until_longer(WATCHING, async || open() == mailboxes).await;
    tokio::time::sleep(SETTLING).await;
    let other = common::memory_of(peer.id());
    peer.kill().unwrap();
    peer.wait().unwrap();
    json!({ "rest": rest, "watched": watched, "peer": other })
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

async fn start(arguments: &Arguments, times: usize) -> serde_json::Value {
    let bench = Bench::start(arguments, 1).await;
    let program = Program::start(&bench.world, &PROGRAM).await;
    let mut took = Vec::new();
    for _ in 0..times {
        program.kill();
        let began = Instant::now();
        program.start_again().await;
        took.push(milliseconds(began));
    }
    json!({ "milliseconds": median(took) })
}

fn write_certificate(certificate: &std::path::Path, key: &std::path::Path) -> serde_json::Value {
    let mut parameters = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    parameters.is_ca = IsCa::ExplicitNoCa;
    let pair = KeyPair::generate().unwrap();
    std::fs::write(certificate, parameters.self_signed(&pair).unwrap().pem()).unwrap();
    std::fs::write(key, pair.serialize_pem()).unwrap();
    json!({})
}

#[tokio::main]
async fn main() {
    let arguments = Arguments::parse();
    // The mail server and the event streams of a thousand mailboxes are in this process.
    rlimit::increase_nofile_limit(u64::MAX).unwrap();
    let filter = server::logging::filter("warn").unwrap();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let result = match &arguments.what {
        Some(What::Send { mailboxes, messages }) => send(&arguments, *mailboxes, *messages).await,
        Some(What::Latency { messages, pause }) => latency(&arguments, *messages, *pause).await,
        Some(What::Memory { mailboxes, messages }) => memory(&arguments, *mailboxes, *messages).await,
        Some(What::Replicas { replicas: count, mailboxes, messages }) => {
            replicas(&arguments, *count, *mailboxes, *messages).await
        }
        Some(What::Scale { queued }) => scale(&arguments, *queued).await,
        Some(What::Watch { mailboxes, command }) => watch(&arguments, *mailboxes, command).await,
        Some(What::Start { times }) => start(&arguments, *times).await,
        Some(What::Certificate { certificate, key }) => write_certificate(certificate, key),
        None => return,
    };
    println!("{result}");
}
