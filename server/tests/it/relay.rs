//! The relay over real sockets: what devices say, and what is answered.

use app::model::{RELAY_CERTIFICATE_PATH, RelayEvent, Repair, Timestamp};
use server::clock::Clock;
use server::store::RelayEntry;

use crate::common::relay::{Client, RelayWorld, base64, plain};
use crate::common::{Browser, Database};

const CONTENT: &str =
    "From: scanner@old.example <scanner@old.example>\r\nSubject: Scan\r\nTo: admin@demo.example\r\n\r\nPage 1\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_arrives_and_its_page_tells_what_happened() {
    for database in Database::both().await {
        let world = RelayWorld::start(&database).await;
        let device = world.device("Copier north", &[]).await;
        assert_eq!(device.login, "copier-north@demo");
        let mut client = world.signed_in(&device).await;
        let answer = client.send(&["admin@demo.example"], CONTENT).await;
        assert!(answer.starts_with("250 2.0.0 Queued as "), "{answer}");
        client.expect("QUIT", "221").await;
        world.deliver().await;
        let arrived = world.inbox("admin@demo.example");
        assert_eq!(arrived.len(), 1);
        assert!(arrived[0].contains("From: \"scanner@old.example\" <user@demo.example>\r\n"), "{}", arrived[0]);
        assert!(arrived[0].contains("Reply-To: \"scanner@old.example\" <scanner@old.example>\r\n"), "{}", arrived[0]);
        // The envelope is the mailbox's, and the same device again over TLS from the first byte, with LOGIN and the address.
        let mut client = Client::connect_tls(world.bound.tls.unwrap()).await;
        client.expect("HELO scanner", "250").await;
        client.expect("AUTH LOGIN", "334 VXNlcm5hbWU6").await;
        client.expect(&base64("USER@demo.example"), "334 UGFzc3dvcmQ6").await;
        client.expect(&base64(&device.password.to_uppercase()), "235").await;
        assert!(client.send(&["admin@demo.example"], CONTENT).await.starts_with("250"));
        drop(client);
        world.deliver().await;
        assert_eq!(world.inbox("admin@demo.example").len(), 2);
        world
            .logged(
                Some(&device),
                |event| matches!(event, RelayEvent::Repaired { repairs } if repairs.contains(&Repair::FromRewritten)),
            )
            .await;
        let page = world.page(&device).await;
        for text in [
            "encrypted with TLS 1.3",
            "signed in, calls itself scanner",
            "From changed to the mailbox",
            "queued, sent in 0.",
            "a…@demo.example",
        ] {
            assert!(page.contains(text), "{text}: {page}");
        }
        // Neither content nor subject nor password.
        for hidden in ["Page 1", "Subject: Scan", ">Scan<", device.password.as_str()] {
            assert!(!page.contains(hidden), "{hidden}");
        }
        world.services.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_offered_depends_on_encryption() {
    let database = Database::sqlite();
    let world = RelayWorld::start(&database).await;
    let mut client = world.client().await;
    let offered = client.say("EHLO scanner").await;
    for word in ["PIPELINING", "SIZE 35000000", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "STARTTLS"] {
        assert!(offered.contains(word), "{word}: {offered}");
    }
    for word in ["AUTH", "CHUNKING", "BINARYMIME", "DSN"] {
        assert!(!offered.contains(word), "{word}: {offered}");
    }
    client.expect(&format!("AUTH PLAIN {}", plain("a@demo", "b")), "538 5.7.11").await;
    client.expect("MAIL FROM:<a@demo.example>", "530 5.7.0").await;
    client.expect("STARTTLS", "220").await;
    client.secure().await;
    // Everything before TLS is forgotten.
    let offered = client.say("EHLO scanner").await;
    assert!(offered.contains("AUTH PLAIN LOGIN") && !offered.contains("STARTTLS"), "{offered}");
    client.expect("STARTTLS", "503 5.5.1").await;
    client.expect("AUTH CRAM-MD5", "504 5.5.4").await;
    client.expect("AUTH LOGIN", "334").await;
    client.expect("*", "501 5.7.0").await;
    client.expect("AUTH PLAIN", "334").await;
    client.expect("!!!", "501 5.5.2").await;
    client.expect("MAIL FROM:<a@demo.example>", "530 5.7.0").await;
    client.expect("VRFY admin@demo.example", "252").await;
    client.expect("EXPN staff", "502").await;
    client.expect("HELP", "214").await;
    client.expect("NOOP", "250").await;
    client.expect("RSET", "250").await;
    client.expect("ETRN x", "502").await;
    client.expect("BDAT 10 LAST", "502").await;
    client.expect("WHAT", "500 5.5.2").await;
    client.expect("QUIT", "221").await;
    assert!(client.is_closed().await);
    world.services.store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn quirks_of_devices_are_put_up_with() {
    let database = Database::sqlite();
    let world = RelayWorld::start(&database).await;
    let device = world.device("Old one", &[]).await;
    for hello in ["HELO", "EHLO", "HELO 192.168.1.7", "EHLO my_scanner 2nd floor", "helo [192.168.1.7]"] {
        let mut client = Client::connect_tls(world.bound.tls.unwrap()).await;
        client.expect(hello, "250").await;
        client.sign_in(&device.login, &device.password).await;
        client.expect("MAIL FROM: scanner@old.example SIZE=200 RET=HDRS ENVID=1 AUTH=<>", "250").await;
        client.expect("rcpt to: admin@demo.example NOTIFY=NEVER", "250").await;
        client.expect("RCPT TO:<ADMIN@demo.example>", "250").await;
        client.expect("RCPT TO:<other>", "250").await;
        client.expect("DATA", "354").await;
        client.write(b"Subject: bare\nTo: Gr\xfc\xdfe <a@demo.example>\n\nline\n\0\n.\r\n\r\n.\r\n").await;
        let answer = client.reply().await;
        assert!(answer.starts_with("250"), "{answer}");
        client.expect("MAIL FROM:<scanner>", "250").await;
        client.expect("RSET", "250").await;
        client.expect("MAIL FROM:<>", "250").await;
        // No QUIT.
    }
    world.deliver().await;
    let arrived = world.inbox("admin@demo.example");
    assert_eq!(arrived.len(), 5, "a recipient that is named twice gets it once");
    assert_eq!(world.inbox("other@demo.example").len(), 5);
    assert!(arrived[0].contains("\r\n\r\nline\r\n") && arrived[0].is_ascii(), "{}", arrived[0]);
    world.services.store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clock_of_a_device_is_off_and_its_message_id_repeats() {
    let database = Database::sqlite();
    let world = RelayWorld::start(&database).await;
    let device = world.device("Clock", &[]).await;
    let mut client = world.signed_in(&device).await;
    for number in 0..2 {
        let content = format!(
            "Date: Thu, 1 Jan 1970 00:00:00 +0000\r\nMessage-ID: <1@scanner.local>\r\nSubject: {number}\r\n\r\nx"
        );
        assert!(client.send(&["admin@demo.example"], &content).await.starts_with("250"));
    }
    world.deliver().await;
    let arrived = world.inbox("admin@demo.example");
    assert_eq!(arrived.len(), 2);
    let ids: Vec<&str> =
        arrived.iter().map(|raw| raw.lines().find(|line| line.starts_with("Message-ID")).unwrap()).collect();
    assert_ne!(ids[0], ids[1], "Exchange drops the second message with the same");
    assert!(arrived.iter().all(|raw| !raw.contains("1970")));
    world.services.store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_was_lost_does_not_send_twice() {
    for database in Database::both().await {
        let world = RelayWorld::start(&database).await;
        let device = world.device("Flaky", &[]).await;
        let queued =
            async || world.services.store.deliveries_of_device(world.institution, device.id, 50).await.unwrap().len();
        // The client is gone before the answer is received.
        let mut client = world.signed_in(&device).await;
        let first = client.send(&["admin@demo.example"], CONTENT).await;
        client.reset();
        world.logged(Some(&device), |event| matches!(event, RelayEvent::Queued { .. })).await;
        let mut client = world.signed_in(&device).await;
        let second = client.send(&["admin@demo.example"], CONTENT).await;
        assert_eq!(first, second, "the same queue id");
        assert_eq!(queued().await, 1);
        // To someone else it is another message.
        assert!(client.send(&["other@demo.example"], CONTENT).await.starts_with("250"));
        assert_eq!(queued().await, 2);
        // A further command proves that the answer was received: the next is a new message, however alike.
        client.expect("NOOP", "250").await;
        world
            .until(async || {
                let mut client = world.signed_in(&device).await;
                client.send(&["other@demo.example"], CONTENT).await;
                client.expect("QUIT", "221").await;
                queued().await > 2
            })
            .await;
        world.deliver().await;
        assert_eq!(world.inbox("admin@demo.example").len(), 1);
        world.services.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn microsofts_refusal_is_on_the_panel_of_a_device_that_asks_first() {
    let database = Database::sqlite();
    let world = RelayWorld::start(&database).await;
    let device = world.device("Asking", &[("ask_first", "yes")]).await;
    tokio::spawn(std::sync::Arc::clone(&world.services.outbox).run(world.services.tasks.clone()));
    let mut client = world.signed_in(&device).await;
    let answer = client.send(&["admin@demo.example"], CONTENT).await;
    assert!(answer.starts_with("250"), "{answer}");
    assert_eq!(world.inbox("admin@demo.example").len(), 1, "it was sent before the answer");
    world.sandbox.world().faults.smtp_reply = "554 5.2.2 mailbox full".into();
    let answer = client.send(&["admin@demo.example"], &CONTENT.replace("Page 1", "Page 2")).await;
    assert!(answer.starts_with("554") && answer.contains("mailbox full"), "{answer}");
    world.logged(Some(&device), |event| event.words().contains("Microsoft refused")).await;
    world.sandbox.world().faults.smtp_reply = "451 4.3.0 later".into();
    let answer = client.send(&["admin@demo.example"], &CONTENT.replace("Page 1", "Page 3")).await;
    assert!(answer.starts_with("250 2.0.0 Queued"), "{answer}");
    world.services.store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn people_go_before_devices() {
    for database in Database::both().await {
        let pace = [("ENTREPOST_MESSAGES_PER_MINUTE", "1".to_owned())];
        let world = RelayWorld::start_with(&database, Clock::system(), &pace).await;
        let device = world.device("Busy", &[]).await;
        let mut client = world.signed_in(&device).await;
        for number in 0..3 {
            let content = CONTENT.replace("Page 1", &format!("Page {number}"));
            assert!(client.send(&["admin@demo.example"], &content).await.starts_with("250"));
        }
        let seat = world.seat("user@demo.example").await;
        world.queue(&seat, 1, "other@demo.example", world.clock.now()).await;
        world.deliver().await;
        // The mailbox has room for one message: the person's, which came last.
        let arrived = |address| world.inbox(address).len();
        assert_eq!((arrived("other@demo.example"), arrived("admin@demo.example")), (1, 0));
        world.services.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_without_sign_in_is_recognised_by_its_address() {
    let allow = [("ENTREPOST_RELAY_PLAIN_ALLOW", "127.0.0.1=demo".to_owned())];
    let database = Database::sqlite();
    let world = RelayWorld::start_with(&database, Clock::system(), &allow).await;
    let plain_port = world.bound.plain.unwrap();
    let mut client = Client::connect(plain_port).await;
    client.expect("EHLO scanner", "250").await;
    client.expect("MAIL FROM:<scan@x.example>", "550 5.7.1").await;
    drop(client);
    world.logged(None, |event| *event == RelayEvent::UnknownAddress).await;
    let device = world.device("Plain", &[("networks", "127.0.0.1"), ("by_address", "yes")]).await;
    let mut client = Client::connect(plain_port).await;
    let offered = client.say("EHLO scanner").await;
    assert!(!offered.contains("AUTH") && offered.contains("STARTTLS"), "{offered}");
    assert!(client.send(&["admin@demo.example"], CONTENT).await.starts_with("250"));
    client.expect("QUIT", "221").await;
    world.logged(Some(&device), |event| matches!(event, RelayEvent::Recognised { .. })).await;
    // A second device with the address: nobody guesses.
    world.device("Twin", &[("networks", "127.0.0.0/8"), ("by_address", "yes")]).await;
    let mut client = Client::connect(plain_port).await;
    client.expect("EHLO scanner", "250").await;
    client.expect("MAIL FROM:<scan@x.example>", "550 5.7.1").await;
    assert!(world.page(&device).await.contains("unencrypted"));
    world.services.store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_is_made_once_and_read_again_when_its_files_change() {
    let database = Database::sqlite();
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name).display().to_string();
    let write = |name: &str| {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        std::fs::write(file("a.pem"), made.cert.pem()).unwrap();
        std::fs::write(file("a.key"), made.signing_key.serialize_pem()).unwrap();
        made.cert.der().to_vec()
    };
    let first = write("first.example");
    let settings = [("ENTREPOST_RELAY_CERTIFICATE_FILE", file("a.pem")), ("ENTREPOST_RELAY_KEY_FILE", file("a.key"))];
    let world = RelayWorld::start_with(&database, Clock::system(), &settings).await;
    assert_eq!(shown(world.bound.tls.unwrap()).await, first);
    let second = write("second.example");
    world.until(async || shown(world.bound.tls.unwrap()).await == second).await;
    // A broken file leaves it as it was.
    std::fs::write(file("a.pem"), "nothing").unwrap();
    for _ in 0..3 {
        assert_eq!(shown(world.bound.tls.unwrap()).await, second);
    }
    world.services.store.close().await;
}

/// The log is read in parts, also where many lines have one time.
#[tokio::test(flavor = "multi_thread")]
async fn all_of_the_log_is_reached_in_parts() {
    for database in Database::both().await {
        let world = RelayWorld::start(&database).await;
        let device = world.device("Talkative", &[]).await;
        for of in [Some(device.id), None] {
            let lines = (0..250_i64).map(|number| RelayEntry {
                id: world.clock.uuid(),
                institution: world.institution,
                device: of,
                at: Timestamp(1_000_000_000_000 + number / 40),
                address: format!("192.0.2.{number}"),
                event: RelayEvent::WrongPassword,
            });
            world.services.store.add_relay_log(&lines.collect::<Vec<_>>()).await.unwrap();
            let first = of.map_or("/institution/programs".to_owned(), |id| format!("/institution/programs/{id}"));
            let (mut path, mut seen) = (first.clone(), std::collections::BTreeSet::new());
            for _ in 0..10 {
                let page = world.admin.get(&world.url("demo", &path)).await.text().await.unwrap();
                let log = page.split("class=\"relay-log\"").nth(1).unwrap();
                let shown = log.split("192.0.2.").skip(1).map(|rest| rest.split('<').next().unwrap().to_owned());
                for one in shown {
                    assert!(seen.insert(one), "shown twice");
                }
                let Some((before, _)) = log.split_once("Older lines") else { break };
                let href = before.rsplit_once("href=\"").unwrap().1.split(['"', '#']).next().unwrap();
                path = href.to_owned();
            }
            assert_eq!(seen.len(), 250);
            assert!(world.admin.get(&world.url("demo", &format!("{first}?before=nonsense"))).await.status() == 200);
        }
        world.services.store.close().await;
    }
}

/// Without files the relay makes its certificate: an administrator downloads it, and a device that has it imported trusts the relay.
#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_that_was_made_here_is_downloaded_and_trusted() {
    let database = Database::sqlite();
    let none = ["ENTREPOST_RELAY_CERTIFICATE_FILE", "ENTREPOST_RELAY_KEY_FILE"].map(|name| (name, String::new()));
    let world = RelayWorld::start_with(&database, Clock::system(), &none).await;
    let device = world.device("Careful", &[]).await;
    assert!(world.page(&device).await.contains(RELAY_CERTIFICATE_PATH));
    let address = world.url("demo", RELAY_CERTIFICATE_PATH);
    let pem = world.admin.get(&address).await.text().await.unwrap();
    let file = world.directory.path().join("imported.pem");
    std::fs::write(&file, &pem).unwrap();
    let trusts = async |more: &[&str]| {
        let mut command = tokio::process::Command::new("openssl");
        let to = world.bound.tls.unwrap().to_string();
        command.args(["s_client", "-connect", &to, "-verify_return_error"]).args(more);
        let quiet = || std::process::Stdio::null();
        command.stdin(quiet()).stdout(quiet()).stderr(quiet());
        let ended = tokio::time::timeout(std::time::Duration::from_secs(20), command.status()).await;
        ended.expect("openssl ends").unwrap().success()
    };
    assert!(trusts(&["-CAfile", &file.display().to_string()]).await, "{pem}");
    assert!(!trusts(&[]).await, "without it");
    // It has no private part, and only administrators get it.
    assert!(pem.starts_with("-----BEGIN CERTIFICATE-----") && !pem.contains("PRIVATE"), "{pem}");
    let user = Browser::new(&world);
    user.sign_in(&world, "demo", "user@demo.example").await;
    for other in [user, Browser::new(&world)] {
        assert!(!other.get(&address).await.text().await.unwrap().contains("BEGIN CERTIFICATE"));
    }
    world.services.store.close().await;
}

/// The certificate that a listener shows.
async fn shown(address: std::net::SocketAddr) -> Vec<u8> {
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    let tls = crate::common::relay::any_certificate().connect(name, stream).await.unwrap();
    tls.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}
