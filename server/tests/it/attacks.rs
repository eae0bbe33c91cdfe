//! Attempts without permission, signed in or not: they change nothing and use bounded resources.

use server::store::MailboxKey;
use std::time::{Duration, Instant};

use crate::common::{Browser, Captured, Database, World, location, session_cookie};
use sqlx::{Connection, Row};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn count(database: &Database, table: &str) -> i64 {
    let mut connection = sqlx::AnyConnection::connect(&database.url).await.unwrap();
    let statement = format!("SELECT COUNT(*) FROM {table}");
    sqlx::query(sqlx::AssertSqlSafe(statement)).fetch_one(&mut connection).await.unwrap().get(0)
}

/// A raw request: headers and the start of a body.
async fn begin(world: &World, path: &str, headers: &str, length: usize, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", world.port)).await.unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: demo.localhost:{}\r\nOrigin: {}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {length}\r\nConnection: close\r\n{headers}\r\n{body}",
        world.port,
        world.url("demo", "").trim_end_matches('/'),
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

async fn answer(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut bytes)).await;
    let _ = read.expect("it answers");
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn strangers_make_no_rows_and_what_they_typed_stays_small() {
    let database = Database::sqlite();
    let world = World::start(&database).await;
    let browser = Browser::new(&world);
    let long = "x".repeat(250_000);
    let refused = browser.post(&world.url("demo", "/api/sign_in"), &[("email", &long), ("password", "y")]).await;
    assert_eq!(refused.status().as_u16(), 413);
    let long = "x".repeat(10_000);
    for (email, password) in [("nobody@demo.example", "wrong"), (&long, "wrong"), ("user@demo.example", &long[..5_000])]
    {
        let refused =
            browser.post(&world.url("demo", "/api/sign_in"), &[("email", email), ("password", password)]).await;
        assert_eq!(location(&refused), "/login");
        let cookie = refused.headers().get("set-cookie").unwrap().to_str().unwrap().to_owned();
        assert!(cookie.len() < 1_200 && cookie.contains("HttpOnly") && !cookie.contains(password), "{}", cookie.len());
        let page = browser.get(&world.url("demo", "/login")).await.text().await.unwrap();
        assert!(page.contains("Wrong email or password."), "{page}");
        let again = browser.get(&world.url("demo", "/login")).await.text().await.unwrap();
        assert!(!again.contains("Wrong email or password."), "it is shown once");
    }
    // A response of one institution is invalid at another.
    let other = browser.get(&world.url("second", "/login")).await.text().await.unwrap();
    assert!(!other.contains("Wrong email or password."));
    for path in ["/api/invite", "/api/act_on_mail", "/api/configure_and_test"] {
        assert_eq!(location(&browser.post(&world.url("demo", path), &[("email", "x")]).await), "/login");
    }
    assert_eq!(count(&database, "flashes").await, 0, "strangers made rows");
    // Invented addresses and links store no rows, but for those of the log, which are bounded.
    let before = without_log(rows(&database).await);
    for number in 0..8 {
        let email = format!("nobody{number}@demo.example");
        browser.post(&world.url("demo", "/api/sign_in"), &[("email", email.as_str()), ("password", "wrong")]).await;
        let fields = [("token", email.as_str()), ("password", "a very new secret"), ("repeated", "a very new secret")];
        browser.post(&world.url("demo", "/api/accept_invitation"), &fields).await;
        browser.get(&world.url("demo", &format!("/login?next=/{number}"))).await;
        browser.get(&world.url("demo", &format!("/oauth/callback?state={number}&code=x"))).await;
    }
    assert_eq!(without_log(rows(&database).await), before);
    // Unknown accounts get the same response as known ones.
    let tried = async |email: &str| {
        let mut last = String::new();
        for _ in 0..9 {
            let fields = [("email", email), ("password", "wrong")];
            browser.post(&world.url("demo", "/api/sign_in"), &fields).await;
            last = browser.get(&world.url("demo", "/login")).await.text().await.unwrap();
        }
        last.contains("Too many")
    };
    assert_eq!((tried("nobody@demo.example").await, tried("user@demo.example").await), (true, true));
}

/// Row counts by table.
fn without_log(mut rows: Vec<(String, i64)>) -> Vec<(String, i64)> {
    rows.retain(|(table, _)| table != "audit_entries");
    rows
}

