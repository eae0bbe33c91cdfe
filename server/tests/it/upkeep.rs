//! Time: sessions, invitations and pending sign-ins expire, grants are renewed, administrators are notified.

use crate::common::{Browser, Database, PASSWORD, Seat, World, location};
use app::model::{DeliveryState, MailboxState};
use server::clock::Clock;
use server::store::Page;

const HOUR: i64 = 60 * 60 * 1000;
const DAY: i64 = 24 * HOUR;

/// A harness with a movable clock.
async fn world(database: &Database, settings: &[(&'static str, String)]) -> World {
    let clock = Clock::manual(Clock::system().now());
    World::start_with(database, clock, settings).await
}

async fn is_in(browser: &Browser, world: &World) -> bool {
    browser.get(&world.url("demo", "/")).await.status() == 200
}

#[tokio::test]
async fn a_session_ends_after_12_idle_hours_and_after_7_days_in_any_case() {
    for database in Database::both().await {
        let world = world(&database, &[]).await;
        let browser = Browser::new(&world);
        browser.sign_in(&world, "demo", "user@demo.example").await;
        for _ in 0..3 {
            world.clock.advance_ms(11 * HOUR);
            assert!(is_in(&browser, &world).await, "a use renews it");
        }
        world.clock.advance_ms(12 * HOUR + 61_000);
        assert!(!is_in(&browser, &world).await, "idle for 12 hours");

        browser.sign_in(&world, "demo", "user@demo.example").await;
        for _ in 0..16 {
            world.clock.advance_ms(10 * HOUR);
            assert!(is_in(&browser, &world).await);
        }
        world.clock.advance_ms(9 * HOUR);
        assert!(!is_in(&browser, &world).await, "169 hours, though it was used all the time");
        world.services.store.close().await;
    }
}

#[tokio::test]
async fn a_session_ends_at_sign_out_and_is_another_after_sign_in() {
    let database = Database::sqlite();
    let world = world(&database, &[]).await;
    let session = async |browser: &Browser| {
        let fields = [("email", "user@demo.example"), ("password", PASSWORD)];
        let answer = browser.post(&world.url("demo", "/api/sign_in"), &fields).await;
        answer.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned()
    };
    let with = async |cookie: &str| {
        let stranger = Browser::new(&world);
        let asked = stranger.http.get(world.url("demo", "/")).header("accept", "text/html").header("cookie", cookie);
        asked.send().await.unwrap().status() == 200
    };
    let browser = Browser::new(&world);
    let first = session(&browser).await;
    assert!(with(&first).await);
    let second = session(&browser).await;
    assert_ne!(first, second);
    assert!(with(&second).await, "{second}");
    assert!(!with(&first).await, "renewed: the one before ended");
    browser.post(&world.url("demo", "/api/sign_out"), &[]).await;
    assert!(!with(&second).await);
}

#[tokio::test]
async fn an_invitation_works_for_72_hours_and_a_new_password_ends_sessions() {
    let database = Database::sqlite();
    let world = world(&database, &[]).await;
    let admin = Browser::new(&world);
    admin.sign_in(&world, "demo", "admin@demo.example").await;
    let user = Browser::new(&world);
    user.sign_in(&world, "demo", "user@demo.example").await;
    let institution = world.services.store.institution_by_slug("demo").await.unwrap().unwrap().id;
    let who = world.services.store.user_by_address(institution, "user@demo.example").await.unwrap().unwrap().id;
    let link = async || {
        admin.post(&world.url("demo", "/api/renew_invitation"), &[("user", &who.to_string())]).await;
        let page = admin.get(&world.url("demo", "/institution/users")).await.text().await.unwrap();
        let rest = page.split("/invitation/").nth(1).unwrap().to_owned();
        rest.chars().take_while(|c| c.is_ascii_alphanumeric() || "-_".contains(*c)).collect::<String>()
    };
    let token = link().await;
    world.clock.advance_ms(8 * HOUR);
    assert!(is_in(&user, &world).await && is_in(&admin, &world).await);
    let fields = |token: &str| {
        vec![
            ("token".to_owned(), token.to_owned()),
            ("password".into(), "another good password".into()),
            ("repeated".into(), "another good password".into()),
        ]
    };
    let accept = async |token: &str| {
        let owned = fields(token);
        let fields: Vec<(&str, &str)> = owned.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        location(&Browser::new(&world).post(&world.url("demo", "/api/accept_invitation"), &fields).await)
    };
    assert_eq!(accept(&token).await, "/");
    assert!(!is_in(&user, &world).await, "the old password's session ended");

    let late = link().await;
    world.clock.advance_ms(72 * HOUR + 1);
    assert!(accept(&late).await.starts_with("/invitation/"), "too late");
}

#[tokio::test]
async fn https_makes_cookies_secure_and_the_policy_is_strict() {
    let database = Database::sqlite();
    let https = [("ENTREPOST_PUBLIC_URL", "https://{institution}.localhost".to_owned())];
    let world = world(&database, &https).await;
    let browser = Browser::new(&world);
    let answer = browser
        .http
        .post(world.url("demo", "/api/sign_in"))
        .header("accept", "text/html")
        .header("origin", "https://demo.localhost")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(format!("email=user%40demo.example&password={}", PASSWORD.replace(' ', "+")))
        .send()
        .await
        .unwrap();
    let cookie = answer.headers()["set-cookie"].to_str().unwrap();
    assert!(cookie.starts_with("__Host-entrepost_session="), "{cookie}");
    for part in ["; HttpOnly", "; SameSite=Lax", "; Path=/", "; Secure"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    let page = browser.get(&world.url("demo", "/login")).await;
    let header = |name: &str| page.headers()[name].to_str().unwrap().to_owned();
    let policy = header("content-security-policy");
    for part in ["default-src", "'nonce-", "form-action 'self'", "frame-ancestors 'none'", "base-uri 'none'"] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe-inline"), "{policy}");
    assert_eq!(header("referrer-policy"), "same-origin");
    assert_eq!(header("x-content-type-options"), "nosniff");
    assert_eq!(header("x-frame-options"), "DENY");
    assert!(header("strict-transport-security").starts_with("max-age="));
    let other = browser.get(&world.url("demo", "/login")).await;
    assert_ne!(
        other.headers()["content-security-policy"].to_str().unwrap(),
        policy,
        "each page has a nonce of its own"
    );
    // Other responses have the headers too.
    for path in ["/healthz", "/pkg/missing.js"] {
        let answer = browser.get(&world.url("demo", path)).await;
        assert!(answer.headers()["content-security-policy"].to_str().unwrap().contains("default-src 'none'"), "{path}");
    }
}

#[tokio::test]
async fn a_grant_that_nobody_uses_is_renewed_every_week() {
    for database in Database::both().await {
        let world = world(&database, &[]).await;
        let seat = world.seat("user@demo.example").await;
        let grant = async || {
            let mailbox = world.services.store.mailbox(seat.key()).await.unwrap().unwrap();
            mailbox.refresh_token_sealed
        };
        let first = grant().await;
        world.services.sweep_once().await.unwrap();
        assert_eq!(grant().await, first, "not yet");
        world.clock.advance_ms(7 * DAY + 1);
        world.services.sweep_once().await.unwrap();
        let second = grant().await;
        assert_ne!(second, first, "renewed, and the rotated token is stored");
        world.services.sweep_once().await.unwrap();
        assert_eq!(grant().await, second, "once");
        // Entra is down: retried soon, and the grant is kept.
        world.clock.advance_ms(7 * DAY + 1);
        world.sandbox.world().faults = sandbox::Faults { unavailable: true, ..sandbox::Faults::default() };
        world.services.sweep_once().await.unwrap();
        assert_eq!(grant().await, second);
        world.sandbox.world().faults = sandbox::Faults::default();
        world.clock.advance_ms(6 * HOUR + 1);
        world.services.sweep_once().await.unwrap();
        assert_ne!(grant().await, second);
        world.services.store.close().await;
    }
}

/// Sweeps and sends.
async fn goes_on(world: &World) {
    for _ in 0..3 {
        world.services.sweep_once().await.unwrap();
        while world.services.outbox.run_once().await.unwrap() > 0 {}
    }
}

/// What someone got.
fn mails_to(world: &World, address: &str) -> Vec<String> {
    let world = world.sandbox.world();
    let mails = world.mails().into_iter().filter(|(to, ..)| to == address);
    mails.map(|(_, _, mail)| String::from_utf8_lossy(&mail.raw).into_owned()).collect()
}

#[tokio::test]
async fn owners_are_told_of_their_mailbox_and_administrators_once_a_day() {
    for database in Database::both().await {
        let world = world(&database, &[]).await;
        // Six in the morning of a day on which nobody is new.
        world.clock.advance_ms(2 * DAY - world.clock.now().0.rem_euclid(DAY) + 6 * HOUR);
        let mut seats = Vec::new();
        for number in 0..5 {
            seats.push(world.newcomer(&format!("m{number}@demo.example")).await);
        }
        world.clock.advance_ms(8 * DAY);
        goes_on(&world).await;
        assert!(mails_to(&world, "admin@demo.example").is_empty(), "nothing to say");
        for seat in &seats {
            let fault = server::diagnosis::Fault::new("grant_revoked", world.clock.now(), &[]);
            let (key, now) = (seat.key(), world.clock.now());
            world
                .services
                .store
                .set_mailbox_state(key, MailboxState::NeedsReconnect, Some(&fault), None, now)
                .await
                .unwrap();
        }
        world.clock.advance_ms(DAY);
        goes_on(&world).await;
        let daily = mails_to(&world, "admin@demo.example");
        assert_eq!(daily.len(), 1, "one email, not five: {daily:?}");
        assert!(daily[0].contains("Subject: 5 mailboxes need attention"), "{}", daily[0]);
        assert!(daily[0].contains("From: notifications@demo.mail.localhost"));
        for number in 0..5 {
            let mine = mails_to(&world, &format!("m{number}@demo.example"));
            assert_eq!(mine.len(), 1, "{mine:?}");
            assert!(mine[0].contains(&format!("Subject: Entrepost can't use m{number}@demo.example")), "{}", mine[0]);
        }
        // The same on the next day: known. After a week it is said again.
        world.clock.advance_ms(DAY);
        goes_on(&world).await;
        assert_eq!(mails_to(&world, "admin@demo.example").len(), 1);
        world.clock.advance_ms(6 * DAY);
        goes_on(&world).await;
        assert_eq!(mails_to(&world, "admin@demo.example").len(), 2);
        // Another one: said on the same day to its owner, on the next to administrators, with the command for the new person.
        let other = world.newcomer("new@demo.example").await;
        let fault = server::diagnosis::Fault::new("smtp_auth_mailbox", world.clock.now(), &[]);
        let now = world.clock.now();
        let later = Some(now.plus_ms(30 * DAY));
        world
            .services
            .store
            .set_mailbox_state(other.key(), MailboxState::Blocked, Some(&fault), later, now)
            .await
            .unwrap();
        goes_on(&world).await;
        assert!(mails_to(&world, "new@demo.example").is_empty(), "the hourly test may still pass");
        world.clock.advance_ms(2 * HOUR);
        goes_on(&world).await;
        assert_eq!(mails_to(&world, "new@demo.example").len(), 1);
        assert_eq!(mails_to(&world, "admin@demo.example").len(), 2);
        world.clock.advance_ms(DAY - 2 * HOUR);
        goes_on(&world).await;
        let daily = mails_to(&world, "admin@demo.example");
        assert_eq!(daily.len(), 3);
        let new = daily.iter().map(|mail| mail.replace("=\r\n", "")).find(|mail| mail.contains("Subject: 6 mailboxes"));
        let new = new.unwrap_or_else(|| panic!("{daily:?}"));
        assert!(
            new.contains("New since the last of these emails: 1 person") && new.contains("Set-CASMailbox"),
            "{new}"
        );
        // Nothing ran over a weekend: the one who came then is told of on Monday.
        world.newcomer("saturday@demo.example").await;
        world.clock.advance_ms(3 * DAY);
        goes_on(&world).await;
        let daily = mails_to(&world, "admin@demo.example");
        let told = daily.iter().filter(|mail| mail.replace("=\r\n", "").contains("-Identity saturday@demo.example"));
        assert_eq!((daily.len(), told.count()), (4, 1), "{daily:?}");
        world.services.store.close().await;
    }
}

#[tokio::test]
async fn what_stops_everyone_is_one_email_and_no_owner_is_told() {
    let database = Database::sqlite();
    let world = world(&database, &[]).await;
    let seats = [world.newcomer("m0@demo.example").await, world.newcomer("m1@demo.example").await];
    world.sandbox.world().faults.secret_expired = true;
    for seat in &seats {
        let mailbox = world.services.store.mailbox(seat.key()).await.unwrap().unwrap();
        world.services.tokens.forget(seat.mailbox);
        assert!(world.services.tokens.prove(&mailbox).await.is_err());
    }
    goes_on(&world).await;
    let told = mails_to(&world, "admin@demo.example");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("Subject: Email is stopped: The Client Secret has expired"), "{}", told[0]);
    assert!(mails_to(&world, "m0@demo.example").is_empty());
}

#[tokio::test]
async fn without_a_relay_nothing_is_queued_and_the_pages_say_so() {
    let database = Database::sqlite();
    let none = [("ENTREPOST_SYSTEM_SMTP_URL", String::new())];
    let world = world(&database, &none).await;
    let admin = Browser::new(&world);
    admin.sign_in(&world, "demo", "admin@demo.example").await;
    let home = admin.get(&world.url("demo", "/")).await.text().await.unwrap();
    assert!(home.contains("Notifications can't be sent."));
    admin.post(&world.url("demo", "/api/invite"), &[("email", "new@demo.example"), ("role", "user")]).await;
    let page = admin.get(&world.url("demo", "/institution/users")).await.text().await.unwrap();
    assert!(page.contains("This server can't send email") && page.contains("/invitation/"));
    let config = admin.get(&world.url("demo", "/institution/config/general/email")).await.text().await.unwrap();
    assert!(config.contains("Notifications can't be sent."));
    assert_eq!(world.services.outbox.run_once().await.unwrap(), 0);
}

/// Makes the seat's mailbox the notification mailbox, with a custom From address.
async fn notify_from(world: &World, seat: &Seat, address: &str) {
    let store = &world.services.store;
    let mut settings = store.email_settings(seat.institution).await.unwrap();
    (settings.custom_from, settings.custom_from_address) = (true, address.into());
    settings.notification_mailbox = Some(seat.mailbox);
    let mut tx = store.begin().await.unwrap();
    store.put_email_settings(&mut tx, seat.institution, &settings, world.clock.now()).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn a_failing_notification_mailbox_is_named_and_the_relay_steps_in() {
    let database = Database::sqlite();
    let world = world(&database, &[]).await;
    let seat = world.seat("user@demo.example").await;
    notify_from(&world, &seat, "user@demo.example").await;
    let admin = Browser::new(&world);
    admin.sign_in(&world, "demo", "admin@demo.example").await;
    let invite = async |address: &str| {
        admin.post(&world.url("demo", "/api/invite"), &[("email", address), ("role", "user")]).await;
        admin.get(&world.url("demo", "/institution/users")).await;
        world.services.outbox.run_once().await.unwrap();
        let world = world.sandbox.world();
        let mails = world.mails();
        let found =
            mails.iter().find(|(_, _, mail)| String::from_utf8_lossy(&mail.raw).contains(&format!("To: {address}")));
        found.map(|(_, _, mail)| String::from_utf8_lossy(&mail.raw).into_owned()).expect("it arrived")
    };
    assert!(invite("other@demo.example").await.contains("From: user@demo.example"));
    world.sandbox.world().faults =
        sandbox::Faults { smtp_auth: sandbox::SmtpAuthSwitch::Mailbox, ..sandbox::Faults::default() };
    assert!(invite("office.manager@demo.example").await.contains("From: notifications@demo.mail.localhost"));
    let home = admin.get(&world.url("demo", "/")).await.text().await.unwrap();
    assert!(home.contains("The notification mailbox doesn't work.") && home.contains("5.7.139"), "{home}");
    world.sandbox.world().faults = sandbox::Faults::default();
    assert!(invite("noreply@demo.example").await.contains("From: user@demo.example"));
    let home = admin.get(&world.url("demo", "/")).await.text().await.unwrap();
    assert!(!home.contains("The notification mailbox doesn't work."), "it works again");
}

#[tokio::test]
async fn notifications_that_waited_leave_when_their_mailbox_passes_its_test() {
    let database = Database::sqlite();
    let world = world(&database, &[("ENTREPOST_SYSTEM_SMTP_URL", String::new())]).await;
    let seat = world.seat("admin@demo.example").await;
    notify_from(&world, &seat, "noreply@demo.example").await;
    let admin = Browser::new(&world);
    admin.sign_in(&world, "demo", "admin@demo.example").await;
    world.sandbox.world().faults.smtp_auth = sandbox::SmtpAuthSwitch::Mailbox;
    let invited = [("email", "other@demo.example"), ("role", "user")];
    admin.post(&world.url("demo", "/api/invite"), &invited).await;
    assert_eq!(world.services.outbox.run_once().await.unwrap(), 1);
    assert_eq!(world.services.outbox.run_once().await.unwrap(), 0, "it rests");
    world.sandbox.world().faults.smtp_auth = sandbox::SmtpAuthSwitch::On;
    let mailbox = seat.mailbox.to_string();
    let begun = admin.post(&world.url("demo", "/api/test_pair"), &[("mailbox", &mailbox)]).await;
    let attempt = crate::common::location(&begun);
    let id = attempt.rsplit('/').next().unwrap();
    admin.post(&world.url("demo", "/api/run_checks"), &[("attempt", id)]).await;
    // The stream ends with the attempt.
    admin.get(&world.url("demo", &format!("/events/attempts/{id}"))).await.text().await.unwrap();
    assert_eq!(world.services.outbox.run_once().await.unwrap(), 1, "{attempt}");
    let world = world.sandbox.world();
    let arrived = world.mails().iter().any(|(to, folder, mail)| {
        to == "other@demo.example"
            && folder == "INBOX"
            && String::from_utf8_lossy(&mail.raw).contains("From: noreply@demo.example")
    });
    assert!(arrived);
}

#[tokio::test]
async fn every_reply_of_the_table_has_its_cause() {
    let database = Database::sqlite();
    let world = world(&database, &[]).await;
    let seat = world.seat("user@demo.example").await;
    for (reply, cause, state) in [
        ("432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded", "smtp_throttled", DeliveryState::Deferred),
        ("530 5.7.57 Client not authenticated to send mail", "smtp_token_refused", DeliveryState::Failed),
        ("550 5.1.8 Access denied, bad outbound sender", "smtp_sender_blocked", DeliveryState::Failed),
        ("550 5.7.501 Access denied, spam abuse detected", "smtp_sender_blocked", DeliveryState::Failed),
        (
            "554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException",
            "smtp_daily_limit",
            DeliveryState::Deferred,
        ),
        ("550 5.7.233 Tenant exceeded its daily external limit", "smtp_tenant_limit", DeliveryState::Deferred),
        ("550 5.7.236 onmicrosoft.com", "smtp_onmicrosoft", DeliveryState::Failed),
        ("550 5.7.705 Access denied, tenant has exceeded threshold", "smtp_tenant_blocked", DeliveryState::Failed),
        ("550 5.7.708 Access denied, traffic not accepted from this IP", "smtp_tenant_blocked", DeliveryState::Failed),
        ("552 5.2.2 Mailbox full", "mailbox_full", DeliveryState::Failed),
        ("552 5.3.4 Message size exceeds fixed limit", "message_too_large", DeliveryState::Failed),
        ("550 5.1.90 Your message can't be sent: daily limit", "smtp_daily_limit", DeliveryState::Deferred),
        ("554 5.2.252 SendAsDenied; user not allowed to send as", "send_as_denied", DeliveryState::Failed),
        ("550 5.7.60 SMTP; Client does not have permissions to send as", "send_as_denied", DeliveryState::Failed),
        ("550 5.7.68 Direct Send not allowed", "direct_send", DeliveryState::Failed),
        ("550 5.7.1 refused by rule 5.7.3", "smtp_refused", DeliveryState::Failed),
    ] {
        world.sandbox.world().faults = sandbox::Faults { smtp_reply: reply.into(), ..sandbox::Faults::default() };
        world
            .services
            .store
            .resume_queue(&server::store::SendQueue::of_mailbox(seat.key()), world.clock.now())
            .await
            .unwrap();
        world.clock.advance_ms(1000);
        world.queue(&seat, 1, "other@demo.example", world.clock.now()).await;
        world.services.outbox.run_once().await.unwrap();
        let newest = world.services.store.deliveries_of(seat.institution, seat.user, Page::newest(1)).await.unwrap();
        assert_eq!(newest[0].state, state, "{reply}");
        assert!(newest[0].fault.as_ref().unwrap().cause.contains(cause), "{reply}: {:?}", newest[0].fault);
        assert!(newest[0].answer.contains(&reply[4..]), "{reply}");
        world
            .services
            .store
            .cancel_delivery(seat.institution, seat.user, newest[0].id, world.clock.now())
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn guesses_are_stopped_where_they_come_from_and_nobody_is_locked_out() {
    let database = Database::sqlite();
    let proxied = [("ENTREPOST_CLIENT_ADDRESS_HEADER", "X-Forwarded-For".to_owned())];
    let world = world(&database, &proxied).await;
    let browser = Browser::new(&world);
    // The proxy appends the address it sees; earlier entries come from the client.
    let sign_in = async |number: usize, from: &str, address: &str, password: &str| {
        let body = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("email", address), ("password", password)])
            .finish();
        let answer = browser
            .http
            .post(world.url("demo", "/api/sign_in"))
            .header("accept", "text/html")
            .header("origin", world.url("demo", "").trim_end_matches('/'))
            .header("x-forwarded-for", format!("198.51.100.{number}, {from}"))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body)
            .send()
            .await
            .unwrap();
        if location(&answer) == "/" {
            return "in".to_owned();
        }
        browser.get(&world.url("demo", "/login")).await.text().await.unwrap()
    };
    // Eight failures of an account from a network: the ninth is refused, even with the right password.
    for number in 0..8 {
        let page = sign_in(number, "203.0.113.7:5123", "user@demo.example", "wrong").await;
        assert!(page.contains("Wrong email or password."), "try {number}");
    }
    let stopped = sign_in(9, "203.0.113.7", "user@demo.example", PASSWORD).await;
    assert!(stopped.contains("Too many attempts."), "with the right password too");
    // No one else is blocked: from other networks, or colleagues on the same one.
    assert_eq!(sign_in(10, "203.0.113.8", "user@demo.example", PASSWORD).await, "in", "the neighbour is not stopped");
    assert_eq!(sign_in(11, "203.0.113.7", "admin@demo.example", PASSWORD).await, "in", "nor is a colleague");
    // A browser the administrator has used has its own count, on any network.
    for number in 0..9 {
        sign_in(number, "203.0.113.9", "admin@demo.example", "wrong").await;
    }
    assert_eq!(sign_in(12, "203.0.113.9", "admin@demo.example", PASSWORD).await, "in", "a known browser");
    // It counts as known for that account only.
    for number in 0..8 {
        sign_in(number, "203.0.113.9", "user@demo.example", "wrong").await;
    }
    assert_ne!(sign_in(8, "203.0.113.9", "user@demo.example", PASSWORD).await, "in", "with the right password too");
    // A network with many failures is slowed down, but right passwords work.
    let institution = world.services.store.institution_by_slug("demo").await.unwrap().unwrap().id;
    let now = world.clock.now();
    for _ in 0..61 {
        world.services.guesses.count(&format!("network:{institution}:203.0.113.20"), now, now);
    }
    let stranger = Browser::new(&world);
    let began = std::time::Instant::now();
    let fields = [("email", "user@demo.example"), ("password", PASSWORD)];
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let asked = stranger.http.post(world.url("demo", "/api/sign_in")).header("accept", "text/html");
    let asked = asked.header("origin", world.url("demo", "").trim_end_matches('/'));
    let asked =
        asked.header("x-forwarded-for", "203.0.113.20").header("content-type", "application/x-www-form-urlencoded");
    assert_eq!(location(&asked.body(body).send().await.unwrap()), "/", "a right password is right");
    assert!(began.elapsed() >= std::time::Duration::from_secs(1), "it waited: {:?}", began.elapsed());
    // An account has a daily limit of failures over all networks.
    let account = server::clock::sha256("user@demo.example");
    for _ in 0..300 {
        let day = format!("day:{institution}:{account}");
        world.services.store.count_sign_in(&day, now, now.plus_ms(-24 * 60 * 60 * 1000)).await.unwrap();
    }
    assert_ne!(sign_in(9, "203.0.113.30", "user@demo.example", PASSWORD).await, "in", "more than 300 in a day");
    world.clock.advance_ms(24 * 60 * 60 * 1000 + 1);
    assert_eq!(sign_in(63, "203.0.113.7", "user@demo.example", PASSWORD).await, "in", "nor anybody for long");
}
