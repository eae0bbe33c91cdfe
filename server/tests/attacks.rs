//! What was tried against the running program, each kind a test: it stays bounded, and answers.

mod common;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::routing::{get, post};
use common::{Browser, Database, PASSWORD, World, location};
use server::http::connections::{self, Limits};
use sqlx::{Connection, Row};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

async fn count(database: &Database, table: &str) -> i64 {
    let mut connection = sqlx::AnyConnection::connect(&database.url).await.unwrap();
    let statement = format!("SELECT COUNT(*) FROM {table}");
    sqlx::query(sqlx::AssertSqlSafe(statement)).fetch_one(&mut connection).await.unwrap().get(0)
}

/// A raw request, as far as its head and what is given of its body.
async fn begin(world: &World, path: &str, headers: &str, length: usize, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", world.port)).await.unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: demo.localhost:{}\r\nOrigin: {}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {length}\r\nConnection: close\r\n{headers}\r\n{body}",
        world.port,
        world.url("demo", "").trim_end_matches('/'),
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

async fn answer(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut bytes)).await;
    let _ = read.expect("it answers");
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn strangers_make_no_rows_and_what_they_typed_stays_small() {
    let database = Database::sqlite();
    let world = World::start(&database).await;
    let browser = Browser::new(&world);
    let long = "x".repeat(250_000);
    let refused = browser.post(&world.url("demo", "/api/sign_in"), &[("email", &long), ("password", "y")]).await;
    assert_eq!(refused.status().as_u16(), 413);
    let long = "x".repeat(10_000);
    for (email, password) in [("nobody@demo.example", "wrong"), (&long, "wrong"), ("user@demo.example", &long[..5_000])]
    {
        let refused =
            browser.post(&world.url("demo", "/api/sign_in"), &[("email", email), ("password", password)]).await;
        assert_eq!(location(&refused), "/login");
        let cookie = refused.headers().get("set-cookie").unwrap().to_str().unwrap().to_owned();
        assert!(cookie.len() < 1_200 && cookie.contains("HttpOnly") && !cookie.contains(password), "{}", cookie.len());
        let page = browser.get(&world.url("demo", "/login")).await.text().await.unwrap();
        assert!(page.contains("Email or password is wrong."), "{page}");
        let again = browser.get(&world.url("demo", "/login")).await.text().await.unwrap();
        assert!(!again.contains("Email or password is wrong."), "it is shown once");
    }
    // The answer of one institution means nothing at another.
    let other = browser.get(&world.url("second", "/login")).await.text().await.unwrap();
    assert!(!other.contains("is wrong"));
    for path in ["/api/invite", "/api/act_on_mail", "/api/configure_and_test"] {
        assert_eq!(location(&browser.post(&world.url("demo", path), &[("email", "x")]).await), "/login");
    }
    assert_eq!(count(&database, "flashes").await, 0, "strangers made rows");
}

#[tokio::test]
async fn a_strangers_body_is_not_read() {
    let database = Database::sqlite();
    let world = World::start(&database).await;
    // Four megabytes are announced, and nothing is sent.
    let stream = begin(&world, "/api/save_draft", "Accept: application/json\r\n", 4_000_000, "").await;
    let begun = Instant::now();
    assert!(answer(stream).await.starts_with("HTTP/1.1 401"), "before the body");
    assert!(begun.elapsed() < Duration::from_secs(8));
}

