//! The outbox: what was accepted leaves once, or says why not. Real sockets, both databases.

use server::diagnosis::Fault;
use server::mail::RecipientReply;
use server::message::FailedRecipient;
use std::sync::Arc;

use crate::common::{Browser, Database, Seat, World, claim_one, delivery_of, location, record_of_one};
use app::model::{DeliveryState, MailboxState, RecipientKind, RecipientState};
use server::store::{DataStart, Page, SendQueue};
use sqlx::Connection;

fn failed(address: &str, reason: &str) -> FailedRecipient {
    FailedRecipient { address: address.into(), reason: reason.into() }
}

/// Everything of an outbox, newest first: state, attempts, answer.
async fn fates(world: &World, seat: &Seat) -> Vec<(DeliveryState, i64, String)> {
    let page = Page::newest(1000);
    let found = world.services.store.deliveries_of(seat.institution, seat.user, page).await.unwrap();
    found.into_iter().map(|one| (one.state, one.attempts, one.answer)).collect()
}

fn arrived(world: &World, mailbox: &str) -> Vec<String> {
    let world = world.sandbox.world();
    let mails = world.mails().into_iter().filter(|(address, folder, _)| address == mailbox && folder == "INBOX");
    mails.map(|(_, _, mail)| String::from_utf8_lossy(&mail.raw).into_owned()).collect()
}

/// Writes a message as the compose page does.
async fn write(browser: &Browser, world: &World, seat: &Seat, fields: &[(&str, &str)]) -> String {
    let mailbox = seat.mailbox.to_string();
    let usual = [("mailbox", mailbox.as_str()), ("subject", "Hello"), ("text", "Line one\r\n.\r\nline three")];
    let named = |name: &str| fields.iter().any(|(given, _)| *given == name);
    let mut all: Vec<(&str, &str)> = usual.into_iter().filter(|(name, _)| !named(name)).collect();
    // The key of a form is a draft's id: here a short name stands for it.
    let key = fields.iter().find(|(name, _)| *name == "key").map_or_else(String::new, |(_, name)| draft_id(name));
    all.extend(fields.iter().filter(|(name, _)| *name != "key"));
    all.push(("key", &key));
    location(&browser.post_parts(&world.url("demo", "/api/send_message"), &all, &[]).await)
}

fn draft_id(name: &str) -> String {
    let number = name.bytes().fold(7_u128, |number, byte| number.wrapping_mul(257).wrapping_add(u128::from(byte)));
    uuid::Uuid::from_u128(number).to_string()
}

#[tokio::test]
async fn a_message_leaves_once_with_everything_where_it_belongs() {
    for database in Database::both().await {
        let world = World::start(&database).await;
        let seat = world.seat("user@demo.example").await;
        let browser = Browser::new(&world);
        browser.sign_in(&world, "demo", "user@demo.example").await;
        let fields = [
            ("to", "Other Person <other@demo.example>, Team: admin@demo.example;"),
            ("bcc", "office.manager@demo.example"),
            ("subject", "Grüße\r\nBcc: smuggled@demo.example"),
            ("key", "one"),
        ];
        assert_eq!(write(&browser, &world, &seat, &fields).await, "/mail/outbox");
        assert_eq!(write(&browser, &world, &seat, &fields).await, "/mail/outbox", "pressed twice");
        assert_eq!(world.services.outbox.run_once().await.unwrap(), 1);
        assert_eq!(world.services.outbox.run_once().await.unwrap(), 0);

        for mailbox in ["other@demo.example", "admin@demo.example", "office.manager@demo.example"] {
            let mails = arrived(&world, mailbox);
            assert_eq!(mails.len(), 1, "{mailbox}");
            let (headers, body) = mails[0].split_once("\r\n\r\n").unwrap();
            assert!(headers.contains("From: user@demo.example"), "{headers}");
            assert!(headers.contains("other@demo.example") && headers.contains("admin@demo.example"));
            assert!(!headers.contains("office.manager") && !headers.to_lowercase().contains("\nbcc:"), "{headers}");
            assert!(headers.lines().all(str::is_ascii) && headers.lines().all(|line| line.len() <= 998));
            assert!(body.contains("Line one") && body.contains("line three"), "the lone dot ended nothing: {body}");
        }
        assert_eq!(fates(&world, &seat).await[0].0, DeliveryState::Sent);
        let stored = world.services.store.deliveries_of(seat.institution, seat.user, Page::newest(1)).await.unwrap();
        assert_eq!(stored[0].body_sealed, "", "what was sent is not kept");
        let page = browser.get(&world.url("demo", "/mail/outbox")).await.text().await.unwrap();
        assert!(page.contains("data-state=\"sent\"") && page.contains("office.manager@demo.example"));
        world.services.store.close().await;
    }
}

