//! Load for the measurements of `make bench`: drives the outbox, and prints one line of JSON.
//!
//! `end2end/bench/run.mjs` starts it beside the peers that it is compared with.

#[path = "../tests/it/common/mod.rs"]
mod common;
#[path = "load/relay.rs"]
mod relay_load;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use app::model::{DeliveryId, EmailAddress, RecipientKind, SessionId};
use clap::{Parser, Subcommand};
use common::dovecot::Dovecot;
use common::program::Program;
use common::{Browser, Database, Seat, World};
use futures::StreamExt;
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use serde_json::json;
use server::clock::Clock;
use server::message::addresses::Named;
use server::message::build::Written;
use server::outbox::{QueuedBody, body_place};
use server::store::{Author, Claim, ClaimRequest, DatabaseKind, NewDelivery, Page, SendQueue, Tx};
use server::vault::Secret;
use sqlx::{AssertSqlSafe, Connection};

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
    /// Resident memory of the program: at rest, after sixty sign-ins, after messages, and after as many again; so many times
    Memory { mailboxes: usize, messages: usize, times: usize },
    /// Sends with several programs on one database
    Replicas { replicas: usize, mailboxes: usize, messages: usize },
    /// Time of an enqueue, of a claim and of a page of the outbox, with so many messages in the queue
    Scale { queued: usize },
    /// Resident memory with so many mailboxes watched in Dovecot, an event stream each; then that of a command with as many IMAP
    /// connections, which gets the port, the certificate and the file of names and tokens; in turns, so many times
    Watch { mailboxes: usize, times: usize, command: Vec<String> },
    /// Time from the start of the program to its first answer
    Start { times: usize },
    /// Writes the certificate and the key of a mail server on this machine
    Certificate { certificate: std::path::PathBuf, key: std::path::PathBuf },
    /// Queues messages and sends them at the same time; with `--alone` sends what was queued before
    Send {
        mailboxes: usize,
        messages: usize,
        #[arg(long)]
        alone: bool,
    },
    /// Queues messages through the form that people send with, as 64 of them at a time would, and sends them
    Form { mailboxes: usize, messages: usize },
    /// Accepts messages over so many connections of a device, and sends them; then memory with so many idle connections
    Relay { connections: usize, messages: usize, idle: usize },
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
/// Deadline for sending what was queued.
const SENDING: Duration = Duration::from_secs(600);
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
    cpu_of(std::process::id())
}