async fn rows(database: &Database) -> Vec<(String, i64)> {
    let mut connection = sqlx::AnyConnection::connect(&database.url).await.unwrap();
    let tables = sqlx::query("SELECT name FROM sqlite_master WHERE type = 'table' AND name <> 'probes' ORDER BY name");
    let tables = tables.fetch_all(&mut connection).await.unwrap();
    let mut all = Vec::new();
    for table in tables {
        let name: String = table.get(0);
        let count = count(database, &name).await;
        all.push((name, count));
    }
    all
}

#[tokio::test]
async fn a_strangers_body_is_not_read() {
    let database = Database::sqlite();
    let world = World::start(&database).await;
    // A Content-Length of 4 MB without a body.
    let stream = begin(&world, "/api/save_draft", "Accept: application/json\r\n", 4_000_000, "").await;
    let begun = Instant::now();
    assert!(answer(stream).await.starts_with("HTTP/1.1 401"), "before the body");
    assert!(begun.elapsed() < Duration::from_secs(8));
}

#[tokio::test]
async fn authority_that_ended_while_the_body_came_counts_no_more() {
    let database = Database::sqlite();
    let world = World::start(&database).await;
    let store = &world.services.store;
    let institution = store.institution_by_slug("demo").await.unwrap().unwrap().id;
    let admin = store.user_by_address(institution, "admin@demo.example").await.unwrap().unwrap().id;
    let cookie =
        async || format!("Accept: text/html\r\nCookie: {}\r\n", session_cookie(&world, "admin@demo.example").await);
    let seat = world.seat("user@demo.example").await;
    let (user, mailbox) = (seat.user, seat.mailbox);
    // Stored settings that only administrators change.
    let stored = async || {
        let person = store.user_by_address(institution, "user@demo.example").await.unwrap().unwrap();
        let settings = store.email_settings(institution).await.unwrap();
        let late = store.user_by_address(institution, "late@demo.example").await.unwrap().is_some();
        let connected = store.mailbox(MailboxKey { institution, id: mailbox }).await.unwrap().is_some();
        format!("{person:?} {settings:?} {late} {connected}")
    };
    let before = stored().await;
    for how in ["disabled", "signed out", "demoted"] {
        for (path, body) in [
            ("invite", "email=late%40demo.example&role=administrator".to_owned()),
            ("renew_invitation", format!("user={user}")),
            ("set_role", format!("user={user}&role=administrator")),
            ("set_disabled", format!("user={user}&disabled=true")),
            ("disconnect_persons_mailbox", format!("mailbox={mailbox}")),
            ("save_email_config", "provider=system_default&custom_from=no&confirm_disconnect=yes".to_owned()),
        ] {
            let mut stream = begin(&world, &format!("/api/{path}"), &cookie().await, body.len(), &body[..5]).await;
            // The server has the headers and waits for the body.
            world.until(async || count(&database, "sessions").await > 0).await;
            let mut tx = store.begin().await.unwrap();
            match how {
                "disabled" => store.set_disabled(&mut tx, institution, admin, Some(world.clock.now())).await.unwrap(),
                "signed out" => store.end_sessions_of(&mut tx, institution, admin).await.unwrap(),
                _ => store.set_role(&mut tx, institution, admin, app::model::Role::User).await.unwrap(),
            }
            tx.commit().await.unwrap();
            stream.write_all(&body.as_bytes()[5..]).await.unwrap();
            let said = answer(stream).await;
            assert!(said.starts_with("HTTP/1.1 302"), "{path}, {how}: {said}");
            assert_eq!(stored().await, before, "{path}, {how}");
            let mut tx = store.begin().await.unwrap();
            store.set_disabled(&mut tx, institution, admin, None).await.unwrap();
            store.set_role(&mut tx, institution, admin, app::model::Role::Administrator).await.unwrap();
            tx.commit().await.unwrap();
        }
    }
}