/// Long lines, other letters than ASCII in text, subject, file names and addresses: every one arrives as it was written.
#[tokio::test]
async fn other_letters_and_long_lines_arrive_as_they_were_written() {
    let database = Database::sqlite();
    let world = World::start(&database).await;
    let seat = world.seat("user@demo.example").await;
    let browser = Browser::new(&world);
    browser.sign_in(&world, "demo", "user@demo.example").await;
    let (text, subject) = (format!("{}\r\n.\r\n..\r\nFrom here", "ä ".repeat(3_000)), "Grüße ".repeat(40));
    let fields = [
        ("mailbox", seat.mailbox.to_string()),
        ("to", "schüler@schule.example".to_owned()),
        ("subject", subject.clone()),
        ("text", text.clone()),
        ("key", draft_id("letters")),
    ];
    let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let file = [("Stundenpläne 2026/27.pdf", "application/pdf", b"\xff\x00\r\n.\r\n".as_slice())];
    browser.post_parts(&world.url("demo", "/api/send_message"), &fields, &file).await;
    assert_eq!(world.services.outbox.run_once().await.unwrap(), 1);
    assert_eq!(fates(&world, &seat).await[0].0, DeliveryState::Sent);
    let world = world.sandbox.world();
    let raw = &world.outside.mails[0].raw;
    let longest = raw.split(|octet| *octet == b'\n').map(<[u8]>::len).max().unwrap();
    assert!(longest <= 998, "{longest} bytes in a line");
    let parsed = mail_parser::MessageParser::default().parse(raw).unwrap();
    assert_eq!(parsed.subject().unwrap(), subject.trim());
    assert_eq!(parsed.to().unwrap().first().unwrap().address().unwrap(), "schüler@schule.example");
    assert_eq!(parsed.body_text(0).unwrap().trim_end(), text.trim_end());
    let attached = parsed.attachment(0).unwrap();
    assert_eq!(mail_parser::MimeHeaders::attachment_name(attached).unwrap(), "27.pdf");
    assert_eq!(attached.contents(), b"\xff\x00\r\n.\r\n");
}

/// Not every server takes international addresses: that is said before anything leaves, and the next message leaves all the same.
#[tokio::test]
async fn a_server_without_smtputf8_is_not_given_what_it_cannot_take() {
    let database = Database::sqlite();
    let world = World::start(&database).await;
    let seat = world.seat("user@demo.example").await;
    let browser = Browser::new(&world);
    browser.sign_in(&world, "demo", "user@demo.example").await;
    world.sandbox.world().faults.no_smtputf8 = true;
    write(&browser, &world, &seat, &[("to", "schüler@schule.example"), ("key", "international")]).await;
    world.services.outbox.run_once().await.unwrap();
    write(&browser, &world, &seat, &[("to", "pupil@schule.example"), ("text", "Grüße"), ("key", "plain")]).await;
    world.services.outbox.run_once().await.unwrap();
    let fates = fates(&world, &seat).await;
    assert_eq!((fates[0].0, fates[1].0), (DeliveryState::Sent, DeliveryState::Failed));
    assert!(fates[1].2.contains("doesn't accept international addresses"), "{}", fates[1].2);
    let world = world.sandbox.world();
    assert_eq!(world.outside.mails.len(), 1);
    assert!(String::from_utf8_lossy(&world.outside.mails[0].raw).contains("pupil@schule.example"));
}