fn cpu_of(pid: u32) -> f64 {
    let statistics = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
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
        let ca = arguments.ca.iter().map(|ca| ("ENTREPOST_EXTRA_CA_FILE", ca.display().to_string()));
        Self::start_with(arguments, mailboxes, ca.collect()).await
    }

    async fn start_with(arguments: &Arguments, mailboxes: usize, more: Vec<(&'static str, String)>) -> Self {
        let database = match arguments.database.as_str() {
            "sqlite" => Database::sqlite(),
            url => Database::postgres_at(url).await,
        };
        let mut settings = vec![
            ("ENTREPOST_MICROSOFT_SMTP", arguments.smtp.clone()),
            ("ENTREPOST_MESSAGES_PER_MINUTE", "100000000".to_owned()),
            ("ENTREPOST_RECIPIENTS_PER_DAY", "100000000".to_owned()),
        ];
        settings.extend(more);
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
            author: Author::Person(seat.user),
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

    /// A long queue: some messages, and copies of them behind.
    async fn fill(&self, messages: usize) {
        let written = messages.min(1_000);
        let mut tx = self.world.services.store.begin().await.unwrap();
        for _ in 0..written {
            self.enqueue_within(&mut tx).await;
        }
        tx.commit().await.unwrap();
        let mut database = self.database().await;
        let id = match self.world.services.store.backend() {
            DatabaseKind::Sqlite => {
                "LOWER(HEX(RANDOMBLOB(4)) || '-' || HEX(RANDOMBLOB(2)) || '-4' || SUBSTR(HEX(RANDOMBLOB(2)), 2) || '-8' || SUBSTR(HEX(RANDOMBLOB(2)), 2) || '-' || HEX(RANDOMBLOB(6)))"
            }
            DatabaseKind::Postgres => "CAST(GEN_RANDOM_UUID() AS TEXT)",
        };
        // Contains only a number and the expression above.
        let statement = format!(
            "INSERT INTO deliveries (id, institution_id, user_id, send_queue_id, idempotency_key, message_id, from_address, subject,
               body_sealed, form_sealed, next_attempt_at, created_at, state)
             WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {copies})
             SELECT {id}, institution_id, user_id, send_queue_id, idempotency_key || '-' || CAST(n AS TEXT),
               message_id || '-' || CAST(n AS TEXT), from_address, subject, body_sealed, form_sealed, next_attempt_at,
               created_at + 60000 + n, state
             FROM deliveries, numbers WHERE n <= {copies}",
            copies = messages / written - 1
        );
        if messages > written {
            sqlx::query(AssertSqlSafe(statement)).execute(&mut database).await.unwrap();
        }
        let recipients = "INSERT INTO recipients (delivery_id, position, kind, address)
            SELECT id, 0, 'to', 'other@demo.example' FROM deliveries WHERE NOT EXISTS (SELECT 1 FROM recipients WHERE delivery_id = deliveries.id)";
        sqlx::query(recipients).execute(&mut database).await.unwrap();
        // As the databases do by themselves after a while.
        sqlx::query("ANALYZE").execute(&mut database).await.unwrap();
    }

    async fn database(&self) -> sqlx::AnyConnection {
        let url = self.world.settings.iter().find(|(name, _)| *name == "ENTREPOST_DATABASE_URL").unwrap();
        sqlx::AnyConnection::connect(&url.1).await.unwrap()
    }

    fn run(&self) {
        tokio::spawn(Arc::clone(&self.world.services.outbox).run(self.world.services.tasks.clone()));
    }

    /// Waits until nothing waits to be sent or recorded, and checks that all is sent.
    async fn sent(&self, messages: usize, poll: Duration) {
        let mut database = self.database().await;
        let under_way = "SELECT CASE WHEN EXISTS (SELECT 1 FROM deliveries WHERE state IN ('queued', 'deferred'))
            OR EXISTS (SELECT 1 FROM deliveries WHERE state = 'sending') THEN 1 ELSE 0 END";
        let until = Instant::now() + SENDING;
        while sqlx::query_scalar::<_, i64>(under_way).fetch_one(&mut database).await.unwrap() == 1 {
            assert!(Instant::now() < until, "messages wait for {SENDING:?}");
            tokio::time::sleep(poll).await;
        }
        let sent = "SELECT COUNT(*) FROM deliveries WHERE state = 'sent'";
        let sent: i64 = sqlx::query_scalar(sent).fetch_one(&mut database).await.unwrap();
        assert_eq!(sent, i64::try_from(messages).unwrap());
    }
}

