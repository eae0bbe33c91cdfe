//! Hostile and dead mail servers: nothing is trusted before TLS, reads and waits are bounded.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::common::{Browser, Database, World, tls_for_localhost};
use server::config::SystemSmtp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

#[tokio::test]
async fn replies_before_tls_are_not_believed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server =
        server::config::ServerAddress { host: "localhost".into(), port: listener.local_addr().unwrap().port() };
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buf = [0; 512];
                stream.write_all(b"220 here\r\n").await.unwrap();
                let _ = stream.read(&mut buf).await;
                stream.write_all(b"250-here\r\n250 STARTTLS\r\n").await.unwrap();
                let _ = stream.read(&mut buf).await;
                stream.write_all(b"220 go\r\n250 injected\r\n235 injected\r\n250 sent\r\n").await.unwrap();
                let _ = stream.read(&mut buf).await;
            });
        }
    });
    let token = server::vault::Secret::new("token".into());
    let login = server::mail::Login { server: &server, user: "user@demo.example", token: &token };
    let trust = server::trust::Trust::new(None).unwrap();
    let error = server::mail::smtp::Session::open(&login, &trust).await.err().unwrap();
    assert!(!error.answered && error.text.contains("after its answer"), "{}", error.text);
    // The same for required and opportunistic TLS.
    for tls in ["required", "opportunistic"] {
        let relay = format!("smtp://name:password@localhost:{}?tls={tls}", server.port);
        let relay = SystemSmtp::parse(&server::vault::Secret::new(relay)).unwrap();
        let error = server::mail::smtp::Session::open_system(&relay, &trust).await.err().unwrap();
        assert!(!error.answered && error.text.contains("after its answer"), "{tls}: {}", error.text);
    }
}

/// A mail server with a certificate for `localhost` that sends a greeting, then endless data. Returns its port, CA, and the count of
/// bytes sent.
async fn hostile(greeting: &'static str, says: &'static [u8]) -> (u16, String, Arc<AtomicUsize>) {
    let (acceptor, pem) = tls_for_localhost();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, written) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&written);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (acceptor, count) = (acceptor.clone(), Arc::clone(&count));
            tokio::spawn(async move {
                let mut buf = [0; 4096];
                if greeting.starts_with("220") {
                    for line in ["220 here\r\n", "250-here\r\n250 STARTTLS\r\n", "220 go\r\n"] {
                        stream.write_all(line.as_bytes()).await.unwrap();
                        if line != "220 go\r\n" {
                            let _ = stream.read(&mut buf).await;
                        }
                    }
                }
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                if greeting.starts_with('*') {
                    let _ = stream.write_all(greeting.as_bytes()).await;
                }
                let _ = stream.read(&mut buf).await;
                let rest = if says.ends_with(b"}\r\n") || !says.ends_with(b"\n") { b"x".as_slice() } else { says };
                let more = rest.repeat(65_536 / rest.len() + 1);
                let mut wrote = stream.write_all(says).await;
                while wrote.is_ok() {
                    count.fetch_add(more.len(), Ordering::Relaxed);
                    wrote = stream.write_all(&more).await;
                }
            });
        }
    });
    (port, pem, written)
}

/// Endless responses: reads are bounded, and the process survives.
#[tokio::test]
async fn what_a_hostile_mail_server_says_is_bounded() {
    let nested: &'static [u8] =
        [b"* 1 FETCH (BODYSTRUCTURE ".as_slice(), &b"(".repeat(60_000), b"\r\n"].concat().leak();
    for (greeting, says) in [
        ("220", b"250-".as_slice()),
        ("220", b"250-more\r\n"),
        ("* OK here\r\n", b"* OK "),
        ("* OK here\r\n", b"* OK more\r\n"),
        ("* OK here\r\n", b"* 1 FETCH (BODY[] {536870912}\r\n"),
        ("* OK here\r\n", b"* LIST () \"/\" {536870912}\r\n"),
        ("* OK here\r\n", b"* SEARCH 99999999999999999999\r\n"),
        ("* OK here\r\n", nested),
    ] {
        let (port, pem, written) = hostile(greeting, says).await;
        let (server, token) = (
            server::config::ServerAddress { host: "localhost".into(), port },
            server::vault::Secret::new("token".into()),
        );
        let login = server::mail::Login { server: &server, user: "user@demo.example", token: &token };
        let trust = server::trust::Trust::new(Some(pem.into_bytes())).unwrap();
        let began = Instant::now();
        let error = if greeting == "220" {
            server::mail::smtp::Session::open(&login, &trust).await.err()
        } else {
            server::mail::imap::Session::open(&login, &trust).await.err()
        };
        let what = String::from_utf8_lossy(&says[..says.len().min(40)]);
        assert!(error.is_some_and(|error| !error.answered), "{what}");
        assert!(began.elapsed() < Duration::from_secs(20), "{what}");
        let written = written.load(Ordering::Relaxed);
        assert!(written < 12 * 1024 * 1024, "{what}: {written} bytes");
    }
}

/// A silent mail server: the page reports a timeout, and nothing else waits.
#[tokio::test(flavor = "multi_thread")]
async fn a_download_from_a_dead_server_ends_in_words() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = format!("localhost:{}", listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    let database = Database::sqlite();
    let settings = [("ENTREPOST_MICROSOFT_IMAP", server)];
    let world = World::start_with(&database, server::clock::Clock::system(), &settings).await;
    let seat = world.seat("user@demo.example").await;
    let browser = Browser::new(&world);
    browser.sign_in(&world, "demo", "user@demo.example").await;
    let path = format!("/mail/message/raw?mailbox={}&folder=INBOX&validity=1&uid=1", seat.mailbox);
    let began = Instant::now();
    let download = async { browser.get(&world.url("demo", &path)).await.text().await.unwrap() };
    let outbox = async {
        let page = browser.get(&world.url("demo", "/mail/outbox")).await;
        (page.status().as_u16(), began.elapsed())
    };
    let (said, (status, after)) = tokio::join!(download, outbox);
    assert!(began.elapsed() < Duration::from_secs(45), "{:?}", began.elapsed());
    assert!(said.contains("isn't answering") || said.contains("Can't reach"), "{said}");
    assert!(status == 200 && after < Duration::from_secs(10), "{status} after {after:?}");
}
