//! Load on the relay: messages accepted a second, and the memory of idle connections.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use app::model::DeviceForm;
use serde_json::json;

use crate::common::program::Program;
use crate::common::relay::{Client, plain};
use crate::{Arguments, Bench, POLL, common, cpu_of, milliseconds};

/// Until the memory of handshakes is free again.
const SETTLING: Duration = Duration::from_secs(5);

async fn client(relay: SocketAddr, login: &str, password: &str) -> Client {
    let mut client = Client::connect_tls(relay).await;
    client.expect("EHLO bench", "250").await;
    client.expect(&format!("AUTH PLAIN {}", plain(login, password)), "235").await;
    client
}

pub async fn relay(arguments: &Arguments, connections: usize, messages: usize, idle: usize) -> serde_json::Value {
    let bench = Bench::start(arguments, 1).await;
    let institution = bench.seats[0].institution;
    let form = DeviceForm {
        name: "Bench".into(),
        mailbox: "m0@demo.example".into(),
        messages_per_hour: "100000".into(),
        ..DeviceForm::default()
    };
    let (login, password) = bench.world.services.demo_device(institution, &form).await.unwrap();
    let login = format!("{login}@demo");
    let relay = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let listen = relay.to_string();
    let settings = [
        ("ENTREPOST_POLL_SECONDS", "3600"),
        ("ENTREPOST_QUEUED_MESSAGES_OF_INSTITUTION", "1000000"),
        ("ENTREPOST_RELAY_TLS_LISTEN", listen.as_str()),
        ("ENTREPOST_RELAY_CONNECTIONS_PER_ADDRESS", "100000"),
        ("ENTREPOST_RELAY_CONNECTIONS", "100000"),
    ];
    let program = Program::start(&bench.world, &settings).await;
    let text = "Text. ".repeat(bench.bytes / 6);
    let (began, used) = (Instant::now(), cpu_of(program.pid()));
    let sending = (0..connections).map(|number| {
        let (login, password, text, bench) = (&login, &password, &text, &bench);
        async move {
            let mut client = client(relay, login, password).await;
            for message in (number..messages).step_by(connections) {
                let content = format!("Subject: {}\r\n\r\n{text}", bench.subject(message));
                let answer = client.send(&["other@demo.example"], &content).await;
                assert!(answer.starts_with("250"), "{answer}");
            }
            client.expect("QUIT", "221").await;
        }
    });
    futures::future::join_all(sending).await;
    let accepted = milliseconds(began);
    bench.sent(messages, POLL).await;
    let cpu = cpu_of(program.pid()) - used;
    let rest = common::memory_of(program.pid());
    let mut waiting = Vec::new();
    for _ in 0..idle {
        waiting.push(client(relay, &login, &password).await);
    }
    tokio::time::sleep(SETTLING).await;
    let held = common::memory_of(program.pid());
    json!({ "accepted": accepted, "cpu": cpu, "rest": rest, "held": held })
}
