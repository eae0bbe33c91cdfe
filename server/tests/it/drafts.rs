//! Written text is never lost: drafts, repeated or changed submissions, failed messages.

use crate::common::{Browser, Database, Seat, World, location};
use app::model::{DeliveryState, FormVersion};
use server::store::{Page, SendQueue};

const KEY: &str = "00000000-0000-4000-8000-000000000001";

async fn writer(database: &Database, settings: &[(&'static str, String)]) -> (World, Seat, Browser) {
    let world = World::start_with(database, server::clock::Clock::system(), settings).await;
    let seat = world.seat("user@demo.example").await;
    let browser = Browser::new(&world);
    browser.sign_in(&world, "demo", "user@demo.example").await;
    (world, seat, browser)
}

async fn page(browser: &Browser, world: &World, path: &str) -> String {
    browser.get(&world.url("demo", path)).await.text().await.unwrap()
}

/// The compose form as posted.
fn letter<'a>(mailbox: &'a str, text: &'a str, action: &'a str) -> Vec<(&'static str, &'a str)> {
    vec![
        ("mailbox", mailbox),
        ("to", "Other Person <other@demo.example>"),
        ("bcc", "admin@demo.example"),
        ("subject", "Plan"),
        ("text", text),
        ("key", KEY),
        ("writer", "page"),
        ("revision", "1"),
        ("action", action),
    ]
}

async fn states(world: &World, seat: &Seat) -> Vec<DeliveryState> {
    let found = world.services.store.deliveries_of(seat.institution, seat.user, Page::newest(9)).await;
    found.unwrap().into_iter().map(|one| one.state).collect()
}

/// The same message from another page.
fn keyed<'a>(letter: &[(&'static str, &'a str)], key: &'a str) -> Vec<(&'static str, &'a str)> {
    letter.iter().map(|(name, value)| (*name, if *name == "key" { key } else { value })).collect()
}

/// Overlapping submissions: one message, its file once, no lost text.
#[tokio::test(flavor = "multi_thread")]
async fn presses_that_overlap_are_one_message() {
    for database in Database::both().await {
        let (world, seat, browser) = writer(&database, &[]).await;
        let (mailbox, url) = (seat.mailbox.to_string(), world.url("demo", "/api/send_message"));
        let content = vec![7; 300_000];
        let file = [("a.txt", "text/plain", content.as_slice())];
        let one = letter(&mailbox, "One", "send");
        let presses = (0..3).map(|_| browser.post_parts(&url, &one, &file));
        for answer in futures::future::join_all(presses).await {
            assert_eq!(location(&answer), "/mail/outbox");
        }
        // A submission cut off after its file arrived.
        let another = "00000000-0000-4000-8000-000000000002";
        for action in ["save", "send"] {
            browser.post_parts(&url, &keyed(&letter(&mailbox, "Two", action), another), &file).await;
        }
        while world.services.outbox.run_once().await.unwrap() > 0 {}
        let files: Vec<usize> = {
            let sandbox = world.sandbox.world();
            let mails =
                sandbox.mails().into_iter().filter(|(to, folder, _)| to == "other@demo.example" && folder == "INBOX");
            mails
                .map(|(_, _, mail)| mail_parser::MessageParser::default().parse(&mail.raw).unwrap().attachment_count())
                .collect()
        };
        assert_eq!(files, [1, 1]);
        // With a changed text: one is sent, the other kept.
        let third = "00000000-0000-4000-8000-000000000003";
        let (first, second) = (keyed(&one, third), keyed(&letter(&mailbox, "Other words", "send"), third));
        // Two browsers: each keeps the answer to its own press.
        let other = Browser::new(&world);
        other.sign_in(&world, "demo", "user@demo.example").await;
        let (first, second) = tokio::join!(browser.post_parts(&url, &first, &[]), other.post_parts(&url, &second, &[]));
        let (first, second) = (location(&first), location(&second));
        let (kept, its_browser) = if first == "/mail/outbox" { (second, &other) } else { (first, &browser) };
        assert!(kept.starts_with("/mail/compose?draft="), "{kept}");
        assert!(page(its_browser, &world, &kept).await.contains("You already sent this message."));
        assert_eq!(states(&world, &seat).await.len(), 3);
        world.services.store.close().await;
    }
}

