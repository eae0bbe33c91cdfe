//! Crash tests: a real process, killed at random moments, with a mail server that cuts connections, throttles, rejects and
//! expires tokens. An accepted message arrives once, fails with a reason, or is reported as unknown.
//!
//! `ENTREPOST_CRASH_SEED`, `ENTREPOST_CRASH_MESSAGES` and `ENTREPOST_CRASH_MAILBOXES` configure longer runs; each run prints its
//! seed and figures.

use server::store::Page;
use std::collections::HashMap;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use app::model::{DeliveryState, MailboxState};
use sqlx::Connection;

use crate::common::program::Program;
use crate::common::{Browser, Database, Seat, World, location};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sandbox::Faults;

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Messages per kill, at most.
const MESSAGES_PER_KILL: usize = 15;

/// The program on a test database.
struct Server {
    world: Arc<World>,
    program: Program,
    kills: AtomicUsize,
}

impl Server {
    async fn start(world: Arc<World>, more: &[(&'static str, &str)]) -> Self {
        let program = Program::start(&world, more).await;
        Self { world, program, kills: AtomicUsize::new(0) }
    }

    /// SIGKILL: no chance to clean up.
    fn kill(&self) {
        self.program.kill();
        self.kills.fetch_add(1, Ordering::Relaxed);
    }

    async fn start_again(&self) {
        self.program.start_again().await;
    }

    /// Starts it with a file size limit of the database's size plus some kilobytes.
    async fn start_with_files_of(&self, kilobytes: u64) {
        let settings = &self.program.settings;
        let (_, url) = settings.iter().find(|(name, _)| *name == "ENTREPOST_DATABASE_URL").unwrap();
        // The journal is emptied: it could exceed the limit already.
        let mut database = sqlx::AnyConnection::connect(url).await.unwrap();
        sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut database).await.unwrap();
        let file = url.trim_start_matches("sqlite://").to_owned();
        let limit = std::fs::metadata(file).unwrap().len() / 1024 + kilobytes;
        // With SIGXFSZ ignored, a write over the limit fails as on a full disk.
        let script = format!("trap '' XFSZ; ulimit -S -f {limit}; exec \"$0\" serve 2> /dev/null");
        self.program.start_as(Command::new("bash").args(["-c", &script, env!("CARGO_BIN_EXE_entrepost")])).await;
    }

    /// Lifts the running process's file size limit.
    fn lift_limit_of_files(&self) {
        let pid = self.program.pid().to_string();
        let lifted = Command::new("prlimit").args(["--pid", &pid, "--fsize=unlimited"]).status().unwrap();
        assert!(lifted.success());
    }

    async fn health(&self) -> u16 {
        reqwest::get(format!("http://127.0.0.1:{}/healthz", self.program.port))
            .await
            .map_or(0, |answer| answer.status().as_u16())
    }

    /// SIGTERM; returns the time until exit.
    fn terminate(&self) -> Duration {
        self.program.with_child(|child| {
            let began = Instant::now();
            let sent = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
            assert!(sent.success());
            let status = tokio::task::block_in_place(|| child.wait()).unwrap();
            assert!(status.success(), "a stop is no failure: {status}");
            began.elapsed()
        })
    }

    fn url(&self, path: &str) -> String {
        self.program.url(path)
    }

    async fn browser(&self, address: &str) -> Browser {
        self.program.browser(address).await
    }
}

/// Posts a message; returns whether it was accepted.
async fn post(server: &Server, browser: &Browser, seat: &Seat, to: &str, subject: &str, key: &str) -> bool {
    answered(server, browser, seat, to, subject, key).await.is_ok_and(|answer| location(&answer) == "/mail/outbox")
}

async fn answered(
    server: &Server,
    browser: &Browser,
    seat: &Seat,
    to: &str,
    subject: &str,
    key: &str,
) -> reqwest::Result<reqwest::Response> {
    let mailbox = seat.mailbox.to_string();
    let fields = [("mailbox", mailbox.as_str()), ("to", to), ("subject", subject), ("text", "Text"), ("key", key)];
    let url = server.url("/api/send_message");
    let origin = server.url("");
    let mut form = reqwest::multipart::Form::new();
    for (name, value) in fields {
        form = form.text(name, value.to_owned());
    }
    let request = browser.http.post(&url).header("accept", "text/html").header("origin", origin).multipart(form);
    request.send().await
}

/// One user's messages: each is posted with the same key until accepted.
async fn write(server: &Server, (seat, browser): (&Seat, &Browser), number: usize, count: usize, people: &[String]) {
    for message in 0..count {
        let to = match message % 10 {
            // An unknown recipient: it must fail with a reason.
            9 => "nobody@demo.example".to_owned(),
            _ => people[(number + message) % people.len()].clone(),
        };
        let subject = format!("crash {number}-{message}");
        let key = uuid::Uuid::from_u128(((number as u128) << 64) + message as u128 + 1).to_string();
        while !post(server, browser, seat, &to, &subject, &key).await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Causes faults and kills at random moments until stopped.
async fn harm(server: &Server, seed: u64, stop: &AtomicBool) {
    let mut dice = StdRng::seed_from_u64(seed);
    while !stop.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(dice.random_range(30..400))).await;
        let sandbox = &server.world.sandbox;
        let fault = match dice.random_range(0..16) {
            0 => Faults { cut_before_data: true, ..Faults::default() },
            1 => Faults { cut_in_data: true, ..Faults::default() },
            2 => Faults { cut_after_data: true, ..Faults::default() },
            3 => Faults { throttled: true, ..Faults::default() },
            4 => Faults { smtp_reply: "451 4.3.0 Temporary server error".into(), ..Faults::default() },
            5 => Faults { unavailable: true, ..Faults::default() },
            6 => Faults { token_seconds: 1, ..Faults::default() },
            _ => Faults::default(),
        };
        let cuts = fault.cut_before_data || fault.cut_in_data || fault.cut_after_data;
        sandbox.world().faults = fault;
        if cuts {
            // Short: a cut makes every message in transit unknown.
            tokio::time::sleep(Duration::from_millis(15)).await;
            sandbox.world().faults = Faults::default();
        }
        if dice.random_bool(0.25) {
            sandbox.world().expire_tokens();
            sandbox.end_imap_sessions();
        }
        if dice.random_bool(0.3) {
            tokio::time::sleep(Duration::from_millis(dice.random_range(0..200))).await;
            server.kill();
            server.start_again().await;
        }
    }
    server.world.sandbox.world().faults = Faults::default();
}

async fn run(database: &Database, name: &str) {
    let seed = u64::try_from(number("ENTREPOST_CRASH_SEED", 0)).unwrap();
    let seed = if seed == 0 { u64::from(std::process::id()) } else { seed };
    let (messages, mailboxes) = (number("ENTREPOST_CRASH_MESSAGES", 120), number("ENTREPOST_CRASH_MAILBOXES", 6));
    println!("crash harness on {name}: seed {seed}, {messages} messages from {mailboxes} mailboxes");
    let world = Arc::new(World::start(database).await);
    world.sandbox.world().messages_per_minute = usize::MAX;
    let people: Vec<String> = (0..mailboxes).map(|number| format!("person{number}@demo.example")).collect();
    let mut seats = Vec::new();
    for address in &people {
        seats.push(world.newcomer(address).await);
    }
    let settings = [
        ("ENTREPOST_MESSAGES_PER_MINUTE", "1000000"),
        ("ENTREPOST_RECIPIENTS_PER_DAY", "1000000"),
        ("ENTREPOST_RETRY_SECONDS", "1"),
        ("ENTREPOST_POLL_SECONDS", "2"),
    ];
    let server = Arc::new(Server::start(Arc::clone(&world), &settings).await);
    let stop = AtomicBool::new(false);
    let began = Instant::now();
    let each = messages / mailboxes;
    let mut browsers = Vec::new();
    for address in &people {
        browsers.push(server.browser(address).await);
    }
    let writers = seats.iter().zip(&browsers).enumerate();
    let writing = writers.map(|(number, writer)| write(&server, writer, number, each, &people));
    let busy = async {
        futures::future::join_all(writing).await;
        // Faults last for a while, so that later messages meet them too.
        let enough = async || server.kills.load(Ordering::Relaxed) >= messages / MESSAGES_PER_KILL;
        world.until_longer(Duration::from_secs(600), enough).await;
        stop.store(true, Ordering::Relaxed);
    };
    tokio::join!(harm(&server, seed, &stop), busy);

    // No more faults: everything must finish.
    let fates = async || {
        let mut all = HashMap::new();
        for seat in &seats {
            let page = Page::newest(1_000_000);
            for one in world.services.store.deliveries_of(seat.institution, seat.user, page).await.unwrap() {
                all.insert(one.subject.clone(), one);
            }
        }
        all
    };
    world.until_longer(Duration::from_secs(300), async || fates().await.values().all(|one| one.state.is_final())).await;
    let fates = fates().await;
    let mut arrived: HashMap<String, usize> = HashMap::new();
    for (_, folder, mail) in world.sandbox.world().mails() {
        if folder == "INBOX" {
            let raw = String::from_utf8_lossy(&mail.raw).into_owned();
            let subject = raw.lines().find_map(|line| line.strip_prefix("Subject: ")).unwrap_or_default();
            *arrived.entry(subject.trim().to_owned()).or_default() += 1;
        }
    }
    let (mut sent, mut failed, mut unknown, mut lost, mut twice) = (0, 0, 0, Vec::new(), Vec::new());
    for number in 0..mailboxes {
        for message in 0..each {
            let subject = format!("crash {number}-{message}");
            let there = arrived.get(&subject).copied().unwrap_or_default();
            let Some(fate) = fates.get(&subject) else {
                lost.push(subject);
                continue;
            };
            match fate.state {
                DeliveryState::Sent => {
                    sent += 1;
                    if there == 0 {
                        lost.push(subject.clone());
                    }
                }
                DeliveryState::Failed => {
                    failed += 1;
                    assert!(!fate.answer.is_empty(), "{subject} failed without a reason");
                    assert_eq!(there, 0, "{subject} failed, and arrived");
                }
                DeliveryState::Unknown => unknown += 1,
                other => panic!("{subject} is {other:?}"),
            }
            if there > 1 {
                twice.push(subject);
            }
        }
    }
    let kills = server.kills.load(Ordering::Relaxed);
    println!(
        "crash harness on {name}: {} messages, {kills} kills, {sent} sent, {failed} failed with a reason, {unknown} unknown, {} lost, {} arrived twice; {:.0} s",
        each * mailboxes,
        lost.len(),
        twice.len(),
        began.elapsed().as_secs_f32()
    );
    assert_eq!(lost, Vec::<String>::new(), "lost (seed {seed})");
    assert_eq!(twice, Vec::<String>::new(), "arrived twice (seed {seed})");
    assert!(sent > 0 && failed > 0);
    assert!(unknown * 3 <= sent, "what is in doubt is the exception: {unknown} of {sent} (seed {seed})");
    for seat in &seats {
        let mailbox = world.services.store.mailbox(seat.key()).await.unwrap().unwrap();
        assert_ne!(mailbox.state, MailboxState::NeedsReconnect, "no grant was lost (seed {seed})");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_and_nothing_arrives_twice_on_sqlite() {
    run(&Database::sqlite(), "SQLite").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_and_nothing_arrives_twice_on_postgresql() {
    run(&Database::postgres().await, "PostgreSQL").await;
}

/// A process may die with the rotated token it received: the mailbox recovers, or must be connected again. It never stops
/// silently.
#[tokio::test(flavor = "multi_thread")]
async fn killed_between_the_token_and_its_commit_a_mailbox_recovers_or_says_so() {
    // Parallel: another replica's lease must expire first, since its death is unknown.
    let (once, strictly) = (Database::both().await, Database::both().await);
    let cases =
        once.iter().map(|one| killed_between(one, false)).chain(strictly.iter().map(|one| killed_between(one, true)));
    futures::future::join_all(cases).await;
}

async fn killed_between(database: &Database, strict: bool) {
    let world = Arc::new(World::start(database).await);
    let seat = world.seat("user@demo.example").await;
    let server = Server::start(Arc::clone(&world), &[("ENTREPOST_RETRY_SECONDS", "1")]).await;
    let browser = server.browser("user@demo.example").await;
    {
        let mut world = world.sandbox.world();
        world.faults.strict_rotation = strict;
        // The token rotates, and the response is lost, as if the process died before storing it.
        world.faults.token_withheld = true;
        world.expire_tokens();
    }
    let before = world.refreshes();
    let key = uuid::Uuid::from_u128(1).to_string();
    let posted = post(&server, &browser, &seat, "other@demo.example", "Between", &key);
    let killed = async {
        world.until(async || world.refreshes() > before).await;
        server.kill();
        world.sandbox.world().faults.token_withheld = false;
    };
    let (_, ()) = tokio::join!(posted, killed);
    server.start_again().await;
    while !post(&server, &browser, &seat, "other@demo.example", "Between", &key).await {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let store = &world.services.store;
    let settled = async || {
        let mailbox = store.mailbox(seat.key()).await.unwrap().unwrap();
        let page = Page::newest(9);
        let all = store.deliveries_of(seat.institution, seat.user, page).await.unwrap();
        let done = all.iter().all(|one| matches!(one.state, DeliveryState::Sent | DeliveryState::Unknown));
        done || mailbox.state == MailboxState::NeedsReconnect
    };
    world.until(settled).await;
    let state = async || store.mailbox(seat.key()).await.unwrap().unwrap().state;
    if strict {
        assert_eq!(state().await, MailboxState::NeedsReconnect, "the rotated token is lost, and that is said");
    } else {
        // Microsoft keeps the older token valid: it works again, perhaps after an automatic test.
        world.until_longer(Duration::from_secs(120), async || state().await == MailboxState::Connected).await;
    }
}

/// A full disk: writes are refused with a message, accepted messages leave, nothing is half stored.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_loses_nothing_that_was_accepted() {
    let database = Database::sqlite();
    let world = Arc::new(World::start(&database).await);
    let seat = world.seat("user@demo.example").await;
    world.sandbox.world().messages_per_minute = usize::MAX;
    // No sending meanwhile: every message must be stored.
    let settings = [("ENTREPOST_MESSAGES_PER_MINUTE", "1000000"), ("ENTREPOST_RETRY_SECONDS", "1")];
    let server = Server::start(Arc::clone(&world), &settings).await;
    let browser = server.browser("user@demo.example").await;
    world.sandbox.world().faults.throttled = true;
    server.kill();
    server.start_with_files_of(600).await;
    let mut accepted = Vec::new();
    let mut refused = Vec::new();
    for number in 0..200 {
        let (key, subject) = (uuid::Uuid::from_u128(number + 1).to_string(), format!("full {number}"));
        if post(&server, &browser, &seat, "other@demo.example", &subject, &key).await {
            accepted.push(subject);
        } else {
            refused.push((key, subject));
            if refused.len() == 3 {
                break;
            }
        }
    }
    assert!(!refused.is_empty(), "the disk was never full");
    // Refusals are shown on a page that leads back to the typed text.
    let (key, subject) = &refused[0];
    let answer = answered(&server, &browser, &seat, "other@demo.example", subject, key).await.unwrap();
    assert_eq!(answer.status(), 503);
    let words = answer.text().await.unwrap();
    assert!(words.contains("its disk is full") && words.contains("your text is still in the form"), "{words}");
    // It keeps responding with messages and no 500.
    let page = browser.get(&server.url("/login")).await;
    assert!(page.status().as_u16() < 500 || page.status().as_u16() == 503, "{}", page.status());
    // /healthz reports it; with room again the same process recovers, on every connection.
    world.until(async || server.health().await == 503).await;
    server.lift_limit_of_files();
    world.until(async || server.health().await == 200).await;
    world.sandbox.world().faults.throttled = false;
    for (key, subject) in &refused {
        assert!(post(&server, &browser, &seat, "other@demo.example", subject, key).await, "there is room again");
    }
    let expected = accepted.len() + refused.len();
    let arrived = || {
        let world = world.sandbox.world();
        let mails = world.mails().into_iter().filter(|(to, folder, _)| to == "other@demo.example" && folder == "INBOX");
        mails.map(|(_, _, mail)| String::from_utf8_lossy(&mail.raw).into_owned()).collect::<Vec<_>>()
    };
    world.until_longer(Duration::from_secs(120), async || arrived().len() >= expected).await;
    let arrived = arrived();
    assert_eq!(arrived.len(), expected);
    for subject in accepted.iter().chain(refused.iter().map(|(_, subject)| subject)) {
        let count = arrived.iter().filter(|raw| raw.contains(&format!("Subject: {subject}\r\n"))).count();
        assert_eq!(count, 1, "{subject}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_graceful_stop_hands_back_what_it_holds() {
    let database = Database::sqlite();
    let world = Arc::new(World::start(&database).await);
    let seat = world.seat("user@demo.example").await;
    world.sandbox.world().messages_per_minute = usize::MAX;
    let server = Server::start(Arc::clone(&world), &[("ENTREPOST_MESSAGES_PER_MINUTE", "100000")]).await;
    world.sandbox.world().faults.slow_ms = 100;
    world.queue(&seat, 40, "other@demo.example", world.clock.now()).await;
    let store = &world.services.store;
    let page = Page::newest(100);
    let count = async |state| {
        let all = store.deliveries_of(seat.institution, seat.user, page).await.unwrap();
        all.iter().filter(|one| one.state == state).count()
    };
    world.until(async || count(DeliveryState::Sent).await >= 3).await;
    let took = server.terminate();
    assert!(took < Duration::from_secs(15), "{took:?}");
    assert_eq!(count(DeliveryState::Sending).await, 0, "nothing is left behind");
    assert_eq!(count(DeliveryState::Unknown).await, 0, "nothing is in doubt");
    assert!(count(DeliveryState::Queued).await > 0, "the rest waits");
    world.sandbox.world().faults.slow_ms = 0;
    server.start_again().await;
    world.until(async || count(DeliveryState::Sent).await == 40).await;
    let world = world.sandbox.world();
    assert_eq!(
        world.mails().iter().filter(|(to, folder, _)| to == "other@demo.example" && folder == "INBOX").count(),
        40
    );
}