/// Long lines, dots at line starts, and every kind of line end.
#[tokio::test]
async fn plain_text_arrives_as_it_was_written() {
    let database = Database::sqlite();
    let world = World::start(&database).await;
    let seat = world.seat("user@demo.example").await;
    let browser = Browser::new(&world);
    browser.sign_in(&world, "demo", "user@demo.example").await;
    let text = format!("{}\r\n.one\n..two\r.\r\n\r\nend", "word ".repeat(600).trim_end());
    let fields =
        [("to", "other@demo.example"), ("cc", "Staff <admin@demo.example>"), ("text", &text), ("key", "plain")];
    write(&browser, &world, &seat, &fields).await;
    assert_eq!(world.services.outbox.run_once().await.unwrap(), 1);
    let raw = arrived(&world, "other@demo.example").remove(0);
    assert!(raw.split("\r\n").all(|line| line.len() <= 998 && !line.contains(['\r', '\n'])), "{raw}");
    assert!(raw.contains("\r\nCc: ") && raw.contains("admin@demo.example"), "{raw}");
    let parsed = mail_parser::MessageParser::default().parse(raw.as_bytes()).unwrap();
    let got = parsed.body_text(0).unwrap().replace("\r\n", "\n");
    assert_eq!(got.trim_end(), text.replace("\r\n", "\n").replace('\r', "\n"));
    assert_eq!(arrived(&world, "admin@demo.example").len(), 1);
}

/// Missing from Sent Items: proves nothing, since those copies can be switched off.
#[tokio::test]
async fn what_is_not_found_stays_in_doubt() {
    let database = Database::sqlite();
    let world = World::start(&database).await;
    let seat = world.seat("user@demo.example").await;
    let browser = Browser::new(&world);
    browser.sign_in(&world, "demo", "user@demo.example").await;
    world.sandbox.world().faults =
        sandbox::Faults { cut_after_data: true, no_sent_copy: true, ..sandbox::Faults::default() };
    write(&browser, &world, &seat, &[("to", "other@demo.example"), ("key", "doubt")]).await;
    world.services.outbox.run_once().await.unwrap();
    let page = Page::newest(1);
    let id = world.services.store.deliveries_of(seat.institution, seat.user, page).await.unwrap()[0].id.to_string();
    browser.post(&world.url("demo", "/api/look_for_message"), &[("delivery", &id)]).await;
    let shown = browser.get(&world.url("demo", "/mail/outbox")).await.text().await.unwrap();
    assert!(shown.contains("That doesn't mean it wasn't sent"), "{shown}");
    assert_eq!(fates(&world, &seat).await[0].0, DeliveryState::Unknown);
}

#[tokio::test]
async fn what_cannot_be_sent_is_refused_before_it_is_queued() {
    let database = Database::sqlite();
    let world = World::start(&database).await;
    let seat = world.seat("user@demo.example").await;
    let browser = Browser::new(&world);
    browser.sign_in(&world, "demo", "user@demo.example").await;
    for (field, value, says) in [
        ("to", "", "Enter at least one address."),
        ("to", "somebody", "is not an email address"),
        ("cc", "a@b.example\u{1}", "control character"),
    ] {
        let fields = [(field, value), ("text", "kept as typed"), ("key", "x")];
        let back = write(&browser, &world, &seat, &fields).await;
        assert!(back.starts_with("/mail/compose?draft="), "{back}");
        let page = browser.get(&world.url("demo", &back)).await.text().await.unwrap();
        assert!(page.contains(says) && page.contains("kept as typed"), "{field}={value}");
    }
    let other = [("to", "other@demo.example"), ("mailbox", "00000000-0000-0000-0000-000000000000"), ("key", "x")];
    let nobodys = Seat { mailbox: app::model::MailboxId(uuid::Uuid::nil()), ..seat };
    assert!(write(&browser, &world, &nobodys, &other).await.starts_with("/mail/compose?draft="));
    assert!(fates(&world, &seat).await.is_empty());
}

