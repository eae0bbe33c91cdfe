//! What the relay refuses: open relays in every form, smuggling, injection, guesses, foreign senders, loops, floods.

use std::time::Duration;

use app::model::RelayEvent;
use rand::{Rng, SeedableRng};
use server::clock::Clock;

use crate::common::relay::{Client, RelayWorld, base64, plain};
use crate::common::{Browser, Database};

const CONTENT: &str = "Subject: Scan\r\n\r\nPage 1\r\n";

async fn queued(world: &RelayWorld) -> i64 {
    world.services.store.queued_at(world.institution, i64::MAX).await.unwrap().count
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_sends_without_signing_in() {
    let database = Database::sqlite();
    let world = RelayWorld::start(&database).await;
    world.device("Copier", &[]).await;
    for secured in [false, true] {
        let mut client =
            if secured { Client::connect_tls(world.bound.tls.unwrap()).await } else { world.client().await };
        client.expect("EHLO x", "250").await;
        client.expect("RCPT TO:<admin@demo.example>", "503").await;
        client.expect("DATA", "503").await;
        for from in ["<>", "<user@demo.example>", "<postmaster>", "<root@localhost>", "user@demo.example"] {
            client.expect(&format!("MAIL FROM:{from}"), "530").await;
        }
        client.expect("RCPT TO:<someone@far.example>", "503").await;
    }
    assert_eq!(queued(&world).await, 0);
    world.services.store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_writes_only_to_whom_it_may() {
    let database = Database::sqlite();
    let world = RelayWorld::start(&database).await;
    let own = world.device("Own", &[]).await;
    let listed =
        world.device("Listed", &[("recipients", "listed"), ("recipient_list", "far.example\nann@other.example")]).await;
    let anywhere = world.device("Anywhere", &[("recipients", "anywhere")]).await;
    for (device, allowed) in
        [(&own, [true, false, false, false]), (&listed, [true, true, true, false]), (&anywhere, [true; 4])]
    {
        let mut client = world.signed_in(device).await;
        client.expect("MAIL FROM:<x@old.example>", "250").await;
        let addresses = ["b@DEMO.example", "b@far.example", "Ann@other.example", "bob@other.example"];
        for (address, allowed) in addresses.iter().zip(allowed) {
            let reply = if allowed { "250" } else { "550 5.7.1" };
            client.expect(&format!("RCPT TO:<{address}>"), reply).await;
        }
        // Old tricks to have a server pass mail on.
        for trick in ["b%far.example@demo.example", "\"b@far.example\"@demo.example", "far.example!b@demo.example"] {
            let answer = client.say(&format!("RCPT TO:<{trick}>")).await;
            assert!(answer.starts_with("250") || answer.starts_with('5'), "{answer}");
        }
        for wrong in [
            "<@demo.example:b@evil.example>",
            "<b@far.example@demo.example>",
            "<b@[127.0.0.1]>",
            "<\"\r\"@demo.example>",
        ] {
            let answer = client.say(&format!("RCPT TO:{wrong}")).await;
            assert!(answer.starts_with('5') || device.id == anywhere.id, "{wrong}: {answer}");
        }
    }
    world.logged(Some(&own), |event| *event == RelayEvent::RecipientRefused { address: "b…@far.example".into() }).await;
    world.services.store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_smuggled_behind_a_message() {
    let database = Database::sqlite();
    let world = RelayWorld::start(&database).await;
    let device = world.device("Form", &[]).await;
    let mut client = world.signed_in(&device).await;
    let mut sent = 0;
    for end in ["\n.\n", "\n.\r\n", "\r.\r", "\r\n.\n", "\r\n.\r", "\r\n.\r\r\n", "\r\n\0.\r\n"] {
        let evil = format!(
            "Subject: one\r\n\r\ntext{end}MAIL FROM:<user@demo.example>\r\nRCPT TO:<other@demo.example>\r\nDATA\r\nSubject: smuggled\r\n\r\nevil"
        );
        let answer = client.send(&["admin@demo.example"], &evil).await;
        assert!(answer.starts_with("250"), "{end:?}: {answer}");
        sent += 1;
        assert_eq!(queued(&world).await, sent, "{end:?}");
    }
    world.deliver().await;
    assert_eq!(world.inbox("other@demo.example").len(), 0);
    assert_eq!(world.inbox("admin@demo.example").len(), 7);
    world.services.store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_injected_before_tls_is_never_run() {
    let database = Database::sqlite();
    let world = RelayWorld::start(&database).await;
    let device = world.device("Copier", &[]).await;
    // Commands in the same packet as STARTTLS.
    let mut client = world.client().await;
    client.expect("EHLO x", "250").await;
    let injected =
        format!("STARTTLS\r\nAUTH PLAIN {}\r\nMAIL FROM:<x@x.example>\r\n", plain(&device.login, &device.password));
    client.write(injected.as_bytes()).await;
    let answer = client.reply().await;
    assert!(answer.starts_with("501"), "{answer}");
    assert!(client.is_closed().await);
    // What was said before does not count after.
    let mut client = world.client().await;
    client.expect("EHLO x", "250").await;
    client.expect("STARTTLS", "220").await;
    client.secure().await;
    client.expect("MAIL FROM:<x@x.example>", "530").await;
    assert_eq!(queued(&world).await, 0);
    world.services.store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_are_slowed_and_told() {
    let database = Database::sqlite();
    let clock = Clock::manual(Clock::system().now());
    let world = RelayWorld::start_with(&database, clock.clone(), &[]).await;
    let device = world.device("Scanner", &[]).await;
    let other = world.device("Other", &[]).await;
    let mut client = Client::connect_tls(world.bound.tls.unwrap()).await;
    client.expect("EHLO x", "250").await;
    let (wrong, unknown) = (plain(&device.login, "00000000000000000000"), plain("nobody@demo", "x"));
    let told = client.say(&format!("AUTH PLAIN {wrong}")).await;
    assert_eq!(told, client.say(&format!("AUTH PLAIN {unknown}")).await, "one text for both");
    // The password of another device of another name is none.
    client.expect(&format!("AUTH PLAIN {}", plain(&device.login, &other.password)), "535 5.7.8").await;
    client.expect(&format!("AUTH PLAIN {wrong}"), "421 4.7.0").await;
    assert!(client.is_closed().await);
    world.logged(Some(&device), |event| *event == RelayEvent::WrongPassword).await;
    assert!(world.page(&device).await.contains("wrong user name or password"));
    // Over connections: one address has twenty tries in fifteen minutes.
    for _ in 0..16 {
        let mut client = Client::connect_tls(world.bound.tls.unwrap()).await;
        client.expect("EHLO x", "250").await;
        client.expect(&format!("AUTH PLAIN {wrong}"), "535").await;
    }
    let mut client = Client::connect_tls(world.bound.tls.unwrap()).await;
    client.expect("EHLO x", "250").await;
    client.expect(&format!("AUTH PLAIN {wrong}"), "421").await;
    // The right password comes in: a scanner with an old one must not lock the others of a school out.
    world.signed_in(&device).await;
    clock.advance_ms(16 * 60 * 1000);
    let mut client = Client::connect_tls(world.bound.tls.unwrap()).await;
    client.expect("EHLO x", "250").await;
    client.expect(&format!("AUTH PLAIN {wrong}"), "535").await;
    // What was typed is in no line of the log.
    let all = format!("{:?} {:?}", world.log(Some(&device)).await, world.log(None).await);
    for hidden in ["0000000", "nobody", device.password.as_str(), other.password.as_str()] {
        assert!(!all.contains(hidden), "{hidden}: {all}");
    }
    world.services.store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_sender_is_refused_before_its_message() {
    let database = Database::sqlite();
    let world = RelayWorld::start(&database).await;
    let program = world.device("Library", &[("kind", "program")]).await;
    let mut client = world.signed_in(&program).await;
    client.expect("MAIL FROM:<head@demo.example>", "550 5.7.1").await;
    client.expect("MAIL FROM:<USER@demo.example>", "250").await;
    client.expect("RCPT TO:<admin@demo.example>", "250").await;
    client.expect("DATA", "354").await;
    client.write(b"From: Head <head@demo.example>\r\nSubject: s\r\n\r\ntext\r\n.\r\n").await;
    let answer = client.reply().await;
    assert!(answer.starts_with("550 5.7.1"), "{answer}");
    world
        .logged(Some(&program), |event| *event == RelayEvent::SenderRefused { address: "head@demo.example".into() })
        .await;
    assert_eq!(queued(&world).await, 0);
    let page = world.page(&program).await;
    assert!(page.contains("may not send as head@demo.example") && page.contains("change the sender rule"), "{page}");
    world.services.store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_is_withdrawn_ends_within_the_session() {
    for database in Database::both().await {
        let world = RelayWorld::start(&database).await;
        let device = world.device("Copier", &[]).await;
        let mut client = world.signed_in(&device).await;
        assert!(client.send(&["admin@demo.example"], CONTENT).await.starts_with("250"));
        world.press(&device, "renew_device_password", &[("ends", "now")]).await;
        let answer = client.send(&["other@demo.example"], CONTENT).await;
        assert!(answer.starts_with("550 5.7.1"), "{answer}");
        let mut again = Client::connect_tls(world.bound.tls.unwrap()).await;
        again.expect("EHLO x", "250").await;
        again.expect(&format!("AUTH PLAIN {}", plain(&device.login, &device.password)), "535").await;
        world.logged(Some(&device), |event| *event == RelayEvent::PasswordEnded).await;
        // Paused, and removed, in the middle of another session.
        let second = world.device("Second", &[]).await;
        let mut client = world.signed_in(&second).await;
        world.press(&second, "pause_device", &[("paused", "true")]).await;
        assert!(client.send(&["other@demo.example"], CONTENT).await.starts_with("550 5.7.1"));
        world.press(&second, "pause_device", &[("paused", "false")]).await;
        assert!(client.send(&["other@demo.example"], CONTENT).await.starts_with("250"));
        world.press(&second, "remove_device", &[]).await;
        assert!(client.send(&["admin@demo.example"], CONTENT).await.starts_with("550 5.7.1"));
        world.services.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_password_works_for_a_day_beside_the_new_one() {
    let database = Database::sqlite();
    let clock = Clock::manual(Clock::system().now());
    let world = RelayWorld::start_with(&database, clock.clone(), &[]).await;
    let device = world.device("Copier", &[("expires_on", "2999-01-01")]).await;
    world.press(&device, "renew_device_password", &[("ends", "day")]).await;
    world.signed_in(&device).await;
    clock.advance_ms(24 * 60 * 60 * 1000 + 1);
    let mut client = Client::connect_tls(world.bound.tls.unwrap()).await;
    client.expect("EHLO x", "250").await;
    client.expect(&format!("AUTH PLAIN {}", plain(&device.login, &device.password)), "535").await;
    world.services.store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_institutions_and_networks_are_kept_apart() {
    let database = Database::sqlite();
    let world = RelayWorld::start(&database).await;
    let device = world.device("Copier", &[("networks", "192.0.2.0/24")]).await;
    let mut client = Client::connect_tls(world.bound.tls.unwrap()).await;
    client.expect("EHLO x", "250").await;
    client.expect(&format!("AUTH PLAIN {}", plain(&device.login, &device.password)), "535").await;
    world.logged(Some(&device), |event| *event == RelayEvent::WrongNetwork).await;
    // Under the slug of another institution the password is none.
    let other = device.login.replace("@demo", "@second");
    client.expect(&format!("AUTH PLAIN {}", plain(&other, &device.password)), "535").await;
    // An administrator of another institution neither sees nor changes it.
    let foreign = Browser::new(&world);
    foreign.sign_in(&world, "second", "admin@demo.example").await;
    let page = foreign.get(&world.url("second", &format!("/institution/programs/{}", device.id))).await;
    assert_eq!(page.status(), 404);
    let id = device.id.to_string();
    for (action, more) in [
        ("pause_device", vec![("paused", "true")]),
        ("renew_device_password", vec![("ends", "now")]),
        ("remove_device", vec![]),
        ("send_device_test", vec![]),
    ] {
        let mut fields = vec![("device", id.as_str())];
        fields.extend(more);
        foreign.post(&world.url("second", &format!("/api/{action}")), &fields).await;
    }
    let change = [("id", id.as_str()), ("name", "Mine"), ("mailbox", "user@demo.example"), ("networks", "")];
    foreign.post(&world.url("second", "/api/save_device"), &change).await;
    let kept = world.services.store.device(world.institution, device.id).await.unwrap().unwrap();
    assert_eq!((kept.settings.name.as_str(), kept.paused), ("Copier", false));
    assert_eq!(kept.settings.networks, ["192.0.2.0/24"]);
    assert_eq!(queued(&world).await, 0);
    world.services.store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn loops_floods_and_copies_for_hundreds_are_bounded() {
    let database = Database::sqlite();
    let world = RelayWorld::start(&database).await;
    let device = world.device("Copier", &[("messages_per_hour", "3")]).await;
    let mut client = world.signed_in(&device).await;
    let circle = "Received: from x by y; z\r\n".repeat(51) + CONTENT;
    let answer = client.send(&["admin@demo.example"], &circle).await;
    assert!(answer.starts_with("554 5.4.6"), "{answer}");
    for number in 0..4 {
        let answer = client.send(&["admin@demo.example"], &CONTENT.replace('1', &number.to_string())).await;
        assert_eq!(answer.starts_with("250"), number < 3, "{answer}");
        assert!(number < 3 || answer.starts_with("451 4.7.1"), "{answer}");
    }
    world.logged(Some(&device), |event| *event == RelayEvent::TooManyMessages { limit: 3 }).await;
    // 500 recipients at most.
    client.expect("MAIL FROM:<>", "250").await;
    for number in 0..500 {
        client.expect(&format!("RCPT TO:<p{number}@demo.example>"), "250").await;
    }
    client.expect("RCPT TO:<last@demo.example>", "452 4.5.3").await;
    client.expect("RCPT TO:<p7@demo.example>", "250").await;
    world.logged(Some(&device), |event| *event == RelayEvent::TooManyRecipients { limit: 500 }).await;
    client.expect("RSET", "250").await;
    // Wrong commands end a session.
    for _ in 0..30 {
        if client.say("NONSENSE").await.starts_with("421") {
            assert!(client.is_closed().await);
            world.services.store.close().await;
            return;
        }
    }
    panic!("wrong commands have no end");
}

#[tokio::test(flavor = "multi_thread")]
async fn sizes_and_lines_are_bounded() {
    let database = Database::sqlite();
    let size = [("ENTREPOST_RELAY_MESSAGE_BYTES", "100000".to_owned())];
    let world = RelayWorld::start_with(&database, Clock::system(), &size).await;
    let device = world.device("Copier", &[]).await;
    let mut client = world.signed_in(&device).await;
    client.expect("MAIL FROM:<x@x.example> SIZE=100001", "552 5.3.4").await;
    client.expect("MAIL FROM:<x@x.example> SIZE=99999999999999999999999", "552 5.3.4").await;
    let long = "x".repeat(70) + "\r\n";
    let answer = client.send(&["admin@demo.example"], &format!("{CONTENT}{}", long.repeat(2_000))).await;
    assert!(answer.starts_with("552 5.3.4"), "{answer}");
    // The session goes on behind it.
    assert!(client.send(&["admin@demo.example"], CONTENT).await.starts_with("250"));
    client.expect(&format!("NOOP {}", "x".repeat(3_000)), "250").await;
    client.expect(&format!("NOOP {}", "x".repeat(20_000)), "500 5.5.6").await;
    client.expect("NOOP", "250").await;
    // AUTH lines may be longer.
    let mut fresh = Client::connect_tls(world.bound.tls.unwrap()).await;
    fresh.expect("EHLO x", "250").await;
    fresh.expect("AUTH PLAIN", "334").await;
    fresh.expect(&base64(&"x".repeat(9_000)), "501").await;
    assert_eq!(queued(&world).await, 1);
    world.logged(Some(&device), |event| *event == RelayEvent::TooLarge { limit: 100_000 }).await;
    world.services.store.close().await;
}

/// What all connections hold together is bounded, and given back.
#[tokio::test(flavor = "multi_thread")]
async fn messages_in_memory_are_bounded() {
    let database = Database::sqlite();
    let settings =
        [("ENTREPOST_RELAY_MESSAGE_BYTES", "100000".to_owned()), ("ENTREPOST_RELAY_MEMORY_BYTES", "200000".to_owned())];
    let world = RelayWorld::start_with(&database, Clock::system(), &settings).await;
    let device = world.device("Copier", &[]).await;
    let large = format!("{CONTENT}{}", ("x".repeat(70) + "\r\n").repeat(1_250));
    let mut holder = world.signed_in(&device).await;
    holder.expect("MAIL FROM:<>", "250").await;
    holder.expect("RCPT TO:<admin@demo.example>", "250").await;
    holder.expect("DATA", "354").await;
    holder.write(large.as_bytes()).await;
    let mut other = world.signed_in(&device).await;
    for _ in 0..100 {
        if refused(&mut other, &large).await {
            break;
        }
    }
    world.logged(Some(&device), |event| *event == RelayEvent::QueueFull).await;
    // A small one has room; and once the first has ended, so has the large one.
    assert!(other.send(&["other@demo.example"], CONTENT).await.starts_with("250"));
    holder.write(b"\r\n.\r\n").await;
    assert!(holder.reply().await.starts_with("250"));
    assert!(other.send(&["other@demo.example"], &large).await.starts_with("250"));
    world.services.store.close().await;
}

/// The holder's bytes may still be on their way.
async fn refused(client: &mut Client, content: &str) -> bool {
    client.send(&["other@demo.example"], content).await.starts_with("452 4.3.1")
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_bounded_and_what_is_no_mail_is_named() {
    let database = Database::sqlite();
    let few = [
        ("ENTREPOST_RELAY_CONNECTIONS_PER_ADDRESS", "3".to_owned()),
        ("ENTREPOST_RELAY_PLAIN_ALLOW", "127.0.0.1=demo".to_owned()),
    ];
    let world = RelayWorld::start_with(&database, Clock::system(), &few).await;
    let first = world.client().await;
    let others = (world.client().await, world.client().await);
    let mut fourth = Client::silent(world.bound.starttls.unwrap()).await;
    assert!(fourth.reply().await.starts_with("421 4.3.2"));
    drop(first);
    world
        .until(async || {
            let mut client = Client::silent(world.bound.starttls.unwrap()).await;
            client.reply().await.starts_with("220")
        })
        .await;
    world.logged(None, |event| *event == RelayEvent::Busy).await;
    drop(others);
    // TLS to the port that begins without, and the other way round.
    let mut client = Client::silent(world.bound.starttls.unwrap()).await;
    assert!(client.reply().await.starts_with("220"));
    client.write(&[0x16, 3, 1, 0, 5, 1, 0, 0, 1, 3]).await;
    assert!(client.is_closed().await);
    world.logged(None, |event| *event == RelayEvent::SpokeTls).await;
    let mut client = Client::silent(world.bound.tls.unwrap()).await;
    client.write(b"EHLO scanner\r\n").await;
    assert!(client.is_closed().await);
    world.logged(None, |event| *event == RelayEvent::SpokePlain).await;
    world.services.store.close().await;
}

/// Sessions at the same time pass no limit together.
#[tokio::test(flavor = "multi_thread")]
async fn many_sessions_of_a_device_have_one_limit() {
    for database in Database::both().await {
        let world = RelayWorld::start(&database).await;
        let device = world.device("Copier", &[("messages_per_hour", "5")]).await;
        let sending = (0..16).map(|number| {
            let (world, device) = (&world, &device);
            async move {
                let mut client = world.signed_in(device).await;
                let content = CONTENT.replace('1', &format!("n{number}"));
                client.send(&["admin@demo.example"], &content).await.starts_with("250")
            }
        });
        let taken = futures::future::join_all(sending).await.into_iter().filter(|taken| *taken).count();
        assert_eq!(taken, 5, "{:?}", world.services.store.backend());
        assert_eq!(queued(&world).await, 5);
        world.services.store.close().await;
    }
}

/// Commands that lead to nothing do not keep a connection.
#[tokio::test(flavor = "multi_thread")]
async fn commands_without_a_message_are_bounded() {
    let database = Database::sqlite();
    let world = RelayWorld::start(&database).await;
    let device = world.device("Copier", &[]).await;
    let mut client = world.signed_in(&device).await;
    let mut said = 0;
    let last = loop {
        let answer = client.say("NOOP").await;
        said += 1;
        if !answer.starts_with("250") {
            break answer;
        }
    };
    assert!(last.starts_with("421 4.7.0") && (900..=1_000).contains(&said), "{said}: {last}");
    assert!(client.is_closed().await);
    world.logged(Some(&device), |event| *event == RelayEvent::TooManyErrors).await;
    world.services.store.close().await;
}

/// Bytes that nobody chose: the relay answers, or closes, and takes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn anything_may_be_said_to_it() {
    let database = Database::sqlite();
    let many = [("ENTREPOST_RELAY_CONNECTIONS_PER_ADDRESS", "500".to_owned())];
    let world = RelayWorld::start_with(&database, Clock::system(), &many).await;
    let device = world.device("Copier", &[("messages_per_hour", "100000"), ("recipients", "anywhere")]).await;
    let pieces: [&[u8]; 26] = [
        b"EHLO x\r\n",
        b"HELO\r\n",
        b"MAIL FROM:<a@b.example>\r\n",
        b"RCPT TO:<admin@demo.example>\r\n",
        b"DATA\r\n",
        b".\r\n",
        b"\r\n.\r\n",
        b"RSET\r\n",
        b"NOOP\r\n",
        b"AUTH LOGIN\r\n",
        b"AUTH PLAIN =\r\n",
        b"*\r\n",
        b"\r\n",
        b"\n",
        b"\0",
        b"\xff\xfe",
        b"From: a@b <a@b>\r\n",
        b"<",
        b">",
        b"SIZE=1",
        b"VRFY\r\n",
        b"BDAT 3\r\nabc",
        b"STARTTLS",
        b"\x16\x03\x01",
        b"Subject: x\r\n\r\n",
        b" ",
    ];
    let mut random = rand::rngs::StdRng::seed_from_u64(15);
    for round in 0..200 {
        let mut client = if round % 2 == 0 { world.signed_in(&device).await } else { world.client().await };
        let mut said = Vec::new();
        for _ in 0..random.random_range(1..40) {
            said.extend_from_slice(pieces[random.random_range(0..pieces.len())]);
        }
        // The server may close in between.
        client.try_write(&said).await;
        client.reset();
    }
    // It is as it was.
    let mut client = world.signed_in(&device).await;
    assert!(client.send(&["admin@demo.example"], CONTENT).await.starts_with("250"));
    world.services.store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_tls_1_0_is_told_what_to_do() {
    let database = Database::sqlite();
    let world = RelayWorld::start(&database).await;
    let device = world.device("Old", &[("networks", "127.0.0.1")]).await;
    let port = world.bound.tls.unwrap().port();
    for (arguments, words) in [
        (vec!["-tls1", "-cipher", "DEFAULT:@SECLEVEL=0"], "offered TLS 1.0 only"),
        (vec!["-tls1_2", "-cipher", "AES128-SHA:@SECLEVEL=0"], "no encryption in common"),
    ] {
        let mut command = tokio::process::Command::new("openssl");
        command.args(["s_client", "-connect", &format!("127.0.0.1:{port}")]).args(&arguments);
        command
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null());
        let ended = tokio::time::timeout(Duration::from_secs(20), command.status()).await;
        assert!(!ended.expect("openssl ends").unwrap().success(), "{arguments:?}");
        world.until(async || world.page(&device).await.contains(words)).await;
        assert!(world.page(&device).await.contains("Look for newer firmware"));
    }
    world.services.store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_trust_the_certificate_is_told_so() {
    let database = Database::sqlite();
    let world = RelayWorld::start(&database).await;
    let device = world.device("Careful", &[("networks", "127.0.0.1")]).await;
    let config =
        rustls::ClientConfig::builder_with_provider(std::sync::Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() })
            .with_no_client_auth();
    let tcp = tokio::net::TcpStream::connect(world.bound.tls.unwrap()).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    assert!(connector.connect(name, tcp).await.is_err());
    world.logged(Some(&device), |event| *event == RelayEvent::CertificateRefused).await;
    assert!(world.page(&device).await.contains("does not trust the certificate"));
    world.services.store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_people_of_the_institution_are_told_of_failures() {
    let database = Database::sqlite();
    let world = RelayWorld::start(&database).await;
    // A contact elsewhere is refused.
    let fields = [("name", "X"), ("mailbox", "user@demo.example"), ("contact", "boss@elsewhere.example")];
    let answer = world.admin.post(&world.url("demo", "/api/save_device"), &fields).await;
    let page = world.admin.get(&world.url("demo", &crate::common::location(&answer))).await.text().await.unwrap();
    assert!(page.contains("Enter an address of your institution"), "{page}");
    let device = world.device("Copier", &[("contact", "other@demo.example")]).await;
    world.sandbox.world().faults.smtp_reply = "554 5.2.2 mailbox full: jane.doe@demo.example".into();
    let mut client = world.signed_in(&device).await;
    for number in 0..3 {
        assert!(
            client.send(&["admin@demo.example"], &CONTENT.replace('1', &number.to_string())).await.starts_with("250")
        );
    }
    world.deliver().await;
    world.sandbox.world().faults.smtp_reply = String::new();
    for _ in 0..2 {
        world.services.sweep_once().await.unwrap();
    }
    world.deliver().await;
    let told = world.inbox("other@demo.example");
    assert_eq!(told.len(), 1, "one notice for a cause and day: {told:?}");
    assert!(told[0].contains("Copier") && !told[0].contains("jane.doe"), "{}", told[0]);
    // What a device sent is deleted with its failure.
    for delivery in world.services.store.deliveries_of_device(world.institution, device.id, 10).await.unwrap() {
        assert_eq!(delivery.body_sealed, "");
    }
    world.services.store.close().await;
}
