//! One IMAP connection per mailbox over all replicas: handed over on demand, and shared by viewers.

use std::sync::Arc;
use std::time::Duration;

use crate::common::{Database, Seat, World};
use server::mailbox_sync::{Command, FolderWatch, Reply};
use server::service::Services;
use server::store::{Event, Lease};

fn mail(subject: &str) -> Vec<u8> {
    format!("From: Ann <ann@outside.example>\r\nTo: user@demo.example\r\nSubject: {subject}\r\n\r\ntext\r\n")
        .into_bytes()
}

/// A mailbox's open connections, and the highest count.
fn connections(world: &World) -> (usize, usize) {
    world.sandbox.world().imap_sessions.get("user@demo.example").copied().unwrap_or_default()
}

fn look(services: &Arc<Services>, seat: &Seat, folder: &str) -> FolderWatch {
    services.mailbox_sync.watch_folder(seat.key(), folder)
}

async fn listed(world: &World, seat: &Seat, folder: &str) -> usize {
    world.services.store.headers(seat.key(), folder, 0, 99).await.unwrap().len()
}

async fn search(services: &Arc<Services>, seat: &Seat, text: &str) -> u32 {
    let ask = Command::Search { folder: "INBOX".into(), text: text.into(), most: 9 };
    match services.mailbox_sync.execute(seat.key(), ask).await.unwrap() {
        Reply::Headers(found) => found.total,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_share_one_connection() {
    let world = World::start(&Database::postgres().await).await;
    let seat = world.seat("user@demo.example").await;
    let (here, there) = (Arc::clone(&world.services), world.replica().await);
    let within = Duration::from_secs(5);

    // Two viewers on two replicas: one connection serves both.
    let mut event = there.store.events();
    let _mine = look(&here, &seat, "INBOX");
    world.sandbox.deliver("user@demo.example", &mail("First"));
    world.until(async || listed(&world, &seat, "INBOX").await == 1).await;
    let theirs = look(&there, &seat, "Sent Items");
    // A folder only the other replica views is synced too.
    let sent_is_known = async || {
        let folders = there.store.folders(seat.key()).await.unwrap();
        folders.iter().any(|folder| folder.name == "Sent Items" && folder.synced_at.is_some())
    };
    world.until_longer(within, sent_is_known).await;
    while event.try_recv().is_ok() {}
    world.sandbox.deliver("user@demo.example", &mail("Second"));
    let told = async { while event.recv().await.unwrap() != Event::Mail(seat.user) {} };
    tokio::time::timeout(within, told).await.expect("the other replica hears of new mail");
    assert_eq!(connections(&world), (1, 1));

    // Concurrent commands on both: each gets the connection in turn.
    for _ in 0..3 {
        let (a, b) = tokio::join!(search(&here, &seat, "First"), search(&there, &seat, "Second"));
        assert_eq!((a, b), (1, 1));
    }
    drop(theirs);
    // The viewing replica gets it back, and updates are live again.
    world.sandbox.deliver("user@demo.example", &mail("Third"));
    world.until_longer(within * 2, async || listed(&world, &seat, "INBOX").await == 3).await;
    assert_eq!(connections(&world).1, 1, "never two at a time");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_died_with_the_connection_holds_nobody_up_for_long() {
    let database = Database::postgres().await;
    let clock = server::clock::Clock::manual(server::clock::Clock::system().now());
    let world = World::start_with(&database, clock.clone(), &[]).await;
    let seat = world.seat("user@demo.example").await;
    let (now, dead) = (clock.now(), clock.uuid());
    assert!(world.services.store.lease(Lease::Connection, seat.key(), dead, now, now.plus_ms(30_000)).await.unwrap());
    let mut event = world.services.store.events();
    let services = Arc::clone(&world.services);
    let asked = tokio::spawn(async move { search(&services, &seat, "nothing").await });
    while !matches!(event.recv().await.unwrap(), Event::ConnectionWanted(mailbox, _) if mailbox == seat.mailbox) {}
    assert_eq!(connections(&world).1, 0, "the lease is respected");
    clock.advance_ms(30_001);
    assert_eq!(asked.await.unwrap(), 0);
}