#[tokio::test]
async fn refused_recipients_are_named_and_the_others_get_it() {
    let database = Database::sqlite();
    let world = World::start(&database).await;
    let seat = world.seat("user@demo.example").await;
    let browser = Browser::new(&world);
    browser.sign_in(&world, "demo", "user@demo.example").await;
    write(&browser, &world, &seat, &[("to", "other@demo.example, nobody@demo.example"), ("key", "some")]).await;
    write(&browser, &world, &seat, &[("to", "nobody@demo.example"), ("key", "none")]).await;
    world.services.outbox.run_once().await.unwrap();
    let found = world.services.store.deliveries_of(seat.institution, seat.user, Page::newest(9)).await.unwrap();
    let some = found.iter().find(|one| one.state == DeliveryState::Sent).unwrap();
    let recipients = world.services.store.recipients(seat.institution, some.id).await.unwrap();
    assert_eq!(recipients[0].state, RecipientState::Accepted);
    assert_eq!(recipients[1].state, RecipientState::Refused);
    assert!(recipients[1].answer.contains("5.1.10"));
    let none = found.iter().find(|one| one.state == DeliveryState::Failed).unwrap();
    assert!(none.answer.contains("550") && none.fault.is_some());
    assert_eq!(arrived(&world, "other@demo.example").len(), 1);
}

#[tokio::test]
async fn faults_end_as_they_must_and_what_waits_leaves_by_itself() {
    for database in Database::both().await {
        let world = World::start(&database).await;
        let seat = world.seat("user@demo.example").await;
        let browser = Browser::new(&world);
        browser.sign_in(&world, "demo", "user@demo.example").await;
        let outbox = Arc::clone(&world.services.outbox);
        let resume = async || {
            world
                .services
                .store
                .resume_queue(&server::store::SendQueue::of_mailbox(seat.key()), world.clock.now())
                .await
                .unwrap();
        };

        // Throttled: the whole mailbox waits.
        world.sandbox.world().faults = sandbox::Faults { throttled: true, ..sandbox::Faults::default() };
        write(&browser, &world, &seat, &[("to", "other@demo.example"), ("key", "a")]).await;
        write(&browser, &world, &seat, &[("to", "other@demo.example"), ("key", "b")]).await;
        assert_eq!(outbox.run_once().await.unwrap(), 1, "the second does not even try");
        let states: Vec<_> = fates(&world, &seat).await.into_iter().map(|one| one.0).collect();
        assert_eq!(states, [DeliveryState::Queued, DeliveryState::Deferred]);
        world.sandbox.world().faults = sandbox::Faults::default();
        assert_eq!(outbox.run_once().await.unwrap(), 0, "not before its time");
        resume().await;
        assert_eq!(outbox.run_once().await.unwrap(), 2);
        assert!(fates(&world, &seat).await.iter().all(|one| one.0 == DeliveryState::Sent));

        // Cut before DATA: retried. Cut later: unknown.
        world.sandbox.world().faults = sandbox::Faults { cut_before_data: true, ..sandbox::Faults::default() };
        write(&browser, &world, &seat, &[("to", "admin@demo.example"), ("key", "c")]).await;
        outbox.run_once().await.unwrap();
        assert_eq!(fates(&world, &seat).await[0].0, DeliveryState::Deferred);
        world.sandbox.world().faults = sandbox::Faults { cut_after_data: true, ..sandbox::Faults::default() };
        resume().await;
        outbox.run_once().await.unwrap();
        assert_eq!(fates(&world, &seat).await[0].0, DeliveryState::Unknown);
        world.sandbox.world().faults = sandbox::Faults::default();
        resume().await;
        assert_eq!(outbox.run_once().await.unwrap(), 0, "an unknown one is never sent again by itself");
        assert_eq!(arrived(&world, "admin@demo.example").len(), 1);
        let unknown = world.services.store.deliveries_of(seat.institution, seat.user, Page::newest(1)).await.unwrap();
        let id = unknown[0].id.to_string();
        browser.post(&world.url("demo", "/api/look_for_message"), &[("delivery", &id)]).await;
        assert_eq!(fates(&world, &seat).await[0].0, DeliveryState::Sent, "it lies among the sent ones");

        // Revoked: waits without a limit, leaves after reconnecting.
        world.sandbox.world().revoke_all();
        world.services.tokens.forget(seat.mailbox);
        write(&browser, &world, &seat, &[("to", "admin@demo.example"), ("key", "d")]).await;
        outbox.run_once().await.unwrap();
        let (state, attempts, _) = fates(&world, &seat).await.remove(0);
        assert_eq!((state, attempts), (DeliveryState::Queued, 0));
        let mailbox = world.services.store.mailbox(seat.key()).await.unwrap().unwrap();
        assert_eq!(mailbox.state, MailboxState::NeedsReconnect);
        let page = browser.get(&world.url("demo", "/mail/outbox")).await.text().await.unwrap();
        assert!(page.contains("Waiting for you to reconnect"));
        let again = world.seat("user@demo.example").await;
        assert_eq!(again.mailbox, seat.mailbox);
        resume().await;
        assert_eq!(outbox.run_once().await.unwrap(), 1);
        assert_eq!(fates(&world, &seat).await[0].0, DeliveryState::Sent);

        // Stopped, but sent after all.
        world
            .services
            .store
            .pause_queue(&SendQueue::of_mailbox(seat.key()), world.clock.now().plus_ms(60_000))
            .await
            .unwrap();
        write(&browser, &world, &seat, &[("to", "admin@demo.example"), ("key", "e")]).await;
        let waiting = world.services.store.deliveries_of(seat.institution, seat.user, Page::newest(1)).await.unwrap();
        let id = waiting[0].id.to_string();
        browser.post(&world.url("demo", "/api/cancel_message"), &[("delivery", &id)]).await;
        assert_eq!(fates(&world, &seat).await[0].0, DeliveryState::Cancelled);
        browser.post(&world.url("demo", "/api/retry_message"), &[("delivery", &id)]).await;
        resume().await;
        outbox.run_once().await.unwrap();
        assert_eq!(fates(&world, &seat).await[0].0, DeliveryState::Sent);

        // Other users can't access it.
        let foreign = Browser::new(&world);
        foreign.sign_in(&world, "demo", "admin@demo.example").await;
        for call in ["cancel_message", "retry_message", "look_for_message"] {
            foreign.post(&world.url("demo", &format!("/api/{call}")), &[("delivery", &id)]).await;
        }
        assert_eq!(fates(&world, &seat).await[0].0, DeliveryState::Sent);
        let page = foreign.get(&world.url("demo", "/mail/outbox")).await.text().await.unwrap();
        assert!(!page.contains(&id) && page.contains("No messages yet."));
        world.services.store.close().await;
    }
}