/// The same while Save waits for Microsoft.
#[tokio::test]
async fn authority_that_ended_while_microsoft_was_asked_counts_no_more() {
    let database = Database::sqlite();
    let world = World::start(&database).await;
    let seat = world.seat("user@demo.example").await;
    let store = &world.services.store;
    let admin = store.user_by_address(seat.institution, "admin@demo.example").await.unwrap().unwrap().id;
    let app = world.app_values();
    let before = store.email_settings(seat.institution).await.unwrap();
    for demoted in [true, false] {
        let browser = Browser::new(&world);
        browser.sign_in(&world, "demo", "admin@demo.example").await;
        let asked = world.sandbox.world().token_requests.values().sum::<u64>();
        world.sandbox.world().faults.token_slow_ms = 1_500;
        let fields = [&app.fields()[..], &[("allow_other_address", "yes")]].concat();
        let url = world.url("demo", "/api/save_email_config");
        let meanwhile = async {
            world.until(async || world.sandbox.world().token_requests.values().sum::<u64>() > asked).await;
            let mut tx = store.begin().await.unwrap();
            if demoted {
                store.set_role(&mut tx, seat.institution, admin, app::model::Role::User).await.unwrap();
            } else {
                store.end_sessions_of(&mut tx, seat.institution, admin).await.unwrap();
            }
            tx.commit().await.unwrap();
        };
        let (answer, ()) = tokio::join!(browser.post(&url, &fields), meanwhile);
        assert_eq!(answer.status().as_u16(), 302);
        let after = store.email_settings(seat.institution).await.unwrap();
        assert_eq!(format!("{after:?}"), format!("{before:?}"), "demoted: {demoted}");
        world.sandbox.world().faults.token_slow_ms = 0;
        let mut tx = store.begin().await.unwrap();
        store.set_role(&mut tx, seat.institution, admin, app::model::Role::Administrator).await.unwrap();
        tx.commit().await.unwrap();
    }
}

/// Sets a password by an administrator's invitation link.
async fn with_new_link(admin: &Browser, world: &World, seat: &crate::common::Seat) -> Browser {
    admin.post(&world.url("demo", "/api/renew_invitation"), &[("user", &seat.user.to_string())]).await;
    let page = admin.get(&world.url("demo", "/institution/users")).await.text().await.unwrap();
    let link = page.split("/invitation/").nth(1).unwrap();
    let token: String = link.chars().take_while(|c| c.is_ascii_alphanumeric() || "-_".contains(*c)).collect();
    let thief = Browser::new(world);
    let fields = [("token", token.as_str()), ("password", "a very new secret"), ("repeated", "a very new secret")];
    assert_eq!(location(&thief.post(&world.url("demo", "/api/accept_invitation"), &fields).await), "/");
    thief
}

/// Configure & Test up to Microsoft's response; returns the page of drafts afterwards.
async fn signs_in(person: &Browser, world: &World, name: &str) -> u16 {
    let fields = [("email", "user@demo.example")];
    let authorize = location(&person.post(&world.url("demo", "/api/configure_and_test"), &fields).await);
    let back = person.at_microsoft(world, &authorize, name).await;
    let back = url::Url::parse(&back).unwrap();
    let mut fields: Vec<_> = back.query_pairs().collect();
    fields.push(("plain".into(), "1".into()));
    let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_ref(), value.as_ref())).collect();
    let taken = person.post(&world.url("demo", "/api/complete_sign_in"), &fields).await;
    assert!(location(&taken).starts_with("/account/email/attempts/"), "{}", location(&taken));
    person.get(&world.url("demo", "/mail/drafts")).await.status().as_u16()
}