#[tokio::test]
async fn authority_that_ended_while_the_body_came_counts_no_more() {
    let database = Database::sqlite();
    let world = World::start(&database).await;
    let store = &world.services.store;
    let institution = store.institution_by_slug("demo").await.unwrap().unwrap().id;
    let admin = store.user_by_address(institution, "admin@demo.example").await.unwrap().unwrap().id;
    let cookie = async || {
        let browser = Browser::new(&world);
        let fields = [("email", "admin@demo.example"), ("password", PASSWORD)];
        let signed_in = browser.post(&world.url("demo", "/api/sign_in"), &fields).await;
        let cookies = signed_in.headers().get_all("set-cookie").into_iter().map(|value| value.to_str().unwrap());
        let session =
            cookies.filter_map(|value| value.split(';').next()).find(|value| value.starts_with("entrepost_session"));
        format!("Accept: text/html\r\nCookie: {}\r\n", session.unwrap())
    };
    let body = "email=late%40demo.example&role=administrator";
    for how in ["disabled", "signed out", "demoted"] {
        let mut stream = begin(&world, "/api/invite", &cookie().await, body.len(), &body[..10]).await;
        // The server has the head, and waits for the rest.
        world.until(async || count(&database, "sessions").await > 0).await;
        let mut tx = store.begin().await.unwrap();
        match how {
            "disabled" => store.set_disabled(&mut tx, institution, admin, Some(world.clock.now())).await.unwrap(),
            "signed out" => store.end_sessions_of(&mut tx, institution, admin).await.unwrap(),
            _ => store.set_role(&mut tx, institution, admin, app::model::Role::User).await.unwrap(),
        }
        tx.commit().await.unwrap();
        stream.write_all(&body.as_bytes()[10..]).await.unwrap();
        let said = answer(stream).await;
        assert!(said.starts_with("HTTP/1.1 302"), "{how}: {said}");
        assert!(store.user_by_address(institution, "late@demo.example").await.unwrap().is_none(), "{how}");
        let mut tx = store.begin().await.unwrap();
        store.set_disabled(&mut tx, institution, admin, None).await.unwrap();
        store.set_role(&mut tx, institution, admin, app::model::Role::Administrator).await.unwrap();
        tx.commit().await.unwrap();
    }
}

async fn serve(limits: Limits) -> (SocketAddr, CancellationToken, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
    let router = Router::new()
        .route("/", get(async || "here"))
        .route("/body", post(async |body: Bytes| body.len().to_string()))
        .route("/slow", get(async || std::future::pending::<&str>().await));
    let token = stop.clone();
    let serving = tokio::spawn(async move { connections::serve(listener, router, limits, &token).await });
    (address, stop, serving)
}

fn short() -> Limits {
    Limits {
        connections: 50,
        per_address: 20,
        loopback_free: false,
        head: Duration::from_millis(400),
        pause: Duration::from_millis(400),
        grace: Duration::from_millis(800),
        standstill: Duration::from_millis(200),
        last_requests: Duration::from_secs(3),
        ..Limits::default()
    }
}

#[tokio::test]
async fn silence_and_trickles_end() {
    let (address, _stop, _) = serve(short()).await;
    for sent in [
        "",
        "GET / HT",
        "GET / HTTP/1.1\r\nHost: x\r\nX-More: ",
        "POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nsome",
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(sent.as_bytes()).await.unwrap();
        let begun = Instant::now();
        let mut bytes = Vec::new();
        let _ = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut bytes)).await.expect("it ends");
        assert!(begun.elapsed() < Duration::from_secs(6), "{sent:?}: {:?}", begun.elapsed());
    }
    // A byte now and then does not help for ever.
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n").await.unwrap();
    let begun = Instant::now();
    while stream.write_all(b"x").await.is_ok() && begun.elapsed() < Duration::from_secs(15) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn one_address_does_not_take_every_connection_and_gives_its_places_back() {
    let (address, stop, serving) = serve(Limits { head: Duration::from_secs(60), ..short() }).await;
    let mut held = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut bytes = [0; 15];
        stream.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"HTTP/1.1 200 OK");
        held.push(stream);
    }
    let mut refused = TcpStream::connect(address).await.unwrap();
    let mut said = String::new();
    let _ = refused.read_to_string(&mut said).await;
    assert!(said.starts_with("HTTP/1.1 503"), "{said}");
    held.clear();
    let begun = Instant::now();
    loop {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut said = String::new();
        let _ = stream.read_to_string(&mut said).await;
        if said.starts_with("HTTP/1.1 200") {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "the places did not come back");
    }
    // Held connections of every kind keep nobody from stopping.
    let mut held = Vec::new();
    for sent in [
        "",
        "GET / HT",
        "POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    ] {
        for _ in 0..4 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(sent.as_bytes()).await.unwrap();
            held.push(stream);
        }
    }
    let begun = Instant::now();
    stop.cancel();
    serving.await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn replies_before_tls_are_not_believed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = ("localhost".to_owned(), listener.local_addr().unwrap().port());
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
    let trust = server::mail::Trust::new(None).unwrap();
    let error = server::mail::smtp::Session::open(&login, &trust).await.err().unwrap();
    assert!(!error.answered && error.text.contains("behind its answer"), "{}", error.text);
}