#[tokio::test]
async fn what_a_killed_sender_left_is_sent_if_none_of_it_had_left_and_unknown_otherwise() {
    for database in Database::both().await {
        let clock = server::clock::Clock::manual(server::clock::Clock::system().now());
        let world = World::start_with(&database, clock, &[]).await;
        let seat = world.seat("user@demo.example").await;
        let store = &world.services.store;
        world.queue(&seat, 2, "other@demo.example", world.clock.now()).await;
        // Two claims of a dead process: before DATA and after.
        let (dead, now) = (world.clock.uuid(), world.clock.now());
        let queue = server::store::SendQueue::of_mailbox(seat.key());
        let mut claimed = Vec::new();
        for _ in 0..2 {
            let limits = world.services.config.limits.throttle;
            let delivery = delivery_of(claim_one(store, &queue, dead, now.plus_ms(30_000), limits, now).await);
            claimed.push(delivery.id);
        }
        assert!(
            store
                .start_data(DataStart {
                    institution: seat.institution,
                    delivery: claimed[1],
                    owner: dead,
                    refused: Vec::new(),
                    again: false
                })
                .await
                .unwrap()
        );
        assert_eq!(world.services.outbox.run_once().await.unwrap(), 0, "leased");
        if store.backend() == server::store::DatabaseKind::Postgres {
            // Other replicas may be alive: only an expired lease proves that this one is dead.
            world.clock.advance_ms(30_001);
        }
        let running = tokio::spawn(Arc::clone(&world.services.outbox).run(world.services.tasks.clone()));
        let settled = async || fates(&world, &seat).await.iter().all(|one| one.0.is_final());
        world.until(settled).await;
        let state = async |id| store.delivery(seat.institution, id).await.unwrap().unwrap();
        assert_eq!(state(claimed[0]).await.state, DeliveryState::Sent);
        let unknown = state(claimed[1]).await;
        assert_eq!(unknown.state, DeliveryState::Unknown);
        assert!(unknown.finished_at.unwrap() <= world.clock.now(), "a time that was");
        assert_eq!(arrived(&world, "other@demo.example").len(), 1);
        assert!(
            !store
                .start_data(DataStart {
                    institution: seat.institution,
                    delivery: claimed[0],
                    owner: dead,
                    refused: Vec::new(),
                    again: false
                })
                .await
                .unwrap(),
            "who comes back late may not send"
        );
        world.services.stop.cancel();
        running.await.unwrap();
        store.close().await;
    }
}