#[tokio::test]
async fn what_was_sent_and_then_changed_is_another_message() {
    for database in Database::both().await {
        let (world, seat, browser) = writer(&database, &[]).await;
        let (mailbox, url) = (seat.mailbox.to_string(), world.url("demo", "/api/send_message"));
        let file = [("a.txt", "text/plain", b"content".as_slice())];
        for _ in 0..2 {
            let answer = browser.post_parts(&url, &letter(&mailbox, "First", "send"), &file).await;
            assert_eq!(location(&answer), "/mail/outbox");
        }
        assert_eq!(states(&world, &seat).await.len(), 1, "pressed twice is one message");
        // The same page again with a changed text: kept, not sent.
        let answer = browser.post_parts(&url, &letter(&mailbox, "Second thoughts", "send"), &file).await;
        let back = location(&answer);
        assert!(back.starts_with("/mail/compose?draft=") && !back.contains(KEY), "{back}");
        let shown = page(&browser, &world, &back).await;
        assert!(shown.contains("You already sent this message.") && shown.contains("Second thoughts"), "{shown}");
        assert!(shown.contains("a.txt"));
        assert_eq!(states(&world, &seat).await.len(), 1);
        // A late autosave is told that the message was sent.
        let fields = letter(&mailbox, "Third", "");
        let answer = browser.post(&world.url("demo", "/api/save_draft"), &fields[..8]).await;
        assert_eq!(answer.status(), 409);
        assert!(answer.text().await.unwrap().contains("already sent"));
    }
}

#[tokio::test]
async fn files_that_are_too_large_cost_no_word() {
    let database = Database::sqlite();
    let settings = [("ENTREPOST_ATTACHMENT_BYTES", "1000".to_owned())];
    let (world, seat, browser) = writer(&database, &settings).await;
    let (mailbox, url) = (seat.mailbox.to_string(), world.url("demo", "/api/send_message"));
    let large = vec![b'x'; 5_000];
    let files = [("small.txt", "text/plain", b"fits".as_slice()), ("large.bin", "application/pdf", large.as_slice())];
    // Files may precede the text fields.
    let answer = browser.post_parts(&url, &letter(&mailbox, "Every word", "send"), &files).await;
    let back = location(&answer);
    assert_eq!(back, format!("/mail/compose?draft={KEY}"));
    let shown = page(&browser, &world, &back).await;
    assert!(shown.contains("Every word") && shown.contains("Attachments can be") && shown.contains("small.txt"));
    assert!(states(&world, &seat).await.is_empty(), "nothing is sent without what belongs to it");
}

#[tokio::test]
async fn what_was_typed_earlier_does_not_overwrite_what_was_typed_later() {
    for database in Database::both().await {
        let (world, seat, browser) = writer(&database, &[]).await;
        let mailbox = seat.mailbox.to_string();
        let save = async |writer: &str, revision: &str, text: &str| {
            let mut fields = letter(&mailbox, text, "");
            fields.truncate(6);
            fields.extend([("writer", writer), ("revision", revision)]);
            let answer = browser.post(&world.url("demo", "/api/save_draft"), &fields).await;
            assert!(answer.status().as_u16() < 400, "{}", answer.text().await.unwrap());
            page(&browser, &world, &format!("/mail/compose?draft={KEY}")).await
        };
        assert!(save("one", "2", "newer").await.contains("newer"));
        assert!(save("one", "1", "older").await.contains("newer"), "it was overtaken on its way");
        assert!(save("one", "3", "newest").await.contains("newest"));
        assert!(save("two", "1", "elsewhere").await.contains("elsewhere"), "another page counts for itself");
        // A message of the maximum length, in characters that form encoding multiplies.
        let long = "Ж".repeat(400_000);
        assert!(save("two", "2", &long).await.contains(&long[..1_000]));
    }
}

