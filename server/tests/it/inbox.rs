//! The inbox over real sockets, on both databases: what is listed, stored, and deleted.

use crate::common::{Browser, Database, Seat, World, location};
use app::model::{AttemptKind, MailboxId, MessageRef};
use server::mailbox_sync::{Command, MessageSet, Reply};
use server::store::{MailboxKey, NewMailbox, Page};

fn mail(subject: &str, more: &str, body: &str) -> Vec<u8> {
    let id = uuid::Uuid::from_u128(subject.bytes().fold(1, |all, byte| all * 257 % (1 << 100) + u128::from(byte)));
    format!("From: Ann <ann@far.example>\r\nTo: user@demo.example\r\nSubject: {subject}\r\nMessage-ID: <{id}@far.example>\r\n{more}\r\n\r\n{body}\r\n")
        .into_bytes()
}

async fn page(browser: &Browser, world: &World, path: &str) -> String {
    crate::common::without_bdi(&browser.get(&world.url("demo", path)).await.text().await.unwrap())
}

/// A message's address in a list.
fn link(list: &str, subject: &str) -> String {
    let (before, _) = list.split_once(&format!("<span class=\"mail-subject\">{subject}")).expect("it is listed");
    let (_, href) = before.rsplit_once("href=\"").unwrap();
    href.split('"').next().unwrap().replace("&amp;", "&")
}

async fn listed(browser: &Browser, world: &World, path: &str, subject: &str) -> String {
    world.until(async || page(browser, world, path).await.contains(subject)).await;
    page(browser, world, path).await
}