async fn send(arguments: &Arguments, mailboxes: usize, messages: usize, alone: bool) -> serde_json::Value {
    let bench = Bench::start(arguments, mailboxes).await;
    if alone {
        bench.enqueue_all(messages).await;
    }
    let (began, used) = (Instant::now(), cpu());
    bench.run();
    if !alone {
        bench.enqueue_all(messages).await;
    }
    bench.sent(messages, POLL).await;
    json!({ "milliseconds": milliseconds(began), "cpu": cpu() - used })
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

/// Through a program of its own: what its processor time is per message, from the request to the record.
async fn form(arguments: &Arguments, mailboxes: usize, messages: usize) -> serde_json::Value {
    let bench = Bench::start(arguments, mailboxes).await;
    let quotas = [("ENTREPOST_QUEUED_MESSAGES", "1000000"), ("ENTREPOST_QUEUED_MESSAGES_OF_INSTITUTION", "1000000")];
    let program = Program::start(&bench.world, &[&PROGRAM[..], &quotas[..]].concat()).await;
    let cookies = sessions(&bench).await;
    let (http, url) = (Browser::at(program.port).http, program.url("/api/send_message"));
    let origin = program.url("").trim_end_matches('/').to_owned();
    let text = "Text. ".repeat(bench.bytes / 6);
    let (began, used) = (Instant::now(), cpu_of(program.pid()));
    let posts = (0..messages).map(|number| {
        let at = number % mailboxes;
        let fields = [
            ("mailbox", bench.seats[at].mailbox.to_string()),
            ("to", "other@demo.example".to_owned()),
            ("subject", bench.subject(number)),
            ("text", text.clone()),
            ("key", bench.world.clock.uuid().to_string()),
            ("action", "send".to_owned()),
        ];
        let form =
            fields.into_iter().fold(reqwest::multipart::Form::new(), |form, (name, value)| form.text(name, value));
        let request =
            http.post(&url).header("accept", "text/html").header("origin", &origin).header("cookie", &cookies[at]);
        async move {
            let answer = request.multipart(form).send().await.unwrap();
            assert_eq!(common::location(&answer), "/mail/outbox");
        }
    });
    futures::stream::iter(posts).buffer_unordered(CALLERS).collect::<Vec<()>>().await;
    let queued = milliseconds(began);
    bench.sent(messages, POLL).await;
    let (took, cpu) = (milliseconds(began), cpu_of(program.pid()) - used);
    json!({ "milliseconds": took, "queued": queued, "cpu": cpu, "rss": common::memory_of(program.pid()) })
}

/// A session of each user, as a cookie.
async fn sessions(bench: &Bench) -> Vec<String> {
    let (store, clock) = (&bench.world.services.store, &bench.world.clock);
    let mut cookies = Vec::new();
    let mut tx = store.begin().await.unwrap();
    for seat in &bench.seats {
        let (session, token) = (SessionId(clock.uuid()), clock.uuid().to_string());
        let hashed = server::clock::sha256(&token);
        store.add_session(&mut tx, seat.institution, seat.user, session, &hashed, clock.now()).await.unwrap();
        cookies.push(format!("entrepost_session={token}"));
    }
    tx.commit().await.unwrap();
    cookies
}

async fn memory(arguments: &Arguments, mailboxes: usize, messages: usize, times: usize) -> serde_json::Value {
    let mut found = Vec::new();
    for _ in 0..times {
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
        found.push(json!({ "rest": rest, "signed_in": signed_in, "after": after }));
    }
    json!(found)
}

async fn replicas(arguments: &Arguments, replicas: usize, mailboxes: usize, messages: usize) -> serde_json::Value {
    let bench = Bench::start(arguments, mailboxes).await;
    bench.enqueue_all(messages).await;
    let mut database = bench.database().await;
    // Nothing is due until all programs run.
    sqlx::query("UPDATE deliveries SET next_attempt_at = next_attempt_at + 3600000")
        .execute(&mut database)
        .await
        .unwrap();
    let starting = (0..replicas).map(|_| Program::start(&bench.world, &PROGRAM));
    let programs = futures::future::join_all(starting).await;
    sqlx::query("UPDATE deliveries SET next_attempt_at = next_attempt_at - 3600000")
        .execute(&mut database)
        .await
        .unwrap();
    let claimed = "SELECT CASE WHEN EXISTS (SELECT 1 FROM deliveries WHERE state <> 'queued') THEN 1 ELSE 0 END";
    while sqlx::query_scalar::<_, i64>(claimed).fetch_one(&mut database).await.unwrap() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let began = Instant::now();
    bench.sent(messages, POLL).await;
    drop(programs);
    json!({ "milliseconds": milliseconds(began) })
}

async fn scale(arguments: &Arguments, queued: usize) -> serde_json::Value {
    let bench = Bench::start(arguments, 1).await;
    let (store, clock, seat) = (&bench.world.services.store, &bench.world.clock, bench.seats[0]);
    add_headers(&bench, seat, queued.min(100_000)).await;
    bench.fill(queued).await;
    let queue = SendQueue::of_mailbox(seat.key());
    let quota = bench.world.services.config.quotas.queued_messages;
    let (mut enqueue, mut claim, mut page, mut inbox) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut counts = Vec::new();
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
        let began = Instant::now();
        assert_eq!(store.headers(seat.key(), "INBOX", 0, 50).await.unwrap().len(), 50);
        inbox.push(milliseconds(began));
        let began = Instant::now();
        store.queued_of(seat.institution, seat.user, quota).await.unwrap();
        counts.push(milliseconds(began));
    }
    json!({
        "enqueue": median(enqueue), "claim": median(claim), "page": median(page), "inbox": median(inbox), "quota": median(counts),
    })
}

/// More headers of a folder than the product keeps.
async fn add_headers(bench: &Bench, seat: Seat, count: usize) {
    let mut database = bench.database().await;
    sqlx::query(
        "INSERT INTO headers (mailbox_id, institution_id, folder, uid, from_name, from_address, recipients, subject, received_at, size,
           seen, flagged, answered, attachments)
         WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < $3)
         SELECT $1, $2, 'INBOX', n, 'Other', 'other@demo.example', 'm0@demo.example', 'Subject', n, 1, 0, 0, 0, 0 FROM numbers",
    )
    .bind(seat.mailbox.to_string())
    .bind(seat.institution.to_string())
    .bind(i64::try_from(count).unwrap())
    .execute(&mut database)
    .await
    .unwrap();
}

