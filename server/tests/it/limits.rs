//! Limits of a user and an institution: a clear message, and typed text isn't lost.

use std::sync::Arc;
use std::time::Duration;

use crate::common::{Browser, Database, Seat, World, alone, location, memory, session_cookie};
use server::clock::Clock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn start(settings: &[(&'static str, &str)]) -> (Database, World, Seat, Browser) {
    let database = Database::sqlite();
    let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    let world = World::start_with(&database, Clock::system(), &settings).await;
    let seat = world.seat("user@demo.example").await;
    let browser = Browser::new(&world);
    browser.sign_in(&world, "demo", "user@demo.example").await;
    (database, world, seat, browser)
}

/// Submits the compose form by a given button, with a file of a given size; returns the next page.
async fn press(browser: &Browser, world: &World, seat: &Seat, action: &str, text: &str, file: usize) -> String {
    let (key, mailbox) = (world.clock.uuid().to_string(), seat.mailbox.to_string());
    let fields = [
        ("key", key.as_str()),
        ("writer", "w"),
        ("revision", "0"),
        ("mailbox", &mailbox),
        ("to", "other@demo.example"),
        ("subject", "Much"),
        ("text", text),
        ("action", action),
    ];
    let file = vec![1; file];
    let files: &[(&str, &str, &[u8])] = &[("much.bin", "application/x-much", &file)];
    let answer = browser.post_parts(&world.url("demo", "/api/send_message"), &fields, files).await;
    let page = browser.get(&world.url("demo", &location(&answer))).await;
    assert!(page.status().as_u16() < 500);
    page.text().await.unwrap()
}

#[tokio::test]
async fn drafts_have_a_limit_for_each_person_and_for_all() {
    for (setting, words) in [
        ("ENTREPOST_DRAFT_BYTES", "Your drafts and their files would exceed 300 kB."),
        ("ENTREPOST_DRAFT_BYTES_OF_INSTITUTION", "All drafts of your institution would exceed 300 kB."),
    ] {
        let (_database, world, seat, browser) = start(&[(setting, "300000")]).await;
        let fits = press(&browser, &world, &seat, "save", "first", 200_000).await;
        assert!(!fits.contains("would exceed"), "{setting}");
        let refused = press(&browser, &world, &seat, "save", "what was typed", 200_000).await;
        assert!(refused.contains(words), "{setting}: {refused}");
        assert!(refused.contains("what was typed"), "{setting}: the text is kept");
    }
}

#[tokio::test]
async fn the_queue_has_limits_for_each_person_and_for_all() {
    for (setting, value, words) in [
        ("ENTREPOST_QUEUED_MESSAGES", "2", "You already have 2 messages waiting to be sent."),
        ("ENTREPOST_QUEUED_BYTES", "300000", "Your waiting messages would exceed 300 kB."),
        ("ENTREPOST_QUEUED_MESSAGES_OF_INSTITUTION", "2", "Your institution has too many messages waiting to be sent."),
        (
            "ENTREPOST_QUEUED_BYTES_OF_INSTITUTION",
            "300000",
            "Your institution has too many messages waiting to be sent.",
        ),
    ] {
        let (_database, world, seat, browser) = start(&[(setting, value)]).await;
        // No sending in this test: the outbox doesn't run.
        for _ in 0..2 {
            let queued = press(&browser, &world, &seat, "send", "first", 60_000).await;
            assert!(queued.contains("data-state=\"queued\""), "{setting}: {queued}");
        }
        let refused = press(&browser, &world, &seat, "send", "what was typed", 150_000).await;
        assert!(refused.contains(words), "{setting}: {refused}");
        assert!(refused.contains("what was typed"), "{setting}: the text is kept");
    }
}

#[tokio::test]
async fn pages_that_follow_have_a_limit_and_give_their_places_back() {
    let (_database, world, _, browser) = start(&[("ENTREPOST_OPEN_PAGES", "3")]).await;
    let follow = async || browser.get(&world.url("demo", "/events/mail")).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(follow().await);
        assert_eq!(held.last().unwrap().status().as_u16(), 200);
    }
    assert_eq!(follow().await.status().as_u16(), 429);
    let other = Browser::new(&world);
    other.sign_in(&world, "demo", "admin@demo.example").await;
    assert_eq!(other.get(&world.url("demo", "/events/mail")).await.status().as_u16(), 200, "a share of one's own");
    assert_eq!(browser.get(&world.url("demo", "/mail/outbox")).await.status().as_u16(), 200, "pages go on");
    held.clear();
    world.until(async || follow().await.status().as_u16() == 200).await;
}

/// 24 concurrent uploads of 20 MB, each missing its last byte: only some are in memory, the others wait and are told to try again
/// later.
#[test]
fn bodies_that_come_at_one_time_are_bounded_in_memory() {
    alone("limits::many_large_bodies", &[]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "bodies_that_come_at_one_time_are_bounded_in_memory runs it in its own process: memory is measured"]
async fn many_large_bodies() {
    const LENGTH: usize = 20_000_000;
    let (_database, world, _, _) = start(&[("ENTREPOST_ATTACHMENT_BYTES", "20000000")]).await;
    let world = Arc::new(world);
    let mut cookies = Vec::new();
    for number in 0..12 {
        let address = format!("person{number}@demo.example");
        world.newcomer(&address).await;
        cookies.push(session_cookie(&world, &address).await);
    }
    let before = memory();
    let uploads = cookies.iter().flat_map(|cookie| [cookie.clone(), cookie.clone()]).map(|cookie| {
        let world = Arc::clone(&world);
        tokio::spawn(async move {
            let mut stream = TcpStream::connect(("127.0.0.1", world.port)).await.unwrap();
            let head = format!(
                "POST /api/attach_files HTTP/1.1\r\nHost: demo.localhost:{}\r\nOrigin: {}\r\nConnection: close\r\nAccept: text/html\r\n\
                 Content-Type: multipart/form-data; boundary=x\r\nContent-Length: {LENGTH}\r\nCookie: {cookie}\r\n\r\n\
                 --x\r\nContent-Disposition: form-data; name=\"files\"; filename=\"a\"\r\n\r\n",
                world.port,
                world.url("demo", "").trim_end_matches('/'),
            );
            stream.write_all(head.as_bytes()).await.unwrap();
            let (mut read, mut write) = stream.into_split();
            // Sends as much as the server reads, up to the last byte; without room it reads nothing.
            tokio::spawn(async move {
                static SOME: [u8; 65_536] = [7; 65_536];
                let mut left = LENGTH - 500;
                while left > 0 && write.write_all(&SOME[..left.min(SOME.len())]).await.is_ok() {
                    left = left.saturating_sub(SOME.len());
                }
                std::future::pending::<()>().await;
            });
            let mut first = [0; 12];
            let read = tokio::time::timeout(Duration::from_secs(14), read.read_exact(&mut first)).await;
            (read.is_ok_and(|read| read.is_ok())).then(|| String::from_utf8_lossy(&first).into_owned())
        })
    });
    let answers: Vec<_> = futures::future::join_all(uploads.collect::<Vec<_>>()).await;
    let busy = answers.iter().filter(|answer| answer.as_ref().unwrap().as_deref() == Some("HTTP/1.1 503")).count();
    let grown = memory().saturating_sub(before);
    assert!(busy >= 12, "{busy} of 24 were told to come again: {answers:?}");
    assert!(grown < 300 * 1024 * 1024, "{grown} bytes for 480 MB");
    assert!(grown > 20 * 1024 * 1024, "{grown}: nothing came in");
}