#[tokio::test]
async fn drafts_do_not_pile_up_and_a_full_list_refuses_no_letter() {
    let database = Database::sqlite();
    let (world, seat, browser) = writer(&database, &[]).await;
    let (store, now) = (&world.services.store, world.clock.now());
    for number in 0..200_u32 {
        let draft = app::model::DraftId(world.clock.uuid());
        let body = server::vault::Secret::new("{}".into());
        let place = server::vault::Place::new("drafts", "body_sealed", draft);
        let sealed = world.services.vault.seal(&place, &body).unwrap();
        let writer = if number < 150 { String::new() } else { "somebody".into() };
        let edit = FormVersion { writer, ..FormVersion::default() };
        let row = server::store::Draft { id: draft, body_sealed: sealed, updated_at: now };
        assert!(store.put_draft(seat.institution, seat.user, &row, &edit, 200).await.unwrap());
    }
    let mailbox = seat.mailbox.to_string();
    let fields = letter(&mailbox, "Text", "");
    let answer = browser.post(&world.url("demo", "/api/save_draft"), &fields[..8]).await;
    assert_eq!(answer.status(), 409, "what keeps itself has a limit");
    let url = world.url("demo", "/api/send_message");
    assert_eq!(location(&browser.post_parts(&url, &letter(&mailbox, "Text", "send"), &[]).await), "/mail/outbox");
    // Unchanged prefilled replies expire; changed ones stay.
    store.sweep_drafts(now.plus_ms(1)).await.unwrap();
    assert_eq!(store.drafts(seat.institution, seat.user).await.unwrap().len(), 50);
}

#[tokio::test]
async fn a_message_that_did_not_leave_is_read_changed_and_sent() {
    for database in Database::both().await {
        let (world, seat, browser) = writer(&database, &[]).await;
        let (mailbox, url) = (seat.mailbox.to_string(), world.url("demo", "/api/send_message"));
        let queue = SendQueue::of_mailbox(seat.key());
        let file = [("Grüße.pdf", "application/pdf", b"\xff\x00\r\n".as_slice())];
        browser.post_parts(&url, &letter(&mailbox, "Schöne Worte\r\n.\r\nEnde", "send"), &file).await;
        world.services.store.pause_queue(&queue, world.clock.now().plus_ms(600_000)).await.unwrap();
        let found = world.services.store.deliveries_of(seat.institution, seat.user, Page::newest(1)).await;
        let id = found.unwrap()[0].id.to_string();
        let opened = page(&browser, &world, &format!("/mail/outbox/{id}")).await;
        assert!(
            opened.contains("Schöne Worte") && opened.contains("Grüße.pdf") && opened.contains("admin@demo.example")
        );
        assert!(opened.contains("Next attempt"), "what waits says until when");
        let fields = [("delivery", id.as_str())];
        let back = location(&browser.post(&world.url("demo", "/api/rewrite_message"), &fields).await);
        assert_eq!(back, "/mail/outbox", "what is on its way is stopped first");
        browser.post(&world.url("demo", "/api/cancel_message"), &fields).await;
        let draft = location(&browser.post(&world.url("demo", "/api/rewrite_message"), &fields).await);
        let shown = page(&browser, &world, &draft).await;
        assert!(shown.contains("Schöne Worte") && shown.contains("Grüße.pdf"), "{shown}");
        assert!(shown.contains("Other Person") && shown.contains("admin@demo.example"));
        // Other users have no access.
        let foreign = Browser::new(&world);
        foreign.sign_in(&world, "demo", "admin@demo.example").await;
        assert_eq!(foreign.get(&world.url("demo", &format!("/mail/outbox/{id}"))).await.status(), 404);
        assert_eq!(location(&foreign.post(&world.url("demo", "/api/rewrite_message"), &fields).await), "/mail/outbox");

        let key = draft.rsplit('=').next().unwrap().to_owned();
        world
            .services
            .store
            .resume_queue(&server::store::SendQueue::of_mailbox(seat.key()), world.clock.now())
            .await
            .unwrap();
        let mut changed = letter(&mailbox, "Bessere Worte", "send");
        changed.retain(|(name, _)| *name != "key");
        changed.push(("key", &key));
        browser.post_parts(&url, &changed, &[]).await;
        assert_eq!(world.services.outbox.run_once().await.unwrap(), 1);
        let sandbox = world.sandbox.world();
        let raw = sandbox
            .mails()
            .into_iter()
            .find(|(to, folder, _)| to == "other@demo.example" && folder == "INBOX")
            .map(|(_, _, mail)| mail.raw.clone())
            .unwrap();
        let parsed = mail_parser::MessageParser::default().parse(&raw).unwrap();
        assert_eq!(parsed.body_text(0).unwrap().trim_end(), "Bessere Worte");
        assert_eq!(parsed.attachment(0).unwrap().contents(), b"\xff\x00\r\n");
    }
}
