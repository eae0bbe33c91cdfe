//! Sending through Microsoft Graph where SMTP is switched off: the change, what Graph refuses, large messages, and what is not known.

use std::collections::HashMap;
use std::sync::Arc;

use app::model::{DeliveryState, GraphUse, MailboxState, RecipientKind, SendWay};
use sandbox::SmtpAuthSwitch;
use server::clock::Clock;
use server::store::{Delivery, Page};

use crate::common::{Browser, Database, Seat, World, complete, connects_with_a_password, location};

const USER: &str = "user@demo.example";
const OTHER: &str = "other@demo.example";
const CONFIG: &str = "/institution/config/general/email";
const MANY: usize = 1_000;
/// The sandbox keeps 500 messages of a folder.
const INBOXES: [&str; 3] = [OTHER, "admin@demo.example", "office.manager@demo.example"];

/// A world whose outbox runs; Graph's permissions are consented to.
async fn world(database: &Database, more: &[(&'static str, &str)]) -> (World, Seat) {
    let mut settings = vec![
        ("ENTREPOST_MESSAGES_PER_MINUTE", "100000".to_owned()),
        ("ENTREPOST_RECIPIENTS_PER_DAY", "1000000".to_owned()),
        ("ENTREPOST_RETRY_SECONDS", "1".to_owned()),
    ];
    settings.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
    let world = World::start_with(database, Clock::system(), &settings).await;
    world.sandbox.world().messages_per_minute = 100_000;
    tokio::spawn(Arc::clone(&world.services.outbox).run(world.services.tasks.clone()));
    let seat = world.seat(USER).await;
    consent(&world, &["Mail.Send", "Mail.ReadWrite"]);
    (world, seat)
}

fn consent(world: &World, scopes: &[&str]) {
    world.sandbox.world().app.graph_scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
}

async fn use_graph(world: &World, seat: &Seat, graph: GraphUse) {
    let mut tx = world.services.store.begin().await.unwrap();
    world.services.store.set_graph_use(&mut tx, seat.institution, graph, world.clock.now()).await.unwrap();
    tx.commit().await.unwrap();
}

async fn way(world: &World, seat: &Seat) -> SendWay {
    world.services.store.mailbox(seat.key()).await.unwrap().unwrap().sends_by
}

async fn send(world: &World, seat: &Seat, subject: &str) {
    let mut tx = world.services.store.begin().await.unwrap();
    let to = [(RecipientKind::To, OTHER.to_owned())];
    world.queue_one(&mut tx, seat, subject, &to, world.clock.now()).await;
    tx.commit().await.unwrap();
    world.services.outbox.wake();
}

async fn deliveries(world: &World, seat: &Seat) -> Vec<Delivery> {
    world.services.store.deliveries_of(seat.institution, seat.user, Page::newest(5_000)).await.unwrap()
}

async fn only(world: &World, seat: &Seat) -> Delivery {
    deliveries(world, seat).await.remove(0)
}

async fn until_state(world: &World, seat: &Seat, state: DeliveryState) {
    world.until(async || only(world, seat).await.state == state).await;
}

/// How often each subject is in an inbox.
fn arrived(world: &World, address: &str) -> HashMap<String, usize> {
    let mut found = HashMap::new();
    for (_, _, mail) in
        world.sandbox.world().mails().into_iter().filter(|(to, folder, _)| to == address && folder == "INBOX")
    {
        let parsed = mail_parser::MessageParser::default().parse(&mail.raw[..]).unwrap();
        *found.entry(parsed.subject().unwrap_or_default().to_owned()).or_default() += 1;
    }
    found
}

fn all_arrived(world: &World) -> HashMap<String, usize> {
    INBOXES.iter().flat_map(|address| arrived(world, address)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_changes_to_graph_when_smtp_is_switched_off() {
    for database in Database::both().await {
        let (world, seat) = world(&database, &[("ENTREPOST_SMTP_IDLE_SECONDS", "1")]).await;
        use_graph(&world, &seat, GraphUse::WhenRefused).await;
        send(&world, &seat, "by SMTP").await;
        until_state(&world, &seat, DeliveryState::Sent).await;
        assert_eq!(
            (way(&world, &seat).await, world.sandbox.world().graph.sent),
            (SendWay::Smtp, 0),
            "SMTP comes first"
        );
        for (number, switch) in
            [SmtpAuthSwitch::Mailbox, SmtpAuthSwitch::Tenant, SmtpAuthSwitch::SecurityDefaults].into_iter().enumerate()
        {
            world.services.store.set_sends_by(seat.key(), SendWay::Smtp).await.unwrap();
            world.sandbox.world().faults.smtp_auth = switch;
            // A session that is open already goes on.
            world
                .until(async || world.sandbox.world().smtp_sessions.get(USER).is_none_or(|(open, ..)| *open == 0))
                .await;
            send(&world, &seat, &format!("by Graph {number}")).await;
            world
                .until(async || deliveries(&world, &seat).await.iter().all(|one| one.state == DeliveryState::Sent))
                .await;
            assert_eq!(way(&world, &seat).await, SendWay::Graph);
            assert_eq!(world.sandbox.world().graph.sent, number + 1);
        }
        let mailbox = world.services.store.mailbox(seat.key()).await.unwrap().unwrap();
        assert_eq!((mailbox.state, mailbox.problem), (MailboxState::Connected, None));
        assert!(arrived(&world, OTHER).values().all(|times| *times == 1));
        assert_eq!(arrived(&world, OTHER).len(), 4);
        world.services.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_institutions_leave_nothing_changes() {
    let database = Database::sqlite();
    let (world, seat) = world(&database, &[]).await;
    world.sandbox.world().faults.smtp_auth = SmtpAuthSwitch::Mailbox;
    send(&world, &seat, "waits").await;
    let state = async || world.services.store.mailbox(seat.key()).await.unwrap().unwrap().state;
    world.until(async || state().await == MailboxState::Blocked).await;
    assert_eq!((way(&world, &seat).await, world.sandbox.world().graph.sent), (SendWay::Smtp, 0));
    // An administrator reads of the other way, and allows it: the mailbox is tested, and the message leaves.
    let admin = Browser::new(&world);
    admin.sign_in(&world, "demo", "admin@demo.example").await;
    let page = admin.get(&world.url("demo", "/institution/mail-health")).await.text().await.unwrap();
    assert!(page.contains("let these mailboxes send through Microsoft Graph"), "{page}");
    admin.post(&world.url("demo", "/api/save_graph_use"), &[("graph", "when_refused")]).await;
    let page = admin.get(&world.url("demo", CONFIG)).await.text().await.unwrap();
    assert!(page.contains("Saved.") && page.contains("Mail.ReadWrite"), "{page}");
    world.services.sweep_once().await.unwrap();
    world.until(async || state().await == MailboxState::Connected).await;
    until_state(&world, &seat, DeliveryState::Sent).await;
    assert_eq!(way(&world, &seat).await, SendWay::Graph);
    let page = admin.get(&world.url("demo", CONFIG)).await.text().await.unwrap();
    assert!(page.contains("1 mailbox sends through Microsoft Graph now."), "{page}");
    let log = admin.get(&world.url("demo", "/institution/audit")).await.text().await.unwrap();
    assert!(log.contains("where SMTP is switched off"), "{log}");
}

/// The whole way of an administrator: permission, consent at Microsoft, Configure & Test.
#[tokio::test(flavor = "multi_thread")]
async fn configure_and_test_tries_both_and_says_which_sends() {
    let database = Database::sqlite();
    let (world, _) = world(&database, &[]).await;
    consent(&world, &[]);
    let admin = Browser::new(&world);
    admin.sign_in(&world, "demo", "admin@demo.example").await;
    admin.post(&world.url("demo", "/api/save_graph_use"), &[("graph", "when_refused")]).await;
    let page = connects_with_a_password(&world, USER).await;
    assert!(
        page.contains("Your mailbox is connected") && page.contains("not allowed yet; not needed: SMTP works"),
        "{page}"
    );
    // SMTP is switched off, and consent is missing.
    world.sandbox.world().faults.smtp_auth = SmtpAuthSwitch::Tenant;
    let page = connects_with_a_password(&world, USER).await;
    assert!(
        page.contains("data-cause=\"smtp_auth_tenant\"") && page.contains("data-cause=\"graph_consent\""),
        "{page}"
    );
    // The consent that Entrepost asks for names Graph's permissions.
    let authorize = location(&admin.post(&world.url("demo", "/api/start_consent"), &[]).await);
    assert!(authorize.contains("Mail.Send") && authorize.contains("Mail.ReadWrite"), "{authorize}");
    let url = url::Url::parse(&authorize).unwrap();
    let mut fields: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    for (name, value) in [("username", "admin@demo.example"), ("password", "sandbox"), ("answer", "accept")] {
        fields.push((name.to_owned(), value.to_owned()));
    }
    let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let base = format!("{}{}", url.origin().ascii_serialization(), url.path());
    let back = location(&admin.post(&base, &fields).await);
    complete(&admin, &world, "demo", &back).await;
    assert_eq!(world.sandbox.world().app.graph_scopes, ["Mail.Send", "Mail.ReadWrite"]);
    let page = connects_with_a_password(&world, USER).await;
    assert!(page.contains("Your mailbox is connected"), "{page}");
    assert!(page.contains("switched off; Microsoft Graph is used instead"), "{page}");
    assert!(page.contains("Microsoft Graph is ready") && page.contains("accepted by Microsoft Graph"), "{page}");
    let person = Browser::new(&world);
    person.sign_in(&world, "demo", USER).await;
    let account = person.get(&world.url("demo", "/account/email")).await.text().await.unwrap();
    assert!(account.contains("sends through Microsoft Graph"), "{account}");
    // Switched on again, SMTP comes first.
    world.sandbox.world().faults.smtp_auth = SmtpAuthSwitch::On;
    let page = connects_with_a_password(&world, USER).await;
    assert!(page.contains("not needed: SMTP works"), "{page}");
    let account = person.get(&world.url("demo", "/account/email")).await.text().await.unwrap();
    assert!(!account.contains("sends through Microsoft Graph"), "{account}");
    // And where an institution wants it always, SMTP is not asked.
    admin.post(&world.url("demo", "/api/save_graph_use"), &[("graph", "always")]).await;
    let before = world.sandbox.world().smtp_sessions.get(USER).map_or(0, |(_, _, all)| *all);
    let page = connects_with_a_password(&world, USER).await;
    assert!(page.contains("not used: your institution sends through Microsoft Graph"), "{page}");
    assert_eq!(world.sandbox.world().smtp_sessions.get(USER).map_or(0, |(_, _, all)| *all), before);
}

/// Each refusal concerns the message, the mailbox or the moment, and has its cause.
#[tokio::test(flavor = "multi_thread")]
async fn refusals_of_graph_have_their_causes() {
    let database = Database::sqlite();
    let (world, seat) = world(&database, &[("ENTREPOST_MESSAGE_SECONDS", "100000")]).await;
    for (reply, state, blocked, cause) in [
        ("400 ErrorInvalidRecipients", DeliveryState::Failed, false, "recipient_unknown"),
        ("400 ErrorMimeContentInvalidBase64String", DeliveryState::Failed, false, "graph_refused"),
        ("413 ErrorMessageSizeExceeded", DeliveryState::Failed, false, "message_too_large"),
        ("403 ErrorSendAsDenied", DeliveryState::Failed, false, "send_as_denied"),
        ("403 ErrorAccessDenied", DeliveryState::Deferred, true, "graph_denied"),
        ("401 InvalidAuthenticationToken", DeliveryState::Deferred, true, "graph_denied"),
        ("404 MailboxNotEnabledForRESTAPI", DeliveryState::Deferred, true, "graph_no_mailbox"),
        ("429 ApplicationThrottled 77", DeliveryState::Deferred, false, "graph_throttled"),
        ("503 ResourceUnhealthy 77", DeliveryState::Deferred, false, "graph_throttled"),
        ("504 x 77", DeliveryState::Deferred, false, "graph_throttled"),
        ("504 x", DeliveryState::Unknown, false, "smtp_cut_unknown"),
        ("500 ErrorInternalServerError", DeliveryState::Unknown, false, "smtp_cut_unknown"),
        ("502 x", DeliveryState::Unknown, false, "smtp_cut_unknown"),
    ] {
        use_graph(&world, &seat, GraphUse::Always).await;
        world.sandbox.world().faults.graph_reply = reply.to_owned();
        send(&world, &seat, reply).await;
        world
            .until(async || !matches!(only(&world, &seat).await.state, DeliveryState::Queued | DeliveryState::Sending))
            .await;
        let delivery = only(&world, &seat).await;
        assert_eq!(delivery.state, state, "{reply}: {}", delivery.answer);
        assert_eq!(delivery.fault.as_ref().map(|fault| fault.cause.as_str()), Some(cause), "{reply}");
        let mailbox = async || world.services.store.mailbox(seat.key()).await.unwrap().unwrap();
        world.until(async || (mailbox().await.state == MailboxState::Blocked) == blocked).await;
        if reply.ends_with("77") {
            let wait = delivery.next_attempt_at.since_ms(world.clock.now());
            assert!((60_000..=100_000).contains(&wait), "{reply}: as long as it asks: {wait}");
        }
        // Nothing of it is left for the next.
        world.sandbox.world().faults.graph_reply = String::new();
        let now = world.clock.now();
        world.services.store.set_mailbox_state(seat.key(), MailboxState::Connected, None, None, now).await.unwrap();
        let mut connection = <sqlx::AnyConnection as sqlx::Connection>::connect(&database.url).await.unwrap();
        for statement in ["DELETE FROM recipients", "DELETE FROM deliveries", "UPDATE send_queues SET paused_until = 0"]
        {
            sqlx::query(statement).execute(&mut connection).await.unwrap();
        }
    }
    assert_eq!(world.sandbox.world().graph.sent, 0);
    assert!(world.sandbox.world().graph.most_open <= 4);
}

/// Where Graph gives no token, SMTP's refusal is what is told, and SMTP and IMAP stay connected.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_for_graph_ends_no_grant() {
    let database = Database::sqlite();
    let (world, seat) = world(&database, &[]).await;
    consent(&world, &[]);
    use_graph(&world, &seat, GraphUse::Always).await;
    send(&world, &seat, "waits").await;
    let mailbox = async || world.services.store.mailbox(seat.key()).await.unwrap().unwrap();
    world.until(async || mailbox().await.state == MailboxState::Blocked).await;
    assert_eq!(mailbox().await.problem.unwrap().cause, "graph_consent");
    assert!(!mailbox().await.refresh_token_sealed.is_empty());
    world.services.tokens.forget(seat.mailbox);
    assert!(world.services.tokens.access(&mailbox().await).await.is_ok(), "Outlook's token is renewed as ever");
    consent(&world, &["Mail.Send"]);
    world
        .services
        .store
        .resume_queue(&server::store::SendQueue::of_mailbox(seat.key()), world.clock.now())
        .await
        .unwrap();
    world.services.tokens.forget(seat.mailbox);
    world.services.outbox.wake();
    until_state(&world, &seat, DeliveryState::Sent).await;
}

/// People in Bcc get the message, and no one sees them; those who have it already do not get it again.
#[tokio::test(flavor = "multi_thread")]
async fn the_envelope_decides_who_gets_it() {
    let database = Database::sqlite();
    let (world, seat) = world(&database, &[]).await;
    use_graph(&world, &seat, GraphUse::Always).await;
    let person = Browser::new(&world);
    person.sign_in(&world, "demo", USER).await;
    let (mailbox, key) = (seat.mailbox.to_string(), world.clock.uuid().to_string());
    let fields = [
        ("mailbox", mailbox.as_str()),
        ("to", OTHER),
        ("cc", "far@outside.example"),
        ("bcc", "admin@demo.example"),
        ("subject", "To some"),
        ("text", "Text"),
        ("key", key.as_str()),
        ("action", "send"),
    ];
    person.post_parts(&world.url("demo", "/api/send_message"), &fields, &[]).await;
    world.until(async || deliveries(&world, &seat).await.iter().any(|one| one.state == DeliveryState::Sent)).await;
    for address in [OTHER, "admin@demo.example"] {
        assert_eq!(arrived(&world, address).get("To some"), Some(&1), "{address}");
    }
    let seen: Vec<Vec<u8>> = world.sandbox.world().mails().into_iter().map(|(_, _, mail)| mail.raw.clone()).collect();
    assert!(seen.iter().all(|raw| !String::from_utf8_lossy(raw).contains("admin@demo.example")), "no one sees Bcc");
    // One of two has it.
    let mut tx = world.services.store.begin().await.unwrap();
    let to = [OTHER, "admin@demo.example"].map(|to| (RecipientKind::To, to.to_owned()));
    world.queue_one(&mut tx, &seat, "To the rest", &to, world.clock.now().plus_ms(3_600_000)).await;
    tx.commit().await.unwrap();
    let mut connection = <sqlx::AnyConnection as sqlx::Connection>::connect(&database.url).await.unwrap();
    for statement in [
        "UPDATE recipients SET state = 'accepted' WHERE address = 'other@demo.example'",
        "UPDATE deliveries SET next_attempt_at = 0",
    ] {
        sqlx::query(statement).execute(&mut connection).await.unwrap();
    }
    world.services.outbox.wake();
    world.until(async || arrived(&world, "admin@demo.example").contains_key("To the rest")).await;
    assert!(!arrived(&world, OTHER).contains_key("To the rest"));
}

/// A connection that breaks after the message was handed over: it is not sent again, and Sent Items tell.
#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_delivery_never_changes_its_way_and_is_looked_up() {
    let database = Database::sqlite();
    let (world, seat) = world(&database, &[]).await;
    use_graph(&world, &seat, GraphUse::Always).await;
    world.sandbox.world().faults.graph_cut = true;
    send(&world, &seat, "once").await;
    until_state(&world, &seat, DeliveryState::Unknown).await;
    world.sandbox.world().faults.graph_cut = false;
    use_graph(&world, &seat, GraphUse::Off).await;
    send(&world, &seat, "another").await;
    world.until(async || arrived(&world, OTHER).contains_key("another")).await;
    assert_eq!(arrived(&world, OTHER).get("once"), Some(&1), "not sent by the other way either");
    // IMAP is switched off, too: Graph knows.
    use_graph(&world, &seat, GraphUse::Always).await;
    world.sandbox.world().faults.imap_disabled = true;
    let person = Browser::new(&world);
    person.sign_in(&world, "demo", USER).await;
    let unknown = deliveries(&world, &seat).await.into_iter().find(|one| one.state == DeliveryState::Unknown).unwrap();
    let id = unknown.id.to_string();
    person.post(&world.url("demo", "/api/look_for_message"), &[("delivery", &id)]).await;
    let found = deliveries(&world, &seat).await.into_iter().find(|one| one.id == unknown.id).unwrap();
    assert_eq!(found.state, DeliveryState::Sent);
}

/// Above 3 MB a message becomes a draft whose files are uploaded.
#[tokio::test(flavor = "multi_thread")]
async fn large_messages_leave_as_drafts() {
    let database = Database::sqlite();
    let (world, seat) = world(&database, &[]).await;
    use_graph(&world, &seat, GraphUse::Always).await;
    let person = Browser::new(&world);
    person.sign_in(&world, "demo", USER).await;
    let (small, large): (Vec<u8>, Vec<u8>) =
        ((0..1_000_000_u32).map(|n| (n % 251) as u8).collect(), (0..9_000_001_u32).map(|n| (n % 253) as u8).collect());
    let mailbox = seat.mailbox.to_string();
    let submit = async |subject: &str, files: &[(&str, &str, &[u8])]| {
        let key = world.clock.uuid().to_string();
        let fields = [
            ("mailbox", mailbox.as_str()),
            ("to", OTHER),
            ("subject", subject),
            ("text", "See the files."),
            ("key", key.as_str()),
            ("action", "send"),
        ];
        person.post_parts(&world.url("demo", "/api/send_message"), &fields, files).await;
    };
    consent(&world, &["Mail.Send"]);
    submit("Too large for Mail.Send", &[("large.bin", "application/x-large", &large)]).await;
    world.until(async || deliveries(&world, &seat).await.iter().any(|one| one.state == DeliveryState::Failed)).await;
    let failed = only(&world, &seat).await;
    assert_eq!(failed.fault.unwrap().cause, "graph_large");
    let state = world.services.store.mailbox(seat.key()).await.unwrap().unwrap().state;
    assert_eq!(state, MailboxState::Connected, "it concerns this message alone");
    consent(&world, &["Mail.Send", "Mail.ReadWrite"]);
    world.services.tokens.forget(seat.mailbox);
    submit("Large", &[("small.bin", "application/x-small", &small), ("large.bin", "application/x-large", &large)])
        .await;
    world.until(async || arrived(&world, OTHER).contains_key("Large")).await;
    let raw = {
        let sandbox = world.sandbox.world();
        let is_it = |mail: &sandbox::Mail| mail.raw.len() > 9_000_000;
        let (_, _, mail) = sandbox
            .mails()
            .into_iter()
            .find(|(to, folder, mail)| to == OTHER && folder == "INBOX" && is_it(mail))
            .unwrap();
        mail.raw.clone()
    };
    let parsed = mail_parser::MessageParser::default().parse(&raw[..]).unwrap();
    assert_eq!(parsed.body_text(0).unwrap().trim(), "See the files.");
    let files: Vec<&[u8]> = parsed.attachments().map(mail_parser::MessagePart::contents).collect();
    assert_eq!(files.len(), 2);
    assert!(files[0] == small && files[1] == large, "byte by byte");
    // A connection that breaks at the end: the draft says that it has left.
    world.sandbox.world().faults.graph_cut = true;
    submit("Large and cut", &[("large.bin", "application/x-large", &large)]).await;
    world.until(async || only(&world, &seat).await.state == DeliveryState::Sent).await;
    assert_eq!(arrived(&world, OTHER).get("Large and cut"), Some(&1));
}

#[tokio::test(flavor = "multi_thread")]
async fn notifications_leave_through_graph_as_well() {
    let database = Database::sqlite();
    let (world, seat) = world(&database, &[]).await;
    world.notifications_leave_through(&seat).await;
    use_graph(&world, &seat, GraphUse::WhenRefused).await;
    world.sandbox.world().faults.smtp_auth = SmtpAuthSwitch::Tenant;
    world.queue_notification(&seat).await;
    world.services.outbox.wake();
    world.until(async || arrived(&world, "admin@demo.example").contains_key("News")).await;
    assert_eq!(world.sandbox.world().graph.sent, 1);
}

/// The way changes again and again while a thousand messages leave, each in three sessions at a time.
#[tokio::test(flavor = "multi_thread")]
async fn the_way_changes_in_the_middle_of_a_thousand_messages() {
    for database in Database::both().await {
        let (world, seat) = world(&database, &[]).await;
        use_graph(&world, &seat, GraphUse::WhenRefused).await;
        let mut tx = world.services.store.begin().await.unwrap();
        for number in 0..MANY {
            let to = [(RecipientKind::To, INBOXES[number % INBOXES.len()].to_owned())];
            world.queue_one(&mut tx, &seat, &format!("Message {number}"), &to, world.clock.now()).await;
        }
        tx.commit().await.unwrap();
        world.services.outbox.wake();
        let limit = std::time::Duration::from_secs(120);
        for (at, graph, switch) in [
            (100, GraphUse::Always, SmtpAuthSwitch::On),
            (300, GraphUse::Off, SmtpAuthSwitch::On),
            (500, GraphUse::Always, SmtpAuthSwitch::On),
            (600, GraphUse::WhenRefused, SmtpAuthSwitch::Tenant),
            (800, GraphUse::Off, SmtpAuthSwitch::On),
        ] {
            world.until_longer(limit, async || all_arrived(&world).len() >= at).await;
            world.sandbox.world().faults.smtp_auth = switch;
            use_graph(&world, &seat, graph).await;
            if switch != SmtpAuthSwitch::On {
                // Found out anew: SMTP refuses the next sign-in.
                world.services.store.set_sends_by(seat.key(), SendWay::Smtp).await.unwrap();
            }
        }
        world.until_longer(limit, async || all_arrived(&world).len() == MANY).await;
        world.until(async || deliveries(&world, &seat).await.iter().all(|one| one.state == DeliveryState::Sent)).await;
        assert!(all_arrived(&world).values().all(|times| *times == 1), "nothing twice");
        let by_graph = world.sandbox.world().graph.sent;
        assert!((100..MANY).contains(&by_graph), "{by_graph} of {MANY} left through Graph");
        assert!(world.sandbox.world().graph.most_open <= 3, "as many at a time as SMTP would take");
        world.services.store.close().await;
    }
}
