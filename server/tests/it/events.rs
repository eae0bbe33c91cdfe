//! The event stream: only the user's own events, never delayed, ended with the session or the server.

use std::time::Duration;

use crate::common::{Browser, Database, Seat, World};

async fn follow(browser: &Browser, world: &World, mailbox: &str) -> reqwest::Response {
    let url = world.url("demo", &format!("/events/mail?mailbox={mailbox}&folder=INBOX&version=0"));
    browser.http.get(url).header("accept-encoding", "br, gzip").send().await.unwrap()
}

async fn signed_in(world: &World) -> (Seat, Browser) {
    let seat = world.seat("user@demo.example").await;
    let browser = Browser::new(world);
    browser.sign_in(world, "demo", "user@demo.example").await;
    (seat, browser)
}

/// Reads until the stream ends; returns the number of events.
async fn to_its_end(mut answer: reqwest::Response) -> usize {
    let mut text = String::new();
    let read = async {
        while let Ok(Some(bytes)) = answer.chunk().await {
            text.push_str(&String::from_utf8_lossy(&bytes));
        }
        text.matches("data:").count()
    };
    tokio::time::timeout(Duration::from_secs(20), read).await.expect("the stream ends")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_ones_own_and_not_compressed() {
    let world = World::start(&Database::postgres().await).await;
    let (seat, browser) = signed_in(&world).await;
    let answer = follow(&browser, &world, &seat.mailbox.to_string()).await;
    assert_eq!(answer.status(), 200);
    let header = |name: &str| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    assert_eq!(header("content-type").as_deref(), Some("text/event-stream"));
    assert_eq!(header("content-encoding"), None);
    assert_eq!(header("x-accel-buffering").as_deref(), Some("no"));
    // The same mailbox, requested by a colleague, without a session, and from another institution.
    let colleague = Browser::new(&world);
    colleague.sign_in(&world, "demo", "admin@demo.example").await;
    assert_eq!(follow(&colleague, &world, &seat.mailbox.to_string()).await.status(), 404);
    assert_eq!(follow(&Browser::new(&world), &world, &seat.mailbox.to_string()).await.status(), 401);
    let stranger = Browser::new(&world);
    stranger.sign_in(&world, "second", "user@demo.example").await;
    let url = world.url("second", &format!("/events/mail?mailbox={}&folder=INBOX", seat.mailbox));
    assert_eq!(stranger.get(&url).await.status(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_when_its_person_may_no_longer_sign_in() {
    for database in Database::both().await {
        let world = World::start(&database).await;
        let (seat, browser) = signed_in(&world).await;
        let stream = tokio::spawn(to_its_end(follow(&browser, &world, &seat.mailbox.to_string()).await));
        let admin = Browser::new(&world);
        admin.sign_in(&world, "demo", "admin@demo.example").await;
        let fields = [("user", seat.user.to_string()), ("disabled", "true".to_owned())];
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        admin.post(&world.url("demo", "/api/set_disabled"), &fields).await;
        assert!(stream.await.unwrap() >= 1, "what had changed was told first");
        assert_eq!(follow(&browser, &world, &seat.mailbox.to_string()).await.status(), 401);
    }
}

/// An ended session is noticed within 30 seconds, even without a notification.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_a_session_of_which_nobody_tells() {
    let database = Database::sqlite();
    let world = World::start(&database).await;
    let (seat, browser) = signed_in(&world).await;
    let mut answer = follow(&browser, &world, &seat.mailbox.to_string()).await;
    let store = &world.services.store;
    for session in store.sessions_of(seat.institution, seat.user).await.unwrap() {
        let mut tx = store.begin().await.unwrap();
        store.end_session(&mut tx, seat.institution, session).await.unwrap();
        tx.commit().await.unwrap();
    }
    let ended = async { while let Ok(Some(_)) = answer.chunk().await {} };
    tokio::time::timeout(Duration::from_secs(35), ended).await.expect("it is looked at again");
}

/// The server stops although somebody follows their mail, and somebody else never ends their upload.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_waits_for_nobody_for_ever() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let database = Database::sqlite();
    let world = World::start(&database).await;
    let (seat, browser) = signed_in(&world).await;
    let site = leptos::config::LeptosOptions::builder().output_name("entrepost").build();
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (services, router) =
        (std::sync::Arc::clone(&world.services), server::http::router(std::sync::Arc::clone(&world.services), site));
    let serving = tokio::spawn(async move { server::http::serve(listener, router, &services).await });
    let fields = [("email", "user@demo.example"), ("password", crate::common::PASSWORD)];
    let answer = browser.post(&world.url("demo", "/api/sign_in"), &fields).await;
    let cookies: Vec<&str> = answer
        .headers()
        .get_all("set-cookie")
        .iter()
        .filter_map(|cookie| cookie.to_str().unwrap().split(';').next())
        .collect();
    let mut stalled = tokio::net::TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /api/send_message HTTP/1.1\r\nHost: demo.localhost:{}\r\nOrigin: {}\r\nCookie: {}\r\nContent-Type: multipart/form-data; boundary=x\r\nContent-Length: 9999\r\n\r\n--x\r\n",
        world.port,
        world.url("demo", ""),
        cookies.join("; ")
    );
    stalled.write_all(head.as_bytes()).await.unwrap();
    let stream = tokio::spawn(to_its_end(follow(&browser, &world, &seat.mailbox.to_string()).await));
    let nothing = stalled.read_u8();
    assert!(tokio::time::timeout(Duration::from_millis(500), nothing).await.is_err(), "the server waits for the rest");
    world.services.stop.cancel();
    stream.await.unwrap();
    let stopped = tokio::time::timeout(Duration::from_secs(15), serving).await;
    stopped.expect("it stops").unwrap();
}