/// A report may arrive before its message's result is recorded; it counts.
#[tokio::test]
async fn what_comes_back_before_its_sending_is_recorded_came_back() {
    for database in Database::both().await {
        let clock = server::clock::Clock::manual(server::clock::Clock::system().now());
        let world = World::start_with(&database, clock, &[]).await;
        let seat = world.seat("user@demo.example").await;
        let store = &world.services.store;
        let both = ["other@demo.example", "admin@demo.example"].map(|to| (RecipientKind::To, to.to_owned()));
        let mut tx = store.begin().await.unwrap();
        for subject in ["Recorded", "Left behind"] {
            world.queue_one(&mut tx, &seat, subject, &both, world.clock.now()).await;
        }
        tx.commit().await.unwrap();
        let (owner, now) = (world.clock.uuid(), world.clock.now());
        let mailbox = store.mailbox(seat.key()).await.unwrap().unwrap();
        let queue = server::store::SendQueue::of_mailbox(seat.key());
        let returned = [failed("other@demo.example", "550 5.1.1 nobody")];
        let mut claimed = Vec::new();
        for _ in 0..2 {
            let limits = world.services.config.limits.throttle;
            let delivery = delivery_of(claim_one(store, &queue, owner, now.plus_ms(30_000), limits, now).await);
            assert!(
                store
                    .start_data(DataStart {
                        institution: seat.institution,
                        delivery: delivery.id,
                        owner,
                        refused: Vec::new(),
                        again: false
                    })
                    .await
                    .unwrap()
            );
            // Every recipient knows the Message-ID, so it proves nothing for other reports.
            let strangers = [failed("one@far.example", "550 no")];
            let known = store
                .bounce_delivery(&mailbox, &delivery.message_id, &strangers[..], &Fault::new("bounced", now, &[]), now)
                .await
                .unwrap();
            assert!(!known, "nobody whom it went to");
            assert!(
                store
                    .bounce_delivery(
                        &mailbox,
                        &delivery.message_id,
                        &returned[..],
                        &Fault::new("bounced", now, &[]),
                        now
                    )
                    .await
                    .unwrap()
            );
            let under_way = store.delivery(seat.institution, delivery.id).await.unwrap().unwrap();
            assert_eq!(under_way.state, DeliveryState::Sending, "until its sender says what became of it");
            claimed.push(delivery.id);
        }
        // One is recorded as accepted, the sender of the other dies.
        let record = server::store::Record {
            state: DeliveryState::Sent,
            next_attempt_at: now,
            answer: "250 accepted".into(),
            fault: None,
            recipients: both
                .map(|(_, address)| RecipientReply {
                    address,
                    state: RecipientState::Accepted,
                    answer: "250 accepted".into(),
                })
                .to_vec(),
            counts: true,
        };
        assert!(record_of_one(store, seat.institution, claimed[0], owner, &record, now).await);
        world.clock.advance_ms(30_001);
        assert_eq!(store.reap_deliveries(world.clock.now(), world.clock.now()).await.unwrap(), 1);
        // With an unknown result the text is kept.
        let doubtful = store.delivery(seat.institution, claimed[1]).await.unwrap().unwrap();
        assert_eq!((doubtful.state, doubtful.body_sealed.is_empty()), (DeliveryState::Unknown, false));
        assert!(store.prove_sent(seat.institution, claimed[1], "found", world.clock.now()).await.unwrap());
        for which in claimed {
            let delivery = store.delivery(seat.institution, which).await.unwrap().unwrap();
            // The text is kept, so the address can be corrected.
            assert_eq!((delivery.state, delivery.body_sealed.is_empty()), (DeliveryState::Bounced, false));
            assert_eq!(
                (delivery.answer.as_str(), delivery.fault.as_ref().map(|fault| fault.cause.as_str())),
                ("other@demo.example: 550 5.1.1 nobody", Some("bounced"))
            );
            let recipients = store.recipients(seat.institution, which).await.unwrap();
            assert_eq!(
                (recipients[0].state, recipients[0].answer.as_str()),
                (RecipientState::Refused, "550 5.1.1 nobody")
            );
            assert_eq!(recipients[1].state, RecipientState::Accepted);
        }

        // Tried again, then the first attempt's report arrives: no recipients are left.
        world.queue(&seat, 1, "other@demo.example", world.clock.now().plus_ms(5)).await;
        world.clock.advance_ms(10);
        let (limits, until) = (world.services.config.limits.throttle, world.clock.now().plus_ms(30_000));
        let again = delivery_of(claim_one(store, &queue, owner, until, limits, world.clock.now()).await);
        assert!(
            store
                .start_data(DataStart {
                    institution: seat.institution,
                    delivery: again.id,
                    owner,
                    refused: Vec::new(),
                    again: false
                })
                .await
                .unwrap()
        );
        world.clock.advance_ms(30_001);
        store.reap_deliveries(world.clock.now(), world.clock.now()).await.unwrap();
        assert!(store.retry_delivery(seat.institution, seat.user, again.id, &queue, world.clock.now()).await.unwrap());
        assert!(
            store
                .bounce_delivery(&mailbox, &again.message_id, &returned[..], &Fault::new("bounced", now, &[]), now)
                .await
                .unwrap()
        );
        assert_eq!(world.services.outbox.run_once().await.unwrap(), 0);
        let again = store.delivery(seat.institution, again.id).await.unwrap().unwrap();
        assert_eq!(again.state, DeliveryState::Bounced);
        store.close().await;
    }
}

