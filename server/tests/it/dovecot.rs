//! Dovecot, as Debian packages it: its IMAP server and its submission service.
//!
//! The sandbox plays Exchange, and an error may be in both ends of our own code. Dovecot validates the same tokens (by the
//! sandbox's introspection endpoint, RFC 7662), relays submissions to the sandbox, and stores mail in a Maildir.

use server::store::Page;
use std::collections::HashSet;
use std::convert::Infallible;
use std::time::{Duration, Instant};

use crate::common::dovecot::{Dovecot, HOSTNAME};
use crate::common::{Browser, Database, Seat, World, location};
use app::model::DeliveryState;
use base64::prelude::{BASE64_STANDARD, Engine};
use server::clock::Clock;
use server::mail::{Login, Step, imap, smtp};
use server::vault::Secret;

const PERSON: &str = "user@demo.example";
/// Delivery agent: moves relayed messages of the user into their Maildir.
async fn deliver_what_was_relayed(world: &World, dovecot: &Dovecot) -> Infallible {
    let (mut delivered, mut tick) = (HashSet::new(), tokio::time::interval(Duration::from_millis(50)));
    loop {
        tick.tick().await;
        for (id, raw) in relayed(world) {
            if delivered.insert(id) {
                dovecot.deliver(PERSON, &raw);
            }
        }
    }
}

/// Messages relayed to the user so far.
fn relayed(world: &World) -> Vec<(uuid::Uuid, String)> {
    let world = world.sandbox.world();
    let mails = world.mails().into_iter().filter(|(address, folder, _)| address == PERSON && folder == "INBOX");
    mails.map(|(_, _, mail)| (mail.id, String::from_utf8(mail.raw.clone()).unwrap())).collect()
}

/// A user reading their inbox.
struct Reader<'a> {
    world: &'a World,
    browser: Browser,
    seat: Seat,
}

impl Reader<'_> {
    async fn page(&self, path: &str) -> String {
        let answer = self.browser.get(&self.world.url("demo", path)).await;
        assert_eq!(answer.status(), 200, "{path}");
        crate::common::without_bdi(&answer.text().await.unwrap())
    }

    fn folder(&self, name: &str) -> String {
        format!("/mail/inbox?mailbox={}&folder={name}", self.seat.mailbox)
    }

    /// A folder's page, once it lists a subject.
    async fn listed(&self, folder: &str, subject: &str) -> String {
        self.world.until(async || row(&self.page(&self.folder(folder)).await, subject).is_some()).await;
        self.page(&self.folder(folder)).await
    }

    async fn act(&self, page: &str, subject: &str, action: &str) {
        let row = row(page, subject).unwrap();
        let fields = [
            ("mailbox", &*self.seat.mailbox.to_string()),
            // In the list's form, after the search form.
            (
                "folder",
                &*attribute(page.rsplit_once("action=\"/api/act_on_mail\"").unwrap().1, "name=\"folder\" value"),
            ),
            ("validity", &*attribute(page, "name=\"validity\" value")),
            ("uids[]", &*attribute(row, "data-uid")),
            ("action", action),
        ];
        let answer = self.browser.post(&self.world.url("demo", "/api/act_on_mail"), &fields).await;
        assert!(location(&answer).starts_with("/mail/inbox"), "{}", location(&answer));
    }
}

/// A message's row in a folder's page.
fn row<'a>(page: &'a str, subject: &str) -> Option<&'a str> {
    let rows = page.split("<li ").filter_map(|rest| rest.split("</li>").next()).filter(|row| row.contains("mail-row"));
    rows.into_iter().find(|row| row.contains(&format!("class=\"mail-subject\">{subject}<")))
}

/// First value of an attribute, unescaped.
fn attribute(markup: &str, name: &str) -> String {
    let (_, rest) = markup.split_once(&format!("{name}=\"")).unwrap_or_else(|| panic!("no {name} in {markup}"));
    rest.split('"').next().unwrap().replace("&amp;", "&")
}

/// An external message with an attachment.
fn with_attachment(file: &[u8]) -> String {
    let lines: String = BASE64_STANDARD
        .encode(file)
        .as_bytes()
        .chunks(76)
        .map(|line| format!("{}\r\n", std::str::from_utf8(line).unwrap()))
        .collect();
    format!(
        "From: =?utf-8?B?{}?= <far@away.example>\r\nTo: {PERSON}\r\nSubject: =?utf-8?B?{}?=\r\n\
         Date: Thu, 01 Jan 2026 12:00:00 +0000\r\nMessage-ID: <plan@away.example>\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/mixed; boundary=\"edge\"\r\n\r\n\
         --edge\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n\
         The way leads through Z=C3=BCrich.\r\n\
         --edge\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\
         Content-Disposition: attachment; filename=\"plan.bin\"\r\n\r\n{lines}--edge--\r\n",
        BASE64_STANDARD.encode("Jürg"),
        BASE64_STANDARD.encode("Plan für Görlitz"),
    )
}