/// A mail server with a certificate for `localhost` that says one thing after TLS, then more and more. Answers its port, its CA, and
/// how many bytes it got rid of.
async fn hostile(greeting: &'static str, says: &'static [u8]) -> (u16, String, Arc<AtomicUsize>) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (pem, key) = (made.cert.pem(), made.signing_key.serialize_der());
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.try_into().unwrap())
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
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

/// What a mail server says without end is not read without end, and none of it ends the process.
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
        let (server, token) = (("localhost".to_owned(), port), server::vault::Secret::new("token".into()));
        let login = server::mail::Login { server: &server, user: "user@demo.example", token: &token };
        let trust = server::mail::Trust::new(Some(pem.into_bytes())).unwrap();
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

/// Somebody who has set a password by a link that an administrator made for a person.
async fn with_new_link(admin: &Browser, world: &World, seat: &common::Seat) -> Browser {
    admin.post(&world.url("demo", "/api/renew_invitation"), &[("user", &seat.user.to_string())]).await;
    let page = admin.get(&world.url("demo", "/institution/users")).await.text().await.unwrap();
    let link = page.split("/invitation/").nth(1).unwrap();
    let token: String = link.chars().take_while(|c| c.is_ascii_alphanumeric() || "-_".contains(*c)).collect();
    let thief = Browser::new(world);
    let fields = [("token", token.as_str()), ("password", "a very new secret"), ("repeated", "a very new secret")];
    assert_eq!(location(&thief.post(&world.url("demo", "/api/accept_invitation"), &fields).await), "/");
    thief
}

#[tokio::test]
async fn a_new_password_by_link_shows_no_mail_until_the_microsoft_account_signs_in() {
    let database = Database::sqlite();
    let world = World::start(&database).await;
    let seat = world.seat("user@demo.example").await;
    world.queue(&seat, 1, "other@demo.example", world.clock.now()).await;
    let admin = Browser::new(&world);
    admin.sign_in(&world, "demo", "admin@demo.example").await;
    let person = Browser::new(&world);
    person.sign_in(&world, "demo", "user@demo.example").await;
    assert_eq!(person.get(&world.url("demo", "/mail/inbox")).await.status().as_u16(), 200);
    let thief = with_new_link(&admin, &world, &seat).await;
    assert_eq!(person.get(&world.url("demo", "/mail/inbox")).await.status().as_u16(), 302, "earlier sessions end");
    for path in ["/mail/inbox", "/mail/outbox", "/mail/drafts", "/mail/compose"] {
        let answer = thief.get(&world.url("demo", path)).await;
        assert_eq!(answer.status().as_u16(), 403, "{path}");
        assert!(answer.text().await.unwrap().contains("Your mail is hidden"), "{path}");
    }
    assert_eq!(thief.get(&world.url("demo", "/events/mail")).await.status().as_u16(), 403);
    let refused = thief.post(&world.url("demo", "/api/cancel_message"), &[("delivery", &seat.user.to_string())]).await;
    let told = thief.get(&world.url("demo", &location(&refused))).await;
    assert_eq!(told.status().as_u16(), 403);
    // What waited goes on.
    world.services.outbox.run_once().await.unwrap();
    assert!(world.sandbox.world().mails().iter().any(|(to, _, _)| to == "other@demo.example"), "it arrived");
    let store = &world.services.store;
    assert!(!store.unlock_mail(seat.institution, seat.user, "another@account").await.unwrap());
    // Disconnecting the mailbox first, or disabling the person for a moment, is no way around it.
    let tenant = world.sandbox.world().tenant_id;
    let subject = format!("user@demo.example@{tenant}");
    assert!(store.unlock_mail(seat.institution, seat.user, &subject).await.unwrap());
    assert_eq!(thief.get(&world.url("demo", "/mail/drafts")).await.status().as_u16(), 200);
    let mailbox = seat.mailbox.to_string();
    admin.post(&world.url("demo", "/api/disconnect_persons_mailbox"), &[("mailbox", &mailbox)]).await;
    for disabled in ["true", "false"] {
        let fields = [("user", seat.user.to_string()), ("disabled", disabled.to_owned())];
        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        admin.post(&world.url("demo", "/api/set_disabled"), &fields).await;
    }
    let thief = with_new_link(&admin, &world, &seat).await;
    assert_eq!(thief.get(&world.url("demo", "/mail/drafts")).await.status().as_u16(), 403);
    assert!(store.unlock_mail(seat.institution, seat.user, &subject).await.unwrap());
    assert_eq!(thief.get(&world.url("demo", "/mail/inbox")).await.status().as_u16(), 200);
}