#[tokio::test]
async fn a_mailbox_keeps_its_pace_and_a_full_one_delays_nobody() {
    for database in Database::both().await {
        let world = World::start(&database).await;
        let busy = world.seat("user@demo.example").await;
        let other = world.seat("admin@demo.example").await;
        let now = world.clock.now();
        world.queue(&busy, 10_000, "other@demo.example", now).await;
        tokio::spawn(Arc::clone(&world.services.outbox).run(world.services.tasks.clone()));
        world.until(async || !arrived(&world, "other@demo.example").is_empty()).await;
        let began = tokio::time::Instant::now();
        world.queue(&other, 1, "office.manager@demo.example", world.clock.now()).await;
        world.services.outbox.wake();
        world.until(async || !arrived(&world, "office.manager@demo.example").is_empty()).await;
        let waited = began.elapsed();
        assert!(waited < std::time::Duration::from_secs(10), "behind 10,000 of another mailbox: {waited:?}");
        let all_there = world.until(async || arrived(&world, "other@demo.example").len() == 30);
        if tokio::time::timeout(std::time::Duration::from_secs(30), all_there).await.is_err() {
            let mut told = fates(&world, &busy).await;
            told.retain(|(state, _, _)| !matches!(state, DeliveryState::Queued));
            panic!("{} arrived; {told:?}", arrived(&world, "other@demo.example").len());
        }
        // The limit holds: no throttling; the rest waits for the next minute.
        for (state, _, answer) in fates(&world, &busy).await {
            assert!(!matches!(state, DeliveryState::Deferred | DeliveryState::Failed), "{answer}");
        }
        world.services.stop.cancel();
        world.services.tasks.close();
        world.services.tasks.wait().await;
        assert_eq!(arrived(&world, "other@demo.example").len(), 30);
        world.services.store.close().await;
    }
}