fn from_elsewhere(subject: &str) -> String {
    format!(
        "From: far@away.example\r\nTo: {PERSON}\r\nSubject: {subject}\r\nDate: Thu, 01 Jan 2026 12:00:00 +0000\r\n\
         Message-ID: <{}@away.example>\r\n\r\nText\r\n",
        Clock::system().uuid()
    )
}

#[tokio::test]
async fn entrepost_sends_and_receives_through_dovecot() {
    let (database, mut dovecot) = (Database::sqlite(), Dovecot::prepare());
    dovecot.add(PERSON);
    let settings = [
        ("ENTREPOST_MICROSOFT_SMTP", format!("localhost:{}", dovecot.submission)),
        ("ENTREPOST_MICROSOFT_IMAP", format!("localhost:{}", dovecot.imap)),
        ("ENTREPOST_EXTRA_CA_FILE", dovecot.ca.display().to_string()),
    ];
    let world = World::start_with(&database, Clock::system(), &settings).await;
    dovecot.start(&world).await;
    assert!(relayed(&world).is_empty());
    let seat = world.seat(PERSON).await;
    let reader = Reader { browser: Browser::new(&world), world: &world, seat };
    reader.browser.sign_in(&world, "demo", PERSON).await;
    let journey = async {
        a_wrong_token_is_refused(&world).await;
        sends(&reader).await;
        reads(&reader, &dovecot).await;
        sees_what_arrives(&reader, &dovecot).await;
        is_tested(&reader, &dovecot).await;
    };
    tokio::select! {
        () = journey => {}
        never = deliver_what_was_relayed(&world, &dovecot) => match never {},
    }
    world.services.store.close().await;
}

/// SMTP and IMAP send the reason as a challenge, which must be answered before the failure arrives.
async fn a_wrong_token_is_refused(world: &World) {
    let (servers, wrong) = (&world.services.config.clouds.own().hosts, Secret::new("not a token".to_owned()));
    let login = |server| Login { server, user: PERSON, token: &wrong };
    let refused = smtp::Session::open(&login(&servers.smtp), &world.services.trust).await.err().unwrap();
    assert!(refused.answered && refused.step == Step::Auth && refused.code() == Some(535), "{refused:?}");
    let refused = imap::Session::open(&login(&servers.imap), &world.services.trust).await.err().unwrap();
    assert!(refused.answered && refused.step == Step::Auth && refused.text.starts_with("NO "), "{refused:?}");
}

async fn sends(reader: &Reader<'_>) {
    let world = reader.world;
    let (mailbox, key) = (reader.seat.mailbox.to_string(), world.clock.uuid().to_string());
    let fields = [
        ("mailbox", mailbox.as_str()),
        ("to", PERSON),
        ("subject", "Grüße an mich"),
        ("text", "Line one\r\n.\r\nline three, süß"),
        ("key", key.as_str()),
    ];
    let answer = reader.browser.post_parts(&world.url("demo", "/api/send_message"), &fields, &[]).await;
    assert_eq!(location(&answer), "/mail/outbox");
    assert_eq!(world.services.outbox.run_once().await.unwrap(), 1);
    let newest = Page::newest(1);
    let sent = world.services.store.deliveries_of(reader.seat.institution, reader.seat.user, newest).await.unwrap();
    assert_eq!(sent[0].state, DeliveryState::Sent, "{}", sent[0].answer);
    let relayed = relayed(world);
    assert_eq!(relayed.len(), 1);
    assert!(relayed[0].1.contains(&format!("by {HOSTNAME} with ESMTPSA")), "Dovecot took it: {}", relayed[0].1);
}