async fn reader(world: &World) -> (Seat, Browser) {
    let seat = world.seat("user@demo.example").await;
    let browser = Browser::new(world);
    browser.sign_in(world, "demo", "user@demo.example").await;
    (seat, browser)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_listed_opened_downloaded_answered_and_deleted() {
    for database in Database::both().await {
        let world = World::start(&database).await;
        let (seat, browser) = reader(&world).await;
        let file: Vec<u8> = (0..=255).cycle().take(3_000_000).collect();
        let encoded = {
            use base64::prelude::{BASE64_STANDARD, Engine};
            let text = BASE64_STANDARD.encode(&file);
            text.as_bytes()
                .chunks(76)
                .map(|line| String::from_utf8_lossy(line).into_owned())
                .collect::<Vec<_>>()
                .join("\r\n")
        };
        let body = format!(
            "--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nSchöne Grüße\r\n--b\r\nContent-Type: application/zip; name=all.zip\r\nContent-Transfer-Encoding: base64\r\n\r\n{encoded}\r\n--b--"
        );
        world
            .sandbox
            .deliver("user@demo.example", &mail("With a file", "Content-Type: multipart/mixed; boundary=b", &body));
        let list = listed(&browser, &world, "/mail/inbox", "With a file").await;
        assert!(list.contains("Unread: ") && list.contains("Has attachments"));
        let href = link(&list, "With a file");
        let opened = page(&browser, &world, &href).await;
        assert!(opened.contains("Schöne Grüße") && opened.contains("all.zip"), "{opened}");

        let download = href.replace("/mail/message?", "/mail/message/attachment?") + "&number=1";
        let answer = browser.get(&world.url("demo", &download)).await;
        assert!(answer.headers()["content-disposition"].to_str().unwrap().starts_with("attachment"));
        assert_eq!(answer.headers()["content-type"], "application/zip");
        assert!(answer.bytes().await.unwrap() == file, "the same octets");
        let raw = browser.get(&world.url("demo", &href.replace("/mail/message?", "/mail/message/raw?"))).await;
        assert!(raw.bytes().await.unwrap().len() > 4_000_000, "the whole message");
        let nothing = download.replace("number=1", "number=9");
        assert_eq!(browser.get(&world.url("demo", &nothing)).await.status(), 404);

        let mailbox = seat.mailbox.to_string();
        let query: Vec<(String, String)> =
            url::Url::parse(&world.url("demo", &href)).unwrap().query_pairs().into_owned().collect();
        let value = |name: &str| query.iter().find(|(known, _)| known == name).unwrap().1.clone();
        let (uid_validity, uid) = (value("validity"), value("uid"));
        let fields = [
            ("mailbox", mailbox.as_str()),
            ("folder", "INBOX"),
            ("validity", uid_validity.as_str()),
            ("uid", uid.as_str()),
            ("how", "forward"),
        ];
        let answer = browser.post(&world.url("demo", "/api/answer_message"), &fields).await;
        let draft = page(&browser, &world, &location(&answer)).await;
        assert!(draft.contains("Fwd: With a file") && draft.contains("all.zip") && draft.contains("3 MB"));

        // Opening marks as read; with another UIDVALIDITY it is another message.
        world.until(async || !page(&browser, &world, "/mail/inbox").await.contains("Unread: </span>Ann")).await;
        let act = async |uid_validity: &str, action: &str| {
            let fields = [
                ("mailbox", mailbox.as_str()),
                ("folder", "INBOX"),
                ("validity", uid_validity),
                ("uids[]", uid.as_str()),
                ("action", action),
            ];
            let answer = browser.post(&world.url("demo", "/api/act_on_mail"), &fields).await;
            page(&browser, &world, &location(&answer)).await
        };
        assert!(act("999", "delete").await.contains("banner bad"));
        assert!(act(&uid_validity, "delete").await.contains("1 message moved to Deleted Items."));
        assert!(!page(&browser, &world, "/mail/inbox").await.contains("With a file"));
        let trash = format!("/mail/inbox?mailbox={mailbox}&folder=Deleted%20Items");
        listed(&browser, &world, &trash, "With a file").await;
        world.services.store.close().await;
    }
}

/// Reply all: to all but oneself, with threading headers.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_to_everybody() {
    let database = Database::sqlite();
    let world = World::start(&database).await;
    let (seat, browser) = reader(&world).await;
    let more =
        "Cc: Cy <other@demo.example>, USER@demo.example, x17@Old.School.example\r\nReferences: <root@far.example>";
    // An alias that others don't know.
    let aliases = async |text: &str| {
        let mailbox = seat.mailbox.to_string();
        let fields = [("mailbox", mailbox.as_str()), ("aliases", text)];
        let answer = browser.post(&world.url("demo", "/api/set_aliases"), &fields).await;
        page(&browser, &world, &location(&answer)).await
    };
    let said = aliases("x17@old.school.example, nobody").await;
    assert!(said.contains("nobody: ") && said.contains(">x17@old.school.example, nobody</textarea>"), "{said}");
    let said = aliases("x17@old.school.example;\r\nX17@old.school.example me@demo.example").await;
    assert!(said.contains("me@demo.example, x17@old.school.example"), "{said}");
    world.sandbox.deliver("user@demo.example", &mail("Who comes?", more, "text"));
    let list = listed(&browser, &world, "/mail/inbox", "Who comes?").await;
    let (href, address) = (link(&list, "Who comes?"), seat.mailbox.to_string());
    let query: Vec<(String, String)> =
        url::Url::parse(&world.url("demo", &href)).unwrap().query_pairs().into_owned().collect();
    let mut fields: Vec<(&str, &str)> = query.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    fields.push(("how", "reply_all"));
    let draft = location(&browser.post(&world.url("demo", "/api/answer_message"), &fields).await);
    let shown = page(&browser, &world, &draft).await;
    assert!(shown.contains("Re: Who comes?") && shown.contains("other@demo.example"), "{shown}");
    assert!(!shown.to_lowercase().contains("x17@"), "{shown}");
    let key = draft.rsplit('=').next().unwrap();
    let fields = [
        ("mailbox", address.as_str()),
        ("to", "Ann <ann@far.example>"),
        ("cc", "Cy <other@demo.example>"),
        ("subject", "Re: Who comes?"),
        ("text", "I do."),
        ("key", key),
        ("action", "send"),
    ];
    browser.post_parts(&world.url("demo", "/api/send_message"), &fields, &[]).await;
    assert_eq!(world.services.outbox.run_once().await.unwrap(), 1);
    let there = world.sandbox.world();
    let raw = there
        .mails()
        .into_iter()
        .find(|(to, folder, _)| to == "other@demo.example" && folder == "INBOX")
        .map(|(_, _, mail)| String::from_utf8_lossy(&mail.raw).into_owned())
        .unwrap();
    assert!(raw.contains("References: <root@far.example>") && raw.contains("In-Reply-To: <"), "{raw}");
    assert!(raw.contains("Cc: ") && !raw.to_lowercase().contains("cc: user@"), "{raw}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_seen_is_gone_with_the_connection() {
    for database in Database::both().await {
        let world = World::start(&database).await;
        let (seat, browser) = reader(&world).await;
        world.sandbox.deliver("user@demo.example", &mail("Private", "", "secret"));
        let list = listed(&browser, &world, "/mail/inbox", "Private").await;
        let href = link(&list, "Private");
        assert!(page(&browser, &world, &href).await.contains("secret"));

        // The same address connected with a different account: none of the earlier mail is shown.
        let store = &world.services.store;
        let grant =
            world.sandbox.world().grant("other@demo.example", "https://outlook.office.com/IMAP.AccessAsUser.All");
        let app = store.mailbox(seat.key()).await.unwrap().unwrap().app;
        let new = NewMailbox {
            id: MailboxId(world.clock.uuid()),
            user: seat.user,
            kind: AttemptKind::Personal,
            address: "user@demo.example".into(),
            sign_in_name: "other@demo.example".into(),
            subject: "another".into(),
            app,
            refresh_token_sealed: String::new(),
            next_test_at: world.clock.now().plus_ms(3_600_000),
        };
        let mut tx = store.begin().await.unwrap();
        let same = store.put_mailbox(&mut tx, seat.institution, &new, world.clock.now()).await.unwrap().unwrap();
        assert_eq!(same, seat.mailbox);
        let place = server::access_tokens::grant_place(same);
        let sealed = world.services.vault.seal(&place, &server::vault::Secret::new(grant)).unwrap();
        store.replace_grant(&mut tx, MailboxKey { institution: seat.institution, id: same }, &sealed).await.unwrap();
        tx.commit().await.unwrap();
        world.sandbox.deliver("other@demo.example", &mail("Theirs", "", "other"));
        let list = listed(&browser, &world, "/mail/inbox", "Theirs").await;
        assert!(!list.contains("Private"));
        // The folder list was deleted too: deleting still moves messages instead of removing them.
        let other = link(&list, "Theirs");
        let query: Vec<(String, String)> =
            url::Url::parse(&world.url("demo", &other)).unwrap().query_pairs().into_owned().collect();
        let mut fields: Vec<(&str, &str)> = query.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let uid = fields.pop().unwrap().1;
        fields.extend([("uids[]", uid), ("action", "delete")]);
        browser.post(&world.url("demo", "/api/act_on_mail"), &fields).await;
        {
            let world = world.sandbox.world();
            let there = world.mails().into_iter().filter(|(_, folder, mail)| {
                folder == "Deleted Items" && String::from_utf8_lossy(&mail.raw).contains("Subject: Theirs")
            });
            assert_eq!(there.count(), 1);
        }
        assert!(!page(&browser, &world, &href).await.contains("secret"), "not even by its address");

        // Disconnected: all rows are deleted.
        let mailbox = seat.mailbox.to_string();
        browser.post(&world.url("demo", "/api/disconnect"), &[("mailbox", &mailbox)]).await;
        assert!(store.folders(seat.key()).await.unwrap().is_empty());
        assert!(store.headers(seat.key(), "INBOX", 0, 9).await.unwrap().is_empty());
        assert_eq!(browser.get(&world.url("demo", &href)).await.status(), 404);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_is_bounded_and_what_lies_beyond_is_still_found() {
    let database = Database::sqlite();
    let world = World::start(&database).await;
    let (seat, browser) = reader(&world).await;
    for number in 0..450 {
        world.sandbox.deliver("user@demo.example", &mail(&format!("Number {number}."), "", "text"));
    }
    listed(&browser, &world, "/mail/inbox", "Number 449.").await;
    let kept = world.services.store.headers(seat.key(), "INBOX", 0, u32::MAX).await.unwrap();
    assert_eq!(kept.len(), 300);
    assert!(page(&browser, &world, "/mail/inbox?page=9").await.contains("Number 0."), "beyond what is kept");
    assert!(page(&browser, &world, "/mail/inbox?page=6").await.contains("Number 150."));
    assert!(page(&browser, &world, "/mail/inbox?search=Number+3.").await.contains("Number 3."));
    assert_eq!(world.sandbox.world().imap_sessions["user@demo.example"].1, 1, "one connection");
}

/// A refused or interrupted command is an error: stored data stays, and no success is reported.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_not_taken_for_empty_or_done() {
    let database = Database::sqlite();
    let world = World::start(&database).await;
    let (seat, browser) = reader(&world).await;
    world.sandbox.deliver("user@demo.example", &mail("Kept", "", &"word ".repeat(200_000)));
    let list = listed(&browser, &world, "/mail/inbox", "Kept").await;
    let href = link(&list, "Kept");
    let ask = async |ask: Command| world.services.mailbox_sync.execute(seat.key(), ask).await;
    let (folder, store) = ("INBOX".to_owned(), &world.services.store);
    let row = store.folders(seat.key()).await.unwrap().into_iter().find(|row| row.name == folder);
    let uid_validity = row.unwrap().uid_validity;
    let uid = store.headers(seat.key(), &folder, 0, 9).await.unwrap()[0].uid;
    let message = MessageRef { mailbox: seat.mailbox, folder: folder.clone(), uid_validity, uid };
    let messages = MessageSet { folder: folder.clone(), uid_validity, uids: vec![uid] };
    let refuse = |command: &str| world.sandbox.world().faults.imap_refused = command.into();
    let cut = |command: &str| world.sandbox.world().faults.imap_cut = command.into();

    refuse("FETCH");
    assert!(ask(Command::Sync { folder: folder.clone() }).await.is_err());
    assert!(ask(Command::Bytes { message: message.clone(), from: 0, length: 9 }).await.is_err());
    let download = href.replace("/mail/message?", "/mail/message/raw?");
    let status = async |path: &str| browser.get(&world.url("demo", path)).await.status();
    assert!(!status(&download).await.is_success(), "no broken file");
    refuse("LIST");
    assert!(ask(Command::Delete(messages.clone())).await.is_err());
    refuse("SEARCH");
    assert!(ask(Command::Search { folder: folder.clone(), text: "word".into(), most: 9 }).await.is_err());
    refuse("STORE");
    let flag = server::mail::imap::Flag::Flagged;
    assert!(ask(Command::Flag { messages, flag, set: true }).await.is_err());
    refuse("");
    assert_eq!(status(&download).await, 200);
    assert_eq!(
        status(&download.replace(&format!("uid={uid}"), "uid=99999")).await,
        404,
        "what is gone is no empty file"
    );
    assert_eq!(store.headers(seat.key(), &folder, 0, 9).await.unwrap().len(), 1);
    assert!(store.folders(seat.key()).await.unwrap().len() > 3);

    // The session ends during a command: it is repeated on a new one.
    for command in ["SELECT", "FETCH", "SEARCH"] {
        cut(command);
        assert!(
            ask(Command::Search { folder: folder.clone(), text: "word".into(), most: 9 }).await.is_ok(),
            "{command}"
        );
    }
    // Or it disappears silently.
    world.sandbox.world().faults.imap_dropped = "FETCH".into();
    assert!(ask(Command::Sync { folder: folder.clone() }).await.is_ok());
    cut("FETCH");
    let Reply::Opened(opened) = ask(Command::Open(message)).await.unwrap() else { panic!() };
    assert_eq!(opened.text.as_ref().unwrap().trim_end().len(), 500_000, "to its end, or to what is shown");
}

/// Downloads are streamed, not buffered.
#[tokio::test(flavor = "multi_thread")]
async fn downloads_leave_as_they_come_in() {
    let database = Database::sqlite();
    let world = World::start(&database).await;
    let (_, browser) = reader(&world).await;
    world.sandbox.deliver("user@demo.example", &mail("Large", "", &"word ".repeat(8 * 1024 * 1024)));
    let list = listed(&browser, &world, "/mail/inbox", "Large").await;
    let download = world.url("demo", &link(&list, "Large").replace("/mail/message?", "/mail/message/raw?"));
    let mut answer = browser.get(&download).await;
    let mut bytes = answer.chunk().await.unwrap().unwrap().len();
    // The mail server sends no more: bytes not fetched yet can't arrive.
    world.sandbox.world().faults.imap_refused = "FETCH".into();
    let cut = loop {
        match answer.chunk().await {
            Ok(Some(chunk)) => bytes += chunk.len(),
            Ok(None) => break false,
            Err(_) => break true,
        }
    };
    assert!(cut && bytes < 40 * 1024 * 1024, "{bytes} bytes");
}

/// Delivery reports (RFC 3464) are matched to their message: a user's, and a notification.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_back_is_matched_to_its_message() {
    for database in Database::both().await {
        let world = World::start(&database).await;
        let (seat, _) = reader(&world).await;
        let (services, store) = (&world.services, &world.services.store);
        world.sandbox.world().faults.bounced = true;
        world.queue(&seat, 1, "other@demo.example", world.clock.now()).await;
        assert_eq!(services.outbox.run_once().await.unwrap(), 1);
        services.poll_once().await.unwrap();
        let newest = async || {
            let page = Page::newest(1);
            store.deliveries_of(seat.institution, seat.user, page).await.unwrap().remove(0)
        };
        world.until(async || newest().await.state == app::model::DeliveryState::Bounced).await;
        let told = store.recipients(seat.institution, newest().await.id).await.unwrap();
        assert_eq!(told[0].state, app::model::RecipientState::Refused);

        // A bounced invitation of the institution's mailbox.
        let settings = server::store::EmailSettings {
            provider: app::model::Provider::ExchangeOnline,
            custom_from: true,
            custom_from_address: "user@demo.example".into(),
            ..server::store::EmailSettings::default()
        };
        let mut tx = store.begin().await.unwrap();
        store.put_email_settings(&mut tx, seat.institution, &settings, world.clock.now()).await.unwrap();
        tx.commit().await.unwrap();
        let mut tx = store.begin().await.unwrap();
        store.set_notification_mailbox(&mut tx, seat.institution, Some(seat.mailbox)).await.unwrap();
        tx.commit().await.unwrap();
        let admin = Browser::new(&world);
        admin.sign_in(&world, "demo", "admin@demo.example").await;
        let fields = [("email", "new.person@far.example"), ("role", "user")];
        admin.post(&world.url("demo", "/api/invite"), &fields).await;
        assert_eq!(services.outbox.run_once().await.unwrap(), 1);
        let ask = Command::Sync { folder: "INBOX".into() };
        services.mailbox_sync.execute(seat.key(), ask).await.unwrap();
        let home = page(&admin, &world, "/").await;
        assert!(home.contains("An email from Entrepost wasn't delivered.") && home.contains("new.person@far.example"));
        let users = page(&admin, &world, "/institution/users").await;
        assert_eq!(users.matches("Not delivered").count(), 1);
        // A delivered new invitation clears it.
        world.sandbox.world().faults.bounced = false;
        let who =
            store.user_by_address(seat.institution, "new.person@far.example").await.unwrap().unwrap().id.to_string();
        admin.post(&world.url("demo", "/api/renew_invitation"), &[("user", &who)]).await;
        services.outbox.run_once().await.unwrap();
        assert!(!page(&admin, &world, "/institution/users").await.contains("Not delivered"));

        // So does an administrator's dismissal, and the user accepting the link anyway.
        for ends in ["dismissed", "dismissed for everyone", "signed in"] {
            world.sandbox.world().faults.bounced = true;
            let answer = admin.post(&world.url("demo", "/api/renew_invitation"), &[("user", &who)]).await;
            let link = page(&admin, &world, &location(&answer)).await;
            services.outbox.run_once().await.unwrap();
            let ask = Command::Sync { folder: "INBOX".into() };
            services.mailbox_sync.execute(seat.key(), ask).await.unwrap();
            assert!(page(&admin, &world, "/institution/users").await.contains("Not delivered"));
            world.sandbox.world().faults.bounced = false;
            if ends == "dismissed" {
                let answer = admin.post(&world.url("demo", "/api/dismiss_undelivered"), &[("user", &who)]).await;
                assert!(
                    page(&admin, &world, &location(&answer)).await.contains("Dismissed for new.person@far.example.")
                );
            } else if ends == "dismissed for everyone" {
                let answer = admin.post(&world.url("demo", "/api/dismiss_undelivered"), &[]).await;
                assert_eq!(location(&answer), "/");
            } else {
                let link = link.split("/invitation/").nth(1).unwrap();
                let token: String =
                    link.chars().take_while(|c| c.is_ascii_alphanumeric() || "-_".contains(*c)).collect();
                let newcomer = Browser::new(&world);
                let password = "seventeen purple geese";
                let fields = [("token", token.as_str()), ("password", password), ("repeated", password)];
                newcomer.post(&world.url("demo", "/api/accept_invitation"), &fields).await;
                assert!(page(&newcomer, &world, "/").await.contains("Sign out"));
            }
            assert!(!page(&admin, &world, "/institution/users").await.contains("Not delivered"), "{ends}");
            assert!(!page(&admin, &world, "/").await.contains("wasn't delivered"), "{ends}");
        }
    }
}

/// Without viewers, each mailbox is synced at its interval.
#[tokio::test(flavor = "multi_thread")]
async fn mail_is_noticed_though_nobody_looks() {
    for database in Database::both().await {
        let clock = server::clock::Clock::manual(server::clock::Clock::system().now());
        let world = World::start_with(&database, clock.clone(), &[("ENTREPOST_POLL_SECONDS", "300".into())]).await;
        let seat = world.seat("user@demo.example").await;
        let count = async || world.services.store.headers(seat.key(), "INBOX", 0, 9).await.unwrap().len();
        world.sandbox.deliver("user@demo.example", &mail("First", "", "text"));
        world.services.poll_once().await.unwrap();
        world.until(async || count().await == 1).await;
        world.sandbox.deliver("user@demo.example", &mail("Second", "", "text"));
        let due = async || {
            let (mut due, store) = (0, &world.services.store);
            while let Some(mailbox) = store.claim_due_poll(clock.now(), clock.now().plus_ms(1)).await.unwrap() {
                due += usize::from(mailbox.id == seat.mailbox);
            }
            due
        };
        assert_eq!(due().await, 0, "its time has not come");
        clock.advance_ms(330_001);
        world.services.poll_once().await.unwrap();
        world.until(async || count().await == 2).await;
        world.services.store.close().await;
    }
}

/// Exchange searches ASCII only: other texts are searched in what an ASCII part matches.
#[tokio::test(flavor = "multi_thread")]
async fn letters_that_the_server_does_not_know_are_found() {
    let database = Database::sqlite();
    let world = World::start(&database).await;
    let (_, browser) = reader(&world).await;
    let deliver = |subject: &str, more: &str, body: &str| {
        world.sandbox.deliver("user@demo.example", &mail(subject, more, body));
    };
    let utf8 = "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8";
    deliver("In the text", utf8, "Es gibt Käsekuchen.");
    deliver("Another word", utf8, "Es gibt Kasekuchen.");
    deliver("=?utf-8?q?K=C3=84SEKUCHEN_am_Montag?=", "", "text");
    let html = "MIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8";
    deliver("In HTML", html, "<p>K&auml;sekuchen f&uuml;r alle</p>");
    deliver("Far", utf8, "今日は");
    listed(&browser, &world, "/mail/inbox", "Far").await;
    let search = async |text: &str| {
        let text: String = url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
        page(&browser, &world, &format!("/mail/inbox?search={text}")).await
    };
    let found = search("käsekuchen").await;
    assert!(found.contains("3 messages found") && found.contains("can't search for “"), "{found}");
    for subject in ["In the text", "KÄSEKUCHEN am Montag", "In HTML"] {
        assert!(found.contains(&format!("mail-subject\">{subject}")), "{subject}");
    }
    assert!(search("今日").await.contains("1 message found"));
    assert!(search("Käsebrot").await.contains("No messages in Inbox match"));
    let plain = search("kasekuchen").await;
    assert!(plain.contains("1 message found") && !plain.contains("can't search for"), "the server's own search");
    assert_eq!(world.sandbox.world().imap_sessions["user@demo.example"].1, 1, "one connection");
}

/// A message the server can't return doesn't block others.
#[tokio::test(flavor = "multi_thread")]
async fn a_broken_message_is_listed_and_the_others_go_on() {
    for database in Database::both().await {
        let clock = server::clock::Clock::manual(server::clock::Clock::system().now());
        let world = World::start_with(&database, clock.clone(), &[]).await;
        let (seat, _) = reader(&world).await;
        let ask = async || {
            let ask = Command::Sync { folder: "INBOX".into() };
            world.services.mailbox_sync.execute(seat.key(), ask).await
        };
        let subjects = async || {
            let headers = world.services.store.headers(seat.key(), "INBOX", 0, 9).await.unwrap();
            headers.into_iter().map(|header| (header.uid, header.subject)).collect::<Vec<_>>()
        };
        let deliver = |subject: &str| world.sandbox.deliver("user@demo.example", &mail(subject, "", "text"));
        deliver("First");
        let first = {
            ask().await.unwrap();
            subjects().await[0].0
        };
        // As the only new message, and among others.
        world.sandbox.world().faults.imap_broken_uid = first + 1;
        deliver("Broken");
        ask().await.unwrap();
        deliver("Third");
        ask().await.unwrap();
        let there = subjects().await;
        assert_eq!(there.iter().map(|(uid, _)| *uid).collect::<Vec<_>>(), [first + 2, first + 1, first]);
        assert!(there[1].1.contains("cannot show this message"), "{}", there[1].1);
        assert_eq!((there[0].1.as_str(), there[2].1.as_str()), ("Third", "First"));
        let selects = world.sandbox.world().imap_selects;
        ask().await.unwrap();
        assert!(world.sandbox.world().imap_selects <= selects + 1);
        let mailbox = world.services.store.mailbox(seat.key()).await.unwrap().unwrap();
        assert_eq!(mailbox.sync_problem, None);
        // Later the server can return it.
        world.sandbox.world().faults.imap_broken_uid = 0;
        clock.advance_ms(60 * 60 * 1000 + 1);
        ask().await.unwrap();
        assert_eq!(subjects().await[1].1, "Broken");
        world.services.store.close().await;
    }
}

/// After long downtime all mailboxes are due: they are synced a few at a time, then spread over the interval.
#[tokio::test(flavor = "multi_thread")]
async fn polls_never_come_as_a_storm() {
    for database in Database::both().await {
        let clock = server::clock::Clock::manual(server::clock::Clock::system().now());
        let world = World::start_with(&database, clock.clone(), &[("ENTREPOST_POLL_SECONDS", "300".into())]).await;
        for number in 0..15 {
            world.newcomer(&format!("person{number}@demo.example")).await;
        }
        for looked_into in [5, 10, 15] {
            world.services.poll_once().await.unwrap();
            world.until(async || world.sandbox.world().imap_sessions.len() == looked_into).await;
        }
        let due = async || {
            let (mut due, far) = (0, clock.now().plus_ms(3_600_000));
            while world.services.store.claim_due_poll(clock.now(), far).await.unwrap().is_some() {
                due += 1;
            }
            due
        };
        clock.advance_ms(269_000);
        assert_eq!(due().await, 0, "not before their time");
        let mut each_second = Vec::new();
        for _ in 0..62 {
            clock.advance_ms(1_000);
            each_second.push(due().await);
        }
        assert_eq!(each_second.iter().sum::<usize>(), 15, "{each_second:?}");
        assert!(each_second.iter().all(|due| *due <= 5), "{each_second:?}");
        world.services.store.close().await;
    }
}

/// A throttling server is left alone for the requested time, then tried automatically.
#[tokio::test(flavor = "multi_thread")]
async fn the_patience_that_a_server_asks_for_is_kept() {
    let database = Database::sqlite();
    let world = World::start(&database).await;
    let (seat, _) = reader(&world).await;
    let ask = async || {
        let ask = Command::Sync { folder: "INBOX".into() };
        world.services.mailbox_sync.execute(seat.key(), ask).await
    };
    ask().await.unwrap();
    let opened = world.sandbox.world().imap_selects;
    world.sandbox.world().faults.imap_throttled = true;
    let asked = std::time::Instant::now();
    let refused = ask().await.unwrap_err().to_string();
    assert!(refused.contains("Suggested Backoff Time: 1500"), "{refused}");
    world.sandbox.world().faults.imap_throttled = false;
    let selects = world.sandbox.world().imap_selects;
    assert_eq!(selects, opened + 1);
    assert_eq!(ask().await.unwrap_err().to_string(), refused, "what it said last, without asking it");
    assert_eq!(world.sandbox.world().imap_selects, selects);
    world.until(async || ask().await.is_ok()).await;
    assert!(asked.elapsed() >= std::time::Duration::from_millis(1500));
    assert_eq!(world.sandbox.world().imap_selects, selects + 1, "asked once, when the time was over");
}

/// Rows of folders that weren't opened for long are deleted.
#[tokio::test(flavor = "multi_thread")]
async fn headers_of_so_many_folders_are_kept() {
    for database in Database::both().await {
        let world = World::start(&database).await;
        let seat = world.seat("user@demo.example").await;
        let folders: Vec<String> = (0..14).map(|number| format!("Folder {number:02}")).collect();
        {
            let mut there = world.sandbox.world();
            for folder in &folders {
                there.deliver("user@demo.example", folder, &mail(folder, "", "text"));
            }
        }
        for folder in folders.iter().chain([&folders[0]]) {
            let ask = Command::Sync { folder: folder.clone() };
            world.services.mailbox_sync.execute(seat.key(), ask).await.unwrap();
        }
        let mut kept = Vec::new();
        for folder in &folders {
            let headers = world.services.store.headers(seat.key(), folder, 0, 9).await.unwrap();
            kept.extend(headers.first().map(|header| header.subject.clone()));
        }
        assert_eq!(kept.len(), 12, "{kept:?}");
        assert!(kept.contains(&folders[0]) && !kept.contains(&folders[1]) && !kept.contains(&folders[2]), "{kept:?}");
        world.services.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draft_is_its_writers_alone_and_ends_with_the_message() {
    for database in Database::both().await {
        let world = World::start(&database).await;
        let (seat, browser) = reader(&world).await;
        world.seat("admin@demo.example").await;
        let colleague = Browser::new(&world);
        colleague.sign_in(&world, "demo", "admin@demo.example").await;
        let (mailbox, key) = (seat.mailbox.to_string(), "00000000-0000-4000-8000-000000000009");
        let write = |action: &'static str| {
            vec![
                ("mailbox", mailbox.as_str()),
                ("to", "other@demo.example"),
                ("subject", "Mine alone"),
                ("text", "Text"),
                ("key", key),
                ("action", action),
            ]
        };
        let url = world.url("demo", "/api/send_message");
        let file = [("a.txt", "text/plain", b"content".as_slice())];
        browser.post_parts(&url, &write("save"), &file).await;
        assert!(page(&browser, &world, "/mail/drafts").await.contains("Mine alone"));
        // Another user's requests with its id see, change and delete nothing.
        let draft = format!("/mail/compose?draft={key}");
        assert!(!page(&colleague, &world, &draft).await.contains("Mine alone"));
        for action in ["save", "send", "discard"] {
            colleague.post_parts(&url, &write(action), &file).await;
        }
        let mine = page(&browser, &world, &draft).await;
        assert!(mine.contains("Mine alone") && mine.contains("a.txt") && mine.matches("Remove a.txt").count() == 1);
        // Sent twice: one message, no draft; a late autosave creates none either.
        for _ in 0..2 {
            let answer = browser.post_parts(&url, &write("send"), &[]).await;
            assert_eq!(location(&answer), "/mail/outbox");
        }
        browser.post(&world.url("demo", "/api/save_draft"), &write("save")).await;
        assert!(page(&browser, &world, "/mail/drafts").await.contains("No drafts"));
        assert_eq!(world.services.outbox.run_once().await.unwrap(), 1);
        let arrived = world
            .sandbox
            .world()
            .mails()
            .iter()
            .filter(|(to, folder, mail)| {
                to == "other@demo.example" && folder == "INBOX" && String::from_utf8_lossy(&mail.raw).contains("a.txt")
            })
            .count();
        assert_eq!(arrived, 1);
        world.services.store.close().await;
    }
}