/// What one person may make is bounded by every way there is to make it.
#[tokio::test]
async fn quotas_have_no_gaps() {
    let database = Database::sqlite();
    let settings = [("ENTREPOST_ATTEMPTS_PER_HOUR", "3".to_owned()), ("ENTREPOST_INVITATIONS_PER_DAY", "2".to_owned())];
    let world = World::start_with(&database, server::clock::Clock::system(), &settings).await;
    let seat = world.seat("user@demo.example").await;
    let (user, admin) = (Browser::new(&world), Browser::new(&world));
    user.sign_in(&world, "demo", "user@demo.example").await;
    admin.sign_in(&world, "demo", "admin@demo.example").await;
    let says = async |browser: &Browser, path: &str, name: &str, value: &str| {
        let answer = browser.post(&world.url("demo", path), &[(name, value)]).await;
        browser.get(&world.url("demo", &location(&answer))).await.text().await.unwrap()
    };
    let mailbox = seat.mailbox.to_string();
    for number in 0..5 {
        let page = says(&user, "/api/try_again", "mailbox", &mailbox).await;
        assert_eq!(page.contains("3 times within the last hour"), number >= 3, "{number}");
    }
    let person = seat.user.to_string();
    for number in 0..4 {
        let page = says(&admin, "/api/renew_invitation", "user", &person).await;
        assert_eq!(page.contains("which is the limit of this server"), number >= 2, "{number}");
    }
    // What somebody may not do keeps nothing of what they sent for it.
    for path in ["/api/invite", "/api/configure_and_test", "/api/set_aliases"] {
        let long = "x".repeat(100_000);
        let fields = [("email", long.as_str()), ("role", "user"), ("aliases", &long), ("mailbox", &mailbox)];
        for _ in 0..30 {
            user.post(&world.url("demo", path), &fields).await;
        }
    }
    let mut connection = sqlx::AnyConnection::connect(&database.url).await.unwrap();
    let row =
        sqlx::query("SELECT COUNT(*), CAST(SUM(LENGTH(body)) AS BIGINT) FROM flashes").fetch_one(&mut connection).await;
    let row = row.unwrap();
    let (rows, bytes): (i64, i64) = (row.get(0), row.get(1));
    assert!((1..=45).contains(&rows) && bytes < 400_000, "{rows} rows, {bytes} bytes");
}

/// Connections from this machine, which a proxy's are too, are given up when they ask nothing.
#[tokio::test]
async fn silence_from_this_machine_ends_too() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let limits = Limits { head: Duration::from_millis(300), idle: Duration::from_secs(60), ..Limits::default() };
    let stop = CancellationToken::new();
    let app = Router::new().route("/", get(|| async { "here" }));
    let serving = stop.clone();
    tokio::spawn(async move { connections::serve(listener, app, limits, &serving).await });
    let mut silent = TcpStream::connect(address).await.unwrap();
    let mut kept = TcpStream::connect(address).await.unwrap();
    kept.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut buf = [0; 512];
    assert!(kept.read(&mut buf).await.unwrap() > 0);
    let ended = tokio::time::timeout(Duration::from_secs(5), silent.read(&mut buf)).await.expect("it ends");
    assert_eq!(ended.unwrap_or(0), 0);
    // What has asked something may ask again.
    kept.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert!(kept.read(&mut buf).await.unwrap() > 0);
    stop.cancel();
}