/// The database repeatedly disappears during sending: no message is lost or sent twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_goes_away_loses_nothing() {
    let database = Database::postgres().await;
    let world = World::start(&database).await;
    let seat = world.seat("user@demo.example").await;
    world.sandbox.world().faults.slow_ms = 20;
    world.queue(&seat, 25, "other@demo.example", world.clock.now()).await;
    tokio::spawn(Arc::clone(&world.services.outbox).run(world.services.tasks.clone()));
    let (server, name) = database.url.rsplit_once('/').unwrap();
    let mut admin = sqlx::AnyConnection::connect(&format!("{server}/postgres")).await.unwrap();
    for _ in 0..8 {
        tokio::time::sleep(std::time::Duration::from_millis(150)).await;
        sqlx::query("SELECT CAST(COUNT(pg_terminate_backend(pid)) AS BIGINT) FROM pg_stat_activity WHERE datname = $1")
            .bind(name)
            .execute(&mut admin)
            .await
            .unwrap();
    }
    // Pages report the outage. Each end of a connection is waited for: one that ends later fails a later request.
    let browser = Browser::new(&world);
    for (allowed, status) in [(false, 503), (true, 302)] {
        let alter = format!("ALTER DATABASE \"{name}\" ALLOW_CONNECTIONS {allowed}");
        sqlx::raw_sql(sqlx::AssertSqlSafe(alter)).execute(&mut admin).await.unwrap();
        if !allowed {
            let ended = "SELECT COALESCE(bool_and(pg_terminate_backend(pid, 10000)), TRUE) FROM pg_stat_activity \
                         WHERE datname = $1";
            let (ended,): (bool,) = sqlx::query_as(ended).bind(name).fetch_one(&mut admin).await.unwrap();
            assert!(ended);
        }
        let answer = browser.get(&world.url("demo", "/mail/outbox")).await;
        assert_eq!(answer.status(), status);
        let said = answer.text().await.unwrap().contains("Entrepost can't reach its database. Try again in a minute.");
        assert_eq!(said, !allowed);
    }
    let page = Page::newest(100);
    let settled = async || {
        let found = world.services.store.deliveries_of(seat.institution, seat.user, page).await;
        found.is_ok_and(|found| found.iter().all(|one| one.state.is_final()))
    };
    world.until_longer(std::time::Duration::from_secs(120), settled).await;
    let known = fates(&world, &seat).await.iter().filter(|(state, _, _)| *state == DeliveryState::Sent).count();
    let there = arrived(&world, "other@demo.example");
    for number in 0..25 {
        let subject = format!("Subject: Message {number}\r\n");
        assert!(there.iter().filter(|raw| raw.contains(&subject)).count() <= 1, "{subject} arrived twice");
    }
    assert!(known <= there.len(), "{known} sent, {} arrived", there.len());
    assert!(known >= 20, "what became of a message is recorded once the database is there again: {known}");
}

/// The clock jumps two hours ahead during sending: the lease looks expired, but the message isn't sent twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_sends_nothing_twice() {
    let database = Database::sqlite();
    let clock = server::clock::Clock::manual(server::clock::Clock::system().now());
    let world = World::start_with(&database, clock.clone(), &[]).await;
    let seat = world.seat("user@demo.example").await;
    world.services.tokens.access(&world.services.store.mailbox(seat.key()).await.unwrap().unwrap()).await.unwrap();
    world.sandbox.world().faults.slow_ms = 150;
    world.queue(&seat, 1, "other@demo.example", clock.now()).await;
    let outbox = Arc::clone(&world.services.outbox);
    let sending = tokio::spawn(async move { outbox.run_once().await.unwrap() });
    let store = &world.services.store;
    world.until(async || fates(&world, &seat).await[0].0 == DeliveryState::Sending).await;
    clock.advance_ms(2 * 60 * 60 * 1000);
    store.reap_deliveries(clock.now(), clock.now()).await.unwrap();
    // The same process claims it again during the first claim: only one may hand it over.
    let again = Arc::clone(&world.services.outbox);
    let again = tokio::spawn(async move { again.run_once().await.unwrap() });
    sending.await.unwrap();
    again.await.unwrap();
    world.sandbox.world().faults.slow_ms = 0;
    world.services.outbox.run_once().await.unwrap();
    clock.advance_ms(2 * 60 * 60 * 1000);
    world.services.outbox.run_once().await.unwrap();
    assert_eq!(arrived(&world, "other@demo.example").len(), 1);
    assert!(fates(&world, &seat).await[0].0.is_final());
}