#[tokio::test]
async fn a_new_password_by_link_shows_no_mail_until_the_microsoft_account_signs_in() {
    let (logged, _guard) = Captured::of_this_thread("info");
    let database = Database::sqlite();
    let world = World::start(&database).await;
    let seat = world.seat("user@demo.example").await;
    world.queue(&seat, 1, "other@demo.example", world.clock.now()).await;
    let admin = Browser::new(&world);
    admin.sign_in(&world, "demo", "admin@demo.example").await;
    let person = Browser::new(&world);
    person.sign_in(&world, "demo", "user@demo.example").await;
    assert_eq!(person.get(&world.url("demo", "/mail/inbox")).await.status().as_u16(), 200);
    let thief = with_new_link(&admin, &world, &seat).await;
    assert_eq!(person.get(&world.url("demo", "/mail/inbox")).await.status().as_u16(), 302, "earlier sessions end");
    for path in ["/mail/inbox", "/mail/outbox", "/mail/drafts", "/mail/compose"] {
        let answer = thief.get(&world.url("demo", path)).await;
        assert_eq!(answer.status().as_u16(), 403, "{path}");
        assert!(answer.text().await.unwrap().contains("Your mail is hidden"), "{path}");
    }
    assert_eq!(thief.get(&world.url("demo", "/events/mail")).await.status().as_u16(), 403);
    let refused = thief.post(&world.url("demo", "/api/cancel_message"), &[("delivery", &seat.user.to_string())]).await;
    let told = thief.get(&world.url("demo", &location(&refused))).await;
    assert_eq!(told.status().as_u16(), 403);
    // Waiting messages leave.
    world.services.outbox.run_once().await.unwrap();
    assert!(world.sandbox.world().mails().iter().any(|(to, _, _)| to == "other@demo.example"), "it arrived");
    // Logged, and the user is notified.
    assert_eq!(logged.count("a password was set with a link"), 1);
    let told = world.sandbox.world().mails().into_iter().any(|(to, _, mail)| {
        let text = String::from_utf8_lossy(&mail.raw).into_owned();
        to == "user@demo.example" && text.contains("was changed") && text.contains("If this wasn't you")
    });
    assert!(told, "{:?}", world.sandbox.world().mails().len());
    // A different account of the same institution unlocks nothing; the mailbox's own does.
    assert_eq!(signs_in(&thief, &world, "other@demo.example").await, 403);
    assert_eq!(signs_in(&thief, &world, "user@demo.example").await, 200);
    // Disconnecting first, or disabling the user in between, doesn't bypass it.
    assert_eq!(thief.get(&world.url("demo", "/mail/drafts")).await.status().as_u16(), 200);
    let mailbox = seat.mailbox.to_string();
    admin.post(&world.url("demo", "/api/disconnect_persons_mailbox"), &[("mailbox", &mailbox)]).await;
    for disabled in ["true", "false"] {
        let fields = [("user", seat.user.to_string()), ("disabled", disabled.to_owned())];
        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        admin.post(&world.url("demo", "/api/set_disabled"), &fields).await;
    }
    let thief = with_new_link(&admin, &world, &seat).await;
    assert_eq!(thief.get(&world.url("demo", "/mail/drafts")).await.status().as_u16(), 403);
    assert_eq!(signs_in(&thief, &world, "user@demo.example").await, 200);
}

/// Every way of creating something counts towards the user's limit.
#[tokio::test]
async fn quotas_have_no_gaps() {
    let database = Database::sqlite();
    let settings = [("ENTREPOST_ATTEMPTS_PER_HOUR", "3".to_owned()), ("ENTREPOST_INVITATIONS_PER_DAY", "2".to_owned())];
    let world = World::start_with(&database, server::clock::Clock::system(), &settings).await;
    let seat = world.seat("user@demo.example").await;
    let (user, admin) = (Browser::new(&world), Browser::new(&world));
    user.sign_in(&world, "demo", "user@demo.example").await;
    admin.sign_in(&world, "demo", "admin@demo.example").await;
    let says = async |browser: &Browser, path: &str, name: &str, value: &str| {
        let answer = browser.post(&world.url("demo", path), &[(name, value)]).await;
        browser.get(&world.url("demo", &location(&answer))).await.text().await.unwrap()
    };
    let mailbox = seat.mailbox.to_string();
    for number in 0..5 {
        let page = says(&user, "/api/try_again", "mailbox", &mailbox).await;
        assert_eq!(page.contains("3 times in the last hour"), number >= 3, "{number}");
    }
    let person = seat.user.to_string();
    for number in 0..4 {
        let page = says(&admin, "/api/renew_invitation", "user", &person).await;
        assert_eq!(page.contains("and this server allows"), number >= 2, "{number}");
    }
    // A refused request stores nothing of its body.
    for path in ["/api/invite", "/api/configure_and_test", "/api/set_aliases"] {
        let long = "x".repeat(100_000);
        let fields = [("email", long.as_str()), ("role", "user"), ("aliases", &long), ("mailbox", &mailbox)];
        for _ in 0..30 {
            user.post(&world.url("demo", path), &fields).await;
        }
    }
    let mut connection = sqlx::AnyConnection::connect(&database.url).await.unwrap();
    let row =
        sqlx::query("SELECT COUNT(*), CAST(SUM(LENGTH(body)) AS BIGINT) FROM flashes").fetch_one(&mut connection).await;
    let row = row.unwrap();
    let (rows, bytes): (i64, i64) = (row.get(0), row.get(1));
    assert!((1..=45).contains(&rows) && bytes < 400_000, "{rows} rows, {bytes} bytes");
}