async fn watch(arguments: &Arguments, mailboxes: usize, times: usize, command: &[String]) -> serde_json::Value {
    let mut dovecot = Dovecot::prepare();
    let imap = ("ENTREPOST_MICROSOFT_IMAP", format!("localhost:{}", dovecot.imap));
    let bench = Bench::start_with(
        arguments,
        mailboxes,
        vec![imap, ("ENTREPOST_EXTRA_CA_FILE", dovecot.ca.display().to_string())],
    )
    .await;
    let Bench { world, seats, .. } = &bench;
    for number in 0..mailboxes {
        dovecot.add(&format!("m{number}@demo.example"));
    }
    dovecot.start(world).await;
    let cookies = sessions(&bench).await;
    let peers = world.directory.path().join("peers.json");
    let mut tokens = Vec::new();
    for seat in seats {
        let mailbox = world.services.store.mailbox(seat.key()).await.unwrap().unwrap();
        let token = world.services.tokens.access(&mailbox).await.unwrap();
        tokens.push((mailbox.sign_in_name, token.secret.expose().to_owned()));
    }
    std::fs::write(&peers, json!(tokens).to_string()).unwrap();
    let (port, ca) = (dovecot.imap.to_string(), dovecot.ca.display().to_string());
    let idle = || dovecot.sessions();
    let settings = [("ENTREPOST_CONNECTIONS_PER_ADDRESS", "100000"), ("ENTREPOST_POLL_SECONDS", "3600")];
    let mut found = Vec::new();
    for _ in 0..times {
        let program = Program::start(world, &settings).await;
        let rest = common::memory_of(program.pid());
        let http = Browser::at(program.port).http;
        let streams = seats.iter().zip(&cookies).map(|(seat, cookie)| {
            let url = program.url(&format!("/events/mail?mailbox={}&folder=INBOX&version=0", seat.mailbox));
            http.get(url).header("cookie", cookie).send()
        });
        let streams: Vec<reqwest::Response> =
            futures::stream::iter(streams).buffer_unordered(CALLERS).map(Result::unwrap).collect().await;
        assert!(streams.iter().all(|stream| stream.status() == 200));
        world.until_longer(WATCHING, async || idle() == mailboxes).await;
        tokio::time::sleep(SETTLING).await;
        let watched = common::memory_of(program.pid());
        drop((streams, program));
        world.until_longer(WATCHING, async || idle() == 0).await;

        let mut peer = std::process::Command::new(&command[0])
            .args(&command[1..])
            .args([&port, &ca, &peers.display().to_string()])
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        world.until_longer(WATCHING, async || idle() == mailboxes).await;
        tokio::time::sleep(SETTLING).await;
        let other = common::memory_of(peer.id());
        peer.kill().unwrap();
        peer.wait().unwrap();
        world.until_longer(WATCHING, async || idle() == 0).await;
        found.push(json!({ "rest": rest, "watched": watched, "peer": other }));
    }
    json!(found)
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
        Some(What::Send { mailboxes, messages, alone }) => send(&arguments, *mailboxes, *messages, *alone).await,
        Some(What::Latency { messages, pause }) => latency(&arguments, *messages, *pause).await,
        Some(What::Form { mailboxes, messages }) => form(&arguments, *mailboxes, *messages).await,
        Some(What::Relay { connections, messages, idle }) => {
            relay_load::relay(&arguments, *connections, *messages, *idle).await
        }
        Some(What::Memory { mailboxes, messages, times }) => memory(&arguments, *mailboxes, *messages, *times).await,
        Some(What::Replicas { replicas: count, mailboxes, messages }) => {
            replicas(&arguments, *count, *mailboxes, *messages).await
        }
        Some(What::Scale { queued }) => scale(&arguments, *queued).await,
        Some(What::Watch { mailboxes, times, command }) => watch(&arguments, *mailboxes, *times, command).await,
        Some(What::Start { times }) => start(&arguments, *times).await,
        Some(What::Certificate { certificate, key }) => write_certificate(certificate, key),
        None => return,
    };
    println!("{result}");
}