async fn reads(reader: &Reader<'_>, dovecot: &Dovecot) {
    // Large enough for several fetches.
    let file: Vec<u8> = (0_u32..600_000).map(|at| (at.wrapping_mul(at) >> 7).to_le_bytes()[0]).collect();
    dovecot.deliver(PERSON, &with_attachment(&file));
    let (own, plan) = ("Grüße an mich", "Plan für Görlitz");
    let page = reader.listed("INBOX", own).await;
    let opened = reader.page(&attribute(row(&page, own).unwrap(), "href")).await;
    assert!(opened.contains("line three, süß"), "{opened}");

    let page = reader.listed("INBOX", plan).await;
    let unread = row(&page, plan).unwrap();
    assert!(unread.contains("Jürg") && unread.contains("Unread: ") && unread.contains("Has attachments"), "{unread}");
    let opened = reader.page(&attribute(unread, "href")).await;
    assert!(opened.contains("The way leads through Zürich.") && opened.contains("plan.bin"), "{opened}");
    let (_, link) = opened.split_once("class=\"attachments\"").unwrap();
    let link = attribute(link, "href");
    assert!(link.starts_with("/mail/message/attachment?") && link.ends_with("&number=1"), "{link}");
    let answer = reader.browser.get(&reader.world.url("demo", &link)).await;
    assert_eq!(answer.status(), 200);
    assert!(answer.bytes().await.unwrap() == file, "the file is the one that was sent");

    for (searched, found) in [("Zürich", true), ("Zürih", false), ("Görlitz", true), ("\"quoted\\", false)] {
        let query = url::form_urlencoded::Serializer::new(String::new()).append_pair("search", searched).finish();
        let page = reader.page(&format!("{}&{query}", reader.folder("INBOX"))).await;
        assert_eq!(row(&page, plan).is_some(), found, "{searched}");
        assert!(
            found == page.contains("1 message found") && found != page.contains("No messages in Inbox match"),
            "{searched}"
        );
    }

    // Opening marks as read without delaying the page.
    let (in_inbox, in_trash) =
        (|| dovecot.files(PERSON, "", "plan@away.example"), || dovecot.files(PERSON, ".Trash", "plan@away.example"));
    let flagged = |with: &[char]| in_inbox().iter().any(|name| with.iter().all(|flag| flags(name).contains(*flag)));
    reader.world.until(async || flagged(&['S'])).await;
    reader.act(&page, plan, "flag").await;
    reader.world.until(async || flagged(&['F', 'S'])).await;
    let page = reader.listed("INBOX", plan).await;
    assert!(row(&page, plan).unwrap().contains(" Flagged"), "{page}");
    reader.act(&page, plan, "unread").await;
    reader.world.until(async || in_inbox().iter().any(|name| flags(name) == "F")).await;
    reader.act(&page, plan, "delete").await;
    let page = reader.listed("INBOX", own).await;
    assert!(row(&page, plan).is_none(), "{page}");
    let page = reader.listed("Trash", plan).await;
    assert!(in_inbox().is_empty() && in_trash().len() == 1);
    // Deleting there is permanent (UID EXPUNGE).
    reader.act(&page, plan, "delete").await;
    reader.world.until(async || in_trash().is_empty()).await;
}

/// A message's flags, from its file name.
fn flags(name: &str) -> &str {
    name.split_once(":2,").map_or("", |(_, flags)| flags)
}

/// New mail appears at once, since the connection waits with IDLE. That includes mail that arrives while the connection is busy:
/// IDLE doesn't report it afterwards.
async fn sees_what_arrives(reader: &Reader<'_>, dovecot: &Dovecot) {
    let world = reader.world;
    let path = format!("/events/mail?mailbox={}&folder=INBOX&version=x", reader.seat.mailbox);
    let mut events = reader.browser.get(&world.url("demo", &path)).await;
    assert_eq!(events.status(), 200);
    // A stale version returns at once.
    next_event(&mut events).await;
    for (subject, busy) in [("The first", false), ("The second", false), ("Meanwhile", true), ("The last", false)] {
        let since = Instant::now();
        dovecot.deliver(PERSON, &from_elsewhere(subject));
        if busy {
            let page = reader.page(&format!("{}&search=nothing", reader.folder("Trash"))).await;
            assert!(page.contains("match “nothing”"), "{page}");
        }
        let known = async || {
            let headers = world.services.store.headers(reader.seat.key(), "INBOX", 0, 50).await.unwrap();
            headers.iter().any(|header| header.subject == subject)
        };
        // An earlier change may be reported first.
        loop {
            next_event(&mut events).await;
            if known().await {
                break;
            }
        }
        assert!(since.elapsed() < Duration::from_secs(10), "{:?}", since.elapsed());
    }
}

async fn next_event(events: &mut reqwest::Response) {
    let next = async {
        while !String::from_utf8_lossy(&events.chunk().await.unwrap().expect("it goes on")).contains("changed") {}
    };
    tokio::time::timeout(Duration::from_secs(10), next).await.expect("an event within ten seconds");
}

/// Configure & Test again: token, SMTP, test message, IMAP, arrival.
async fn is_tested(reader: &Reader<'_>, dovecot: &Dovecot) {
    let world = reader.world;
    let mailbox = reader.seat.mailbox.to_string();
    let begun = reader.browser.post(&world.url("demo", "/api/try_again"), &[("mailbox", &mailbox)]).await;
    let path = location(&begun);
    world.until(async || reader.page(&path).await.contains("data-stage=\"finished\"")).await;
    let page = reader.page(&path).await;
    assert!(page.contains("data-outcome=\"passed\"") && page.contains("in your inbox"), "{page}");
    assert_eq!(relayed(world).len(), 2, "the test message, too, went through the relay");
    assert!(!dovecot.said().contains("Panic"), "{}", dovecot.said());
}
