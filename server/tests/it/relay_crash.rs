//! Messages that come in through the relay of a process that is killed at random moments: what was accepted is kept, once.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use app::model::DeliveryState;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sandbox::Faults;

use crate::common::program::Program;
use crate::common::relay::{Client, form, plain};
use crate::common::{Database, World};

const CLIENTS: usize = 4;
const MESSAGES: usize = 15;
const KILLS: usize = 8;

/// One client's messages: each is sent, over as many connections as it takes, until it is accepted.
async fn send(relay: SocketAddr, login: &str, password: &str, client: usize) {
    let mut open: Option<Client> = None;
    for message in 0..MESSAGES {
        let content = format!("Subject: relay {client}-{message}\r\n\r\nText {client}-{message}\r\n.\r\n");
        loop {
            let mut connection = match open.take() {
                Some(connection) => connection,
                None => match signed_in(relay, login, password).await {
                    Some(connection) => connection,
                    None => {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                        continue;
                    }
                },
            };
            let mut accepted = true;
            for (line, reply) in [("MAIL FROM:<>", "250"), ("RCPT TO:<admin@demo.example>", "250"), ("DATA", "354")] {
                accepted = accepted && connection.try_say(line).await.starts_with(reply);
            }
            accepted = accepted && connection.try_say_bytes(content.as_bytes()).await.starts_with("250");
            if accepted {
                open = Some(connection);
                break;
            }
        }
    }
    if let Some(mut connection) = open {
        connection.try_say("QUIT").await;
    }
}

async fn signed_in(relay: SocketAddr, login: &str, password: &str) -> Option<Client> {
    let mut client = Client::try_connect_tls(relay).await?;
    let auth = format!("AUTH PLAIN {}", plain(login, password));
    for (line, reply) in [("EHLO x", "250"), (auth.as_str(), "235")] {
        if !client.try_say(line).await.starts_with(reply) {
            return None;
        }
    }
    Some(client)
}

async fn run(database: &Database, name: &str) {
    let seed = u64::from(std::process::id());
    let world = Arc::new(World::start(database).await);
    world.sandbox.world().messages_per_minute = usize::MAX;
    let owner = world.seat("user@demo.example").await;
    let device = DeviceOf::new(&world, owner.institution).await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let listen = free.to_string();
    let settings = [
        ("ENTREPOST_MESSAGES_PER_MINUTE", "1000000"),
        ("ENTREPOST_RETRY_SECONDS", "1"),
        ("ENTREPOST_RELAY_TLS_LISTEN", listen.as_str()),
    ];
    let program = Program::start(&world, &settings).await;
    let (stop, kills) = (AtomicBool::new(false), AtomicUsize::new(0));
    let harm = async {
        let mut dice = StdRng::seed_from_u64(seed);
        while !stop.load(Ordering::Relaxed) || kills.load(Ordering::Relaxed) < KILLS {
            tokio::time::sleep(Duration::from_millis(dice.random_range(30..500))).await;
            world.sandbox.world().faults = match dice.random_range(0..8) {
                0 => Faults { throttled: true, ..Faults::default() },
                1 => Faults { smtp_reply: "451 4.3.0 Temporary server error".into(), ..Faults::default() },
                _ => Faults::default(),
            };
            program.kill();
            kills.fetch_add(1, Ordering::Relaxed);
            program.start_again().await;
        }
        world.sandbox.world().faults = Faults::default();
    };
    let writing = (0..CLIENTS).map(|client| send(free, &device.login, &device.password, client));
    let busy = async {
        futures::future::join_all(writing).await;
        stop.store(true, Ordering::Relaxed);
    };
    tokio::join!(harm, busy);

    let all = async || world.services.store.deliveries_of_device(owner.institution, device.id, 1_000).await.unwrap();
    world.until_longer(Duration::from_secs(120), async || all().await.iter().all(|one| one.state.is_final())).await;
    let all = all().await;
    let mut arrived: HashMap<String, usize> = HashMap::new();
    for (_, folder, mail) in world.sandbox.world().mails() {
        if folder == "INBOX" {
            let raw = String::from_utf8_lossy(&mail.raw).into_owned();
            let subject = raw.lines().find_map(|line| line.strip_prefix("Subject: ")).unwrap_or_default();
            *arrived.entry(subject.trim().to_owned()).or_default() += 1;
        }
    }
    let count = |state| all.iter().filter(|one| one.state == state).count();
    let (sent, unknown) = (count(DeliveryState::Sent), count(DeliveryState::Unknown));
    println!(
        "relay on {name}: seed {seed}, {} messages, {} kills, {sent} sent, {unknown} unknown, {} arrived",
        CLIENTS * MESSAGES,
        kills.load(Ordering::Relaxed),
        arrived.len()
    );
    assert_eq!(all.len(), CLIENTS * MESSAGES, "each is queued once (seed {seed})");
    assert_eq!(sent + unknown, all.len(), "nothing fails (seed {seed})");
    assert!(arrived.values().all(|times| *times == 1), "nothing arrives twice (seed {seed}): {arrived:?}");
    assert!(arrived.len() >= sent, "what is sent has arrived (seed {seed})");
    let expected = |subject: &String| (0..CLIENTS).any(|c| (0..MESSAGES).any(|m| *subject == format!("relay {c}-{m}")));
    assert!(arrived.keys().all(expected));
}

struct DeviceOf {
    id: app::model::DeviceId,
    login: String,
    password: String,
}

impl DeviceOf {
    async fn new(world: &World, institution: app::model::InstitutionId) -> Self {
        let form = app::model::DeviceForm { messages_per_hour: "100000".into(), ..form("Copier", "user@demo.example") };
        let (login, password) = world.services.demo_device(institution, &form).await.unwrap();
        let id = world.services.store.devices(institution, 1).await.unwrap()[0].id;
        Self { id, login: format!("{login}@demo"), password }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_relay_accepted_is_kept_once_on_sqlite() {
    run(&Database::sqlite(), "SQLite").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_relay_accepted_is_kept_once_on_postgresql() {
    run(&Database::postgres().await, "PostgreSQL").await;
}
