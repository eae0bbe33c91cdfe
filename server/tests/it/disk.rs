//! A full disk: a file system of 24 MiB, and a database with a page limit. Writes are refused with a clear message, deleting works,
//! and the same process recovers once there is room.

use std::io::Write;
use std::path::Path;
use std::process::Command;

use crate::common::{Browser, Database, World, alone};

/// Saves a draft of a given length; returns whether it was saved, and the message.
async fn save(browser: &Browser, world: &World, number: u128, letters: usize) -> (bool, String) {
    let (key, text) = (uuid::Uuid::from_u128(number + 1).to_string(), "x".repeat(letters));
    let fields = [("key", key.as_str()), ("subject", "Draft"), ("text", &text)];
    let origin = world.url("demo", "");
    let request =
        browser.http.post(world.url("demo", "/api/save_draft")).header("origin", origin.trim_end_matches('/'));
    let answer = request.header("accept", "application/json").form(&fields).send().await.unwrap();
    let (status, said) = (answer.status(), answer.text().await.unwrap());
    assert!(status.as_u16() != 500, "{said}");
    (status.is_success(), said)
}

async fn discard(browser: &Browser, world: &World, number: u128) {
    let key = uuid::Uuid::from_u128(number + 1).to_string();
    let answer = browser.post(&world.url("demo", "/api/discard_draft"), &[("draft", &key)]).await;
    assert_eq!(answer.status().as_u16(), 302);
}

async fn health(world: &World) -> (u16, String) {
    let answer = reqwest::get(format!("http://127.0.0.1:{}/healthz", world.port)).await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// Runs the next test in its own mount namespace, which needs no privileges.
#[test]
fn a_small_file_system_that_fills() {
    alone("disk::on_a_small_file_system", &["unshare", "--map-root-user", "--mount"]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a_small_file_system_that_fills runs it, in namespaces of its own"]
async fn on_a_small_file_system() {
    let place = tempfile::tempdir().unwrap();
    let mounted =
        Command::new("mount").args(["-t", "tmpfs", "-o", "size=24m", "tmpfs"]).arg(place.path()).status().unwrap();
    assert!(mounted.success(), "a file system can be mounted here");
    let database = Database::sqlite_in(place.path());
    let settings = [("ENTREPOST_DISK_RESERVE_BYTES", (2 * 1024 * 1024).to_string())];
    let world = World::start_with(&database, server::clock::Clock::system(), &settings).await;
    let seat = world.seat("user@demo.example").await;
    let browser = Browser::new(&world);
    browser.sign_in(&world, "demo", "user@demo.example").await;

    // Nearly full: new data is refused with a message; the database stays intact.
    let mut drafts = 0;
    let said = loop {
        let (kept, said) = save(&browser, &world, drafts, 200_000).await;
        if kept {
            drafts += 1;
            assert!(drafts < 200, "it never ends");
        } else if health(&world).await.1.contains("nearly full") {
            break said;
        } else {
            // Free space is measured every few seconds.
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    };
    assert!(said.contains("Deleting drafts and files frees space."), "{said}");
    assert_eq!(health(&world).await.0, 200);
    // Only the reserve for deleting is left: new mail isn't stored, and its folder says so.
    let free = rustix::fs::statvfs(place.path()).unwrap();
    let rest = usize::try_from(free.f_bavail * free.f_frsize).unwrap() - 1_500_000;
    std::fs::write(place.path().join("other"), vec![1; rest]).unwrap();
    world.until(async || health(&world).await.1.contains(": 1 MiB are free")).await;
    world.sandbox.deliver("user@demo.example", b"From: a@far.example\r\nSubject: Late\r\n\r\nx\r\n");
    let look = async || {
        let ask = server::mailbox_sync::Command::Sync { folder: "INBOX".into() };
        world.services.mailbox_sync.execute(seat.key(), ask).await.unwrap();
        browser.get(&world.url("demo", "/mail/inbox")).await.text().await.unwrap()
    };
    assert!(look().await.contains("New mail isn't listed"), "it is said");

    // Completely full: no page returns a 500, and /healthz reports it.
    let filler = place.path().join("filler");
    fill(&filler);
    assert!(!save(&browser, &world, 1_000, 10).await.0, "there is no room");
    let page = browser.get(&world.url("demo", "/login")).await;
    assert!(page.status().as_u16() < 500 || page.status().as_u16() == 503);

    // With room again the same process recovers: deleting first, then writing.
    std::fs::remove_file(&filler).unwrap();
    std::fs::remove_file(place.path().join("other")).unwrap();
    world.until_longer(std::time::Duration::from_secs(60), async || health(&world).await.0 == 200).await;
    for number in 0..drafts {
        discard(&browser, &world, number).await;
    }
    world.until_longer(std::time::Duration::from_secs(60), async || save(&browser, &world, 2_000, 10).await.0).await;
    world.until(async || look().await.contains("Late")).await;
}

/// Fills the file system.
fn fill(path: &Path) {
    let mut file = std::fs::File::create(path).unwrap();
    for size in [1024 * 1024, 4096, 1] {
        let piece = vec![1; size];
        while file.write_all(&piece).and_then(|()| file.flush()).is_ok() {}
    }
}

/// SQLite rolls back by itself when full; the connection must not be reused in a transaction.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_may_not_grow_goes_on_once_there_is_room() {
    let database = Database::sqlite();
    // The database itself is full (PRAGMA max_page_count).
    let settings =
        [("ENTREPOST_DATABASE_BYTES", (3 * 1024 * 1024).to_string()), ("ENTREPOST_DISK_RESERVE_BYTES", "0".to_owned())];
    let world = World::start_with(&database, server::clock::Clock::system(), &settings).await;
    world.seat("user@demo.example").await;
    let browser = Browser::new(&world);
    browser.sign_in(&world, "demo", "user@demo.example").await;
    let mut drafts = 0;
    let said = loop {
        let (kept, said) = save(&browser, &world, drafts, 60_000).await;
        if !kept {
            break said;
        }
        drafts += 1;
        assert!(drafts < 200, "it never ends");
    };
    assert!(said.contains("disk is nearly full") || said.contains("its disk is full"), "{said}");
    // Concurrent, so that every connection of the pool meets it.
    let many = (0..20).map(|number| save(&browser, &world, 500 + number, 60_000));
    assert!(futures::future::join_all(many).await.iter().all(|(kept, _)| !kept));
    for number in 0..drafts {
        discard(&browser, &world, number).await;
    }
    world
        .until_longer(std::time::Duration::from_secs(60), async || {
            let many = (0..20).map(|number| save(&browser, &world, 800 + number, 100));
            let saved = futures::future::join_all(many).await;
            saved.iter().all(|(kept, _)| *kept)
        })
        .await;
    assert_eq!(health(&world).await.0, 200);
}
