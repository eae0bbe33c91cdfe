//! Every route and server function × anonymous, user, administrator, administrator of another institution.

use crate::common::{Browser, Database, World, location};
use Access::{Forbidden, Home, Login, Missing, Open, Refused};
use leptos::server_fn::axum::server_fn_paths;
use server::store::MailboxKey;

/// Expected response of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    /// The page.
    Open,
    /// The sign-in page.
    Login,
    /// 403.
    Forbidden,
    /// 404.
    Missing,
    /// 401 or 400, with a reason.
    Refused(u16),
    /// The home page: already signed in.
    Home,
}

async fn page(browser: &Browser, url: &str) -> Access {
    let answer = browser.get(url).await;
    let to = location(&answer);
    match answer.status().as_u16() {
        200 => Access::Open,
        302 if to.starts_with("/login") => Access::Login,
        302 if to == "/" => Access::Home,
        403 => Access::Forbidden,
        404 => Access::Missing,
        other => Access::Refused(other),
    }
}

#[tokio::test]
async fn every_page() {
    let database = Database::sqlite();
    let world = World::start(&database).await;
    let [nobody, user, admin, foreign] =
        [Browser::new(&world), Browser::new(&world), Browser::new(&world), Browser::new(&world)];
    user.sign_in(&world, "demo", "user@demo.example").await;
    admin.sign_in(&world, "demo", "admin@demo.example").await;
    foreign.sign_in(&world, "second", "admin@demo.example").await;
    let unknown = uuid::Uuid::nil();
    let attempt = format!("/account/email/attempts/{unknown}");
    let begun = notification_attempt(&world, &admin).await;
    let notification = format!("/institution/config/general/email/attempts/{begun}");
    // Columns: anonymous, user, administrator, administrator of `second`, at `demo`.
    let table: Vec<(&str, [Access; 4])> = vec![
        ("/", [Login, Open, Open, Login]),
        ("/login", [Open, Home, Home, Open]),
        ("/invitation/x", [Missing, Missing, Missing, Missing]),
        ("/institution/config/general/email", [Login, Forbidden, Open, Login]),
        ("/institution/config/general/sign-in", [Login, Forbidden, Open, Login]),
        ("/institution/config/general/email/credentials", [Login, Forbidden, Open, Login]),
        (&notification, [Login, Missing, Open, Login]),
        ("/institution/audit", [Login, Forbidden, Open, Login]),
        ("/institution/mail-health", [Login, Forbidden, Open, Login]),
        ("/institution/users", [Login, Forbidden, Open, Login]),
        ("/institution/programs", [Login, Forbidden, Open, Login]),
        ("/institution/programs/00000000-0000-0000-0000-000000000000", [Login, Forbidden, Missing, Login]),
        ("/institution/users/invite", [Login, Forbidden, Open, Login]),
        ("/institution/users/invite/00000000-0000-0000-0000-000000000000", [Login, Forbidden, Missing, Login]),
        ("/institution/users/00000000-0000-0000-0000-000000000000", [Login, Forbidden, Missing, Login]),
        ("/account/email", [Login, Open, Open, Login]),
        ("/account/programs", [Login, Open, Open, Login]),
        ("/account/email/attempts", [Login, Open, Open, Login]),
        ("/institution/config/general/email/attempts", [Login, Forbidden, Open, Login]),
        (&attempt, [Login, Missing, Missing, Login]),
        ("/mail/inbox", [Login, Open, Open, Login]),
        ("/mail/message", [Login, Missing, Missing, Login]),
        ("/mail/compose", [Login, Open, Open, Login]),
        ("/mail/drafts", [Login, Open, Open, Login]),
        ("/mail/outbox", [Login, Open, Open, Login]),
        ("/mail/outbox/00000000-0000-0000-0000-000000000000", [Login, Missing, Missing, Login]),
        ("/web/home/emails/msexchangeonlineoauth", [Refused(401), Refused(400), Refused(400), Refused(401)]),
        ("/no/such/page", [Missing, Missing, Missing, Missing]),
        ("/healthz", [Open, Open, Open, Open]),
        // Microsoft asks without a session.
        ("/.well-known/openid-configuration", [Open, Open, Open, Open]),
        ("/.well-known/jwks.json", [Open, Open, Open, Open]),
    ];
    let routes = leptos_axum::generate_route_list(app::App);
    for route in &routes {
        let path = route.path();
        let covered = table.iter().any(|(asked, _)| {
            asked.split('/').count() == path.split('/').count()
                && asked
                    .split('/')
                    .zip(path.split('/'))
                    .all(|(asked, part)| part.starts_with('{') || part.starts_with(':') || asked == part)
        });
        assert!(covered, "the table lacks {path}");
    }
    for (path, wanted) in &table {
        for (who, (browser, wanted)) in ["nobody", "user", "administrator", "foreign administrator"]
            .iter()
            .zip([&nobody, &user, &admin, &foreign].iter().zip(wanted))
        {
            assert_eq!(page(browser, &world.url("demo", path)).await, *wanted, "{path} asked by {who}");
        }
    }
    // Other routes answer 401 and 404.
    let message = format!("mailbox={unknown}&folder=INBOX&validity=1&uid=1");
    for path in [
        format!("/events/attempts/{unknown}"),
        format!("/events/mail?mailbox={unknown}&folder=INBOX"),
        format!("/mail/message/document?{message}"),
        format!("/mail/message/attachment?{message}&number=1"),
        format!("/mail/message/raw?{message}"),
        "/mail/message/raw?uid=x".to_owned(),
    ] {
        for (browser, status) in [(&nobody, 401), (&user, 404), (&admin, 404), (&foreign, 401)] {
            assert_eq!(browser.get(&world.url("demo", &path)).await.status().as_u16(), status, "{path}");
        }
    }
    let events = format!("/events/devices/{unknown}");
    for (browser, status) in [(&nobody, 401), (&user, 403), (&admin, 404), (&foreign, 401)] {
        assert_eq!(browser.get(&world.url("demo", &events)).await.status().as_u16(), status);
    }
    // A notification attempt belongs to all administrators and no users.
    let events = format!("/events/attempts/{begun}");
    for (browser, status) in [(&nobody, 401), (&user, 404), (&admin, 200), (&foreign, 401)] {
        assert_eq!(browser.get(&world.url("demo", &events)).await.status().as_u16(), status);
    }
    for (name, fields) in [
        ("decide", vec![("attempt", begun.as_str()), ("decision", "again")]),
        ("decide", vec![("attempt", begun.as_str()), ("decision", "continue")]),
    ] {
        let answer = user.post(&world.url("demo", &format!("/api/{name}")), &fields).await;
        let page = user.get(&world.url("demo", &location(&answer))).await.text().await.unwrap();
        assert!(page.contains("banner bad"), "{name} of another's attempt");
    }
    let run = user.post(&world.url("demo", "/api/run_checks"), &[("attempt", &begun)]).await;
    assert_eq!(run.status(), 404);
}

/// Starts Configure & Test of the notification mailbox; returns the attempt.
async fn notification_attempt(world: &World, admin: &Browser) -> String {
    let seat = world.seat("admin@demo.example").await;
    let store = &world.services.store;
    let settings = server::store::EmailSettings {
        provider: app::model::Provider::ExchangeOnline,
        custom_from: true,
        custom_from_address: "noreply@demo.example".into(),
        ..server::store::EmailSettings::default()
    };
    let mut tx = store.begin().await.unwrap();
    store.put_email_settings(&mut tx, seat.institution, &settings, world.clock.now()).await.unwrap();
    tx.commit().await.unwrap();
    let answer = admin.post(&world.url("demo", "/api/start_notifications"), &[]).await;
    assert!(location(&answer).contains("/oauth2/v2.0/authorize"), "{}", location(&answer));
    let list = admin.get(&world.url("demo", "/institution/config/general/email/attempts")).await.text().await.unwrap();
    let (_, rest) = list.split_once("/institution/config/general/email/attempts/").expect("the attempt is listed");
    rest.chars().take_while(|c| c.is_ascii_hexdigit() || *c == '-').collect()
}

/// Who may call a server function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum May {
    Everybody,
    SignedIn,
    Administrators,
}

#[tokio::test]
async fn every_server_function() {
    let database = Database::sqlite();
    let world = World::start(&database).await;
    let nil = uuid::Uuid::nil().to_string();
    let id = nil.as_str();
    let table: Vec<(&str, May, Vec<(&str, &str)>)> = vec![
        ("sign_in", May::Everybody, vec![("email", "x"), ("password", "y")]),
        ("sign_out", May::Everybody, vec![]),
        ("sign_in_with_microsoft", May::Everybody, vec![]),
        ("accept_invitation", May::Everybody, vec![("token", "x"), ("password", "y"), ("repeated", "y")]),
        ("send_message", May::SignedIn, vec![("key", id)]),
        ("save_draft", May::SignedIn, vec![("key", id)]),
        ("attach_files", May::SignedIn, vec![("key", id)]),
        (
            "answer_message",
            May::SignedIn,
            vec![("mailbox", id), ("folder", "INBOX"), ("validity", "1"), ("uid", "1"), ("how", "reply")],
        ),
        ("discard_draft", May::SignedIn, vec![("draft", id)]),
        ("act_on_mail", May::SignedIn, vec![("mailbox", id), ("uids[]", "1"), ("action", "read")]),
        ("refresh_mail", May::SignedIn, vec![("mailbox", id)]),
        ("choose_deleted_folder", May::SignedIn, vec![("mailbox", id), ("folder", "x")]),
        ("cancel_message", May::SignedIn, vec![("delivery", id)]),
        ("retry_message", May::SignedIn, vec![("delivery", id)]),
        ("rewrite_message", May::SignedIn, vec![("delivery", id)]),
        ("look_for_message", May::SignedIn, vec![("delivery", id)]),
        ("complete_sign_in", May::Everybody, vec![("state", "x"), ("plain", "1")]),
        ("invite", May::Administrators, vec![("email", "bad"), ("role", "user")]),
        ("people_action", May::Administrators, vec![("action", "remind"), ("users[0]", id)]),
        ("set_name", May::Administrators, vec![("user", id), ("name", "Ann")]),
        ("list_invitations", May::Administrators, vec![("people", "bad"), ("role", "user")]),
        ("confirm_invitations", May::Administrators, vec![("list", id)]),
        ("discard_invitations", May::Administrators, vec![("list", id)]),
        ("renew_invitation", May::Administrators, vec![("user", id)]),
        ("set_role", May::Administrators, vec![("user", id), ("role", "user")]),
        ("set_disabled", May::Administrators, vec![("user", id), ("disabled", "true")]),
        ("disconnect_persons_mailbox", May::Administrators, vec![("mailbox", id)]),
        ("set_aliases", May::SignedIn, vec![("mailbox", id), ("aliases", "me@x.example")]),
        ("dismiss_undelivered", May::Administrators, vec![("user", id)]),
        ("save_sign_in_settings", May::Administrators, vec![("passwords", "everyone"), ("newcomers", "refused")]),
        ("unlink_microsoft", May::Administrators, vec![("user", id)]),
        ("person_stays", May::Administrators, vec![("user", id)]),
        ("erase_person", May::Administrators, vec![("user", id), ("address", "x@y.example")]),
        ("save_email_config", May::Administrators, vec![("provider", "bad")]),
        ("verify_again", May::Administrators, vec![]),
        ("discard_waiting", May::Administrators, vec![]),
        ("look_up_domains", May::Administrators, vec![]),
        ("save_device", May::Administrators, vec![("name", "Copier"), ("mailbox", "user@demo.example")]),
        ("pause_device", May::Administrators, vec![("device", id), ("paused", "true")]),
        ("renew_device_password", May::Administrators, vec![("device", id)]),
        ("remove_device", May::Administrators, vec![("device", id)]),
        ("send_device_test", May::Administrators, vec![("device", id)]),
        ("allow_own_programs", May::Administrators, vec![("allowed", "yes")]),
        ("add_own_program", May::SignedIn, vec![("name", "Timetable"), ("mailbox", id)]),
        ("renew_own_program", May::SignedIn, vec![("device", id)]),
        ("remove_own_program", May::SignedIn, vec![("device", id)]),
        ("test_cause", May::Administrators, vec![("cause", "smtp_auth_mailbox")]),
        ("make_certificate", May::Administrators, vec![]),
        ("drop_certificate", May::Administrators, vec![("id", id)]),
        ("forget_superseded", May::Administrators, vec![]),
        ("save_graph_use", May::Administrators, vec![("graph", "when_refused")]),
        ("set_guide_step", May::Administrators, vec![("step", "ids"), ("done", "true")]),
        ("set_guide_steps", May::Administrators, vec![]),
        ("start_consent", May::Administrators, vec![]),
        ("start_notifications", May::Administrators, vec![]),
        ("test_pair", May::Administrators, vec![("mailbox", id)]),
        ("disconnect_notifications", May::Administrators, vec![]),
        ("configure_and_test", May::SignedIn, vec![("email", "bad")]),
        ("run_checks", May::SignedIn, vec![("attempt", id)]),
        ("decide", May::SignedIn, vec![("attempt", id), ("decision", "again")]),
        ("try_again", May::SignedIn, vec![("mailbox", id)]),
        ("disconnect", May::SignedIn, vec![("mailbox", id)]),
    ];
    for (path, _) in server_fn_paths() {
        let name = path.trim_start_matches("/api/");
        assert!(table.iter().any(|(known, _, _)| *known == name), "the table lacks {path}");
    }
    // Islands get a status; forms get a redirect and a message.
    let by_island = ["set_guide_step", "run_checks", "save_draft", "attach_files"];
    let with_files = ["send_message", "attach_files", "list_invitations"];
    for (name, may, fields) in &table {
        let [nobody, user, admin, foreign] =
            [Browser::new(&world), Browser::new(&world), Browser::new(&world), Browser::new(&world)];
        user.sign_in(&world, "demo", "user@demo.example").await;
        admin.sign_in(&world, "demo", "admin@demo.example").await;
        foreign.sign_in(&world, "second", "admin@demo.example").await;
        let url = world.url("demo", &format!("/api/{name}"));
        for (who, browser, signed_in, administrator) in [
            ("nobody", &nobody, false, false),
            ("user", &user, true, false),
            ("administrator", &admin, true, true),
            ("foreign administrator", &foreign, false, false),
        ] {
            let allowed = match may {
                May::Everybody => true,
                May::SignedIn => signed_in,
                May::Administrators => administrator,
            };
            let answer = if with_files.contains(name) {
                browser.post_parts(&url, fields, &[]).await
            } else {
                browser.post(&url, fields).await
            };
            let status = answer.status().as_u16();
            if by_island.contains(name) {
                let island = if with_files.contains(name) {
                    answer
                } else {
                    let request = browser.http.post(&url).header("origin", world.url("demo", ""));
                    let request = request.header("content-type", "application/x-www-form-urlencoded");
                    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
                    request.body(body).send().await.unwrap()
                };
                let status = island.status().as_u16();
                let refused = [401, 403].contains(&status);
                assert_eq!(refused, !allowed, "{name} called by {who}: {status}");
                continue;
            }
            assert_eq!(status, 302, "{name} posted by {who}");
            let to = location(&answer);
            if !allowed && !signed_in {
                assert!(to.starts_with("/login"), "{name} posted by {who} leads to {to}");
            } else if !allowed {
                let next = browser.get(&world.url("demo", "/account/email")).await.text().await.unwrap();
                assert!(next.contains("Only administrators can do this."), "{name} posted by {who}");
            } else {
                let next = browser.get(&world.url("demo", "/account/email")).await.text().await.unwrap_or_default();
                assert!(!next.contains("Only administrators"), "{name} posted by {who}");
            }
        }
    }
}

#[tokio::test]
async fn another_origin_is_refused_and_bad_input_is_no_internal_error() {
    let database = Database::sqlite();
    let world = World::start(&database).await;
    let browser = Browser::new(&world);
    browser.sign_in(&world, "demo", "admin@demo.example").await;
    let url = world.url("demo", "/api/sign_out");
    for (header, value, status) in [
        ("origin", "https://evil.example".to_owned(), 403),
        ("origin", "null".to_owned(), 403),
        ("origin", world.url("second", ""), 403),
        ("sec-fetch-site", "cross-site".to_owned(), 403),
        ("sec-fetch-site", "same-site".to_owned(), 403),
        ("x-nothing", String::new(), 403),
        ("sec-fetch-site", "same-origin".to_owned(), 302),
    ] {
        let answer = browser.http.post(&url).header("accept", "text/html").header(header, &value).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{header}: {value}");
    }
    // A proxy that hides referrers makes Origin `null`: then, and only then, Sec-Fetch-Site decides.
    for (origin, site, status) in [
        ("null", "cross-site", 403),
        ("null", "same-site", 403),
        ("null", "none", 403),
        ("https://evil.example", "same-origin", 403),
        ("null", "same-origin", 302),
    ] {
        let asked = browser.http.post(&url).header("accept", "text/html").header("origin", origin);
        let answer = asked.header("sec-fetch-site", site).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{origin}, {site}");
    }
    // Unreadable bodies: 400 for forms and islands. Anonymous bodies aren't read.
    let refused = browser.post(&world.url("demo", "/api/set_guide_step"), &[("step", "%FF")]).await;
    assert_eq!(refused.status().as_u16(), 401);
    browser.sign_in(&world, "demo", "admin@demo.example").await;
    for accept in ["text/html", "application/json"] {
        for body in ["", "user=%FF%FE", "step[]=", "done=perhaps&step=ids"] {
            let answer = browser
                .http
                .post(world.url("demo", "/api/set_guide_step"))
                .header("accept", accept)
                .header("origin", world.url("demo", ""))
                .header("content-type", "application/x-www-form-urlencoded")
                .body(body)
                .send()
                .await
                .unwrap();
            assert_eq!(answer.status().as_u16(), 400, "{accept}: {body}");
        }
    }
    // Multipart forms that aren't, or are too large.
    for name in ["send_message", "attach_files"] {
        let answer = browser.post(&world.url("demo", &format!("/api/{name}")), &[("key", "x")]).await;
        assert_eq!(answer.status().as_u16(), 415, "{name}");
    }
    let large = "x".repeat(5 * 1024 * 1024);
    let answer = browser.post(&world.url("demo", "/api/save_draft"), &[("key", "x"), ("text", &large)]).await;
    assert_eq!(answer.status().as_u16(), 413);
    let answer = browser.post(&world.url("demo", "/api/look_for_message"), &[("delivery", &large[..300_000])]).await;
    assert_eq!(answer.status().as_u16(), 413);
    assert_eq!(browser.get(&world.url("nobody", "/")).await.status().as_u16(), 404);
    let answer = browser.get(&world.url("demo", "/login")).await;
    for header in ["content-security-policy", "x-content-type-options", "referrer-policy", "cross-origin-opener-policy"]
    {
        assert!(answer.headers().contains_key(header), "{header}");
    }
    assert_eq!(answer.headers()["cache-control"], "no-store");
    assert!(!answer.headers().contains_key("x-entrepost-handled"));
}

/// Valid ids of one institution, used by an administrator of another on their own host.
#[tokio::test]
async fn ids_of_another_institution_are_worth_nothing() {
    use app::model::{AttemptKind, MailboxId};
    use server::store::NewMailbox;

    for database in Database::both().await {
        let world = World::start(&database).await;
        let store = &world.services.store;
        let demo = store.institution_by_slug("demo").await.unwrap().unwrap().id;
        let user = store.user_by_address(demo, "user@demo.example").await.unwrap().unwrap().id;
        let now = world.clock.now();
        let new = NewMailbox {
            id: MailboxId(world.clock.uuid()),
            user,
            kind: AttemptKind::Personal,
            address: "user@demo.example".into(),
            sign_in_name: "user@demo.example".into(),
            subject: "s".into(),
            app: server::store::AppKey { client_id: "c".into(), tenant_id: "t".into(), cloud: String::new() },
            refresh_token_sealed: "sealed".into(),
            next_test_at: now.plus_ms(3_600_000),
        };
        let mut tx = store.begin().await.unwrap();
        let mailbox = store.put_mailbox(&mut tx, demo, &new, now).await.unwrap().unwrap();
        tx.commit().await.unwrap();
        let before = format!(
            "{:?}",
            (
                store.mailbox(MailboxKey { institution: demo, id: mailbox }).await.unwrap(),
                store.user(demo, user).await.unwrap()
            )
        );

        let foreign = Browser::new(&world);
        foreign.sign_in(&world, "second", "admin@demo.example").await;
        let (mailbox_id, user_id) = (mailbox.to_string(), user.to_string());
        for (name, fields) in [
            ("try_again", vec![("mailbox", mailbox_id.as_str())]),
            ("disconnect", vec![("mailbox", mailbox_id.as_str())]),
            ("set_aliases", vec![("mailbox", mailbox_id.as_str()), ("aliases", "me@x.example")]),
            ("disconnect_persons_mailbox", vec![("mailbox", mailbox_id.as_str())]),
            ("test_pair", vec![("mailbox", mailbox_id.as_str())]),
            ("set_disabled", vec![("user", user_id.as_str()), ("disabled", "true")]),
            ("set_role", vec![("user", user_id.as_str()), ("role", "administrator")]),
            ("renew_invitation", vec![("user", user_id.as_str())]),
        ] {
            let answer = foreign.post(&world.url("second", &format!("/api/{name}")), &fields).await;
            assert_eq!(answer.status().as_u16(), 302, "{name}");
            let to = location(&answer);
            let page = foreign.get(&world.url("second", &to)).await.text().await.unwrap();
            assert!(page.contains("banner bad") || page.contains("id=\"errors\""), "{name} is refused");
        }
        let after = format!(
            "{:?}",
            (
                store.mailbox(MailboxKey { institution: demo, id: mailbox }).await.unwrap(),
                store.user(demo, user).await.unwrap()
            )
        );
        assert_eq!(before, after);
        assert!(store.invitations(demo).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn what_is_a_colleagues_is_worth_nothing() {
    for database in Database::both().await {
        let world = World::start(&database).await;
        let seat = world.seat("admin@demo.example").await;
        let owner = Browser::new(&world);
        owner.sign_in(&world, "demo", "admin@demo.example").await;
        let mailbox = seat.mailbox.to_string();
        let begun = owner.post(&world.url("demo", "/api/try_again"), &[("mailbox", &mailbox)]).await;
        let path = location(&begun);
        let id = path.rsplit('/').next().unwrap().to_owned();
        let finished = async || {
            let page = owner.get(&world.url("demo", &path)).await.text().await.unwrap();
            page.contains("data-stage=\"finished\"")
        };
        world.until(finished).await;
        let before = owner.get(&world.url("demo", &path)).await.text().await.unwrap().len();

        let (colleague, foreign) = (Browser::new(&world), Browser::new(&world));
        colleague.sign_in(&world, "demo", "user@demo.example").await;
        foreign.sign_in(&world, "second", "admin@demo.example").await;
        for (browser, slug) in [(&colleague, "demo"), (&foreign, "second")] {
            for asked in [path.clone(), format!("/events/attempts/{id}")] {
                assert_eq!(browser.get(&world.url(slug, &asked)).await.status(), 404, "{asked} at {slug}");
            }
            let run = browser.post(&world.url(slug, "/api/run_checks"), &[("attempt", &id)]).await;
            assert_eq!(run.status(), 404);
            for (name, fields) in [
                ("decide", vec![("attempt", id.as_str()), ("decision", "continue")]),
                ("decide", vec![("attempt", id.as_str()), ("decision", "again")]),
                ("try_again", vec![("mailbox", mailbox.as_str())]),
                ("disconnect", vec![("mailbox", mailbox.as_str())]),
                (
                    "send_message",
                    vec![
                        ("mailbox", mailbox.as_str()),
                        ("to", "other@demo.example"),
                        ("key", "00000000-0000-4000-8000-000000000001"),
                    ],
                ),
                ("act_on_mail", vec![("mailbox", mailbox.as_str()), ("uids[]", "1"), ("action", "delete")]),
                ("refresh_mail", vec![("mailbox", mailbox.as_str()), ("folder", "INBOX")]),
            ] {
                let url = world.url(slug, &format!("/api/{name}"));
                let answer = match name {
                    "send_message" => browser.post_parts(&url, &fields, &[]).await,
                    _ => browser.post(&url, &fields).await,
                };
                let to = location(&answer);
                let page = browser.get(&world.url(slug, &to)).await.text().await.unwrap();
                let refused = ["banner bad", "id=\"errors\"", "We can't find that. It may have been deleted."];
                assert!(refused.iter().any(|text| page.contains(text)), "{name} at {slug} is refused");
            }
        }
        let kept = world.services.store.mailbox(seat.key()).await.unwrap();
        assert!(kept.is_some_and(|kept| kept.state == app::model::MailboxState::Connected));
        let after = owner.get(&world.url("demo", &path)).await.text().await.unwrap().len();
        assert_eq!(before, after);
        assert_eq!(world.services.outbox.run_once().await.unwrap(), 0, "nothing was queued");
        world.services.store.close().await;
    }
}

/// Redirects from Microsoft are handled without a running sign-in too; only codes and ids of its text are shown.
#[tokio::test]
async fn what_comes_to_the_redirect_uri_is_understood_and_not_trusted() {
    let database = Database::sqlite();
    let world = World::start(&database).await;
    let (stranger, user) = (Browser::new(&world), Browser::new(&world));
    user.sign_in(&world, "demo", "user@demo.example").await;
    let page = async |browser: &Browser, query: &str| {
        let path = format!("/web/home/emails/msexchangeonlineoauth?{query}");
        browser.get(&world.url("demo", &path)).await.text().await.unwrap()
    };
    let expired = "error=invalid_client&error_description=AADSTS7000222%3A+Call+0800+EVIL.+Trace+ID%3A+0f8fad5b-d9cb-469f-a165-70867728950e";
    for browser in [&stranger, &user] {
        let said = page(browser, expired).await;
        assert!(said.contains("can no longer sign in at Microsoft.") && said.contains("0f8fad5b-d9cb-469f"), "{said}");
        assert!(!said.contains("EVIL"), "{said}");
        let unknown = page(browser, "error=server_oddity&error_description=AADSTS9999999%3A+Call+EVIL").await;
        assert!(unknown.contains("AADSTS9999999") && !unknown.contains("EVIL"), "{unknown}");
        for query in ["admin_consent=True", "admin_consent=True&tenant=x&state=12345"] {
            if query.contains("state") && std::ptr::eq(browser, &raw const user) {
                continue;
            }
            assert!(page(browser, query).await.contains("Microsoft says consent was granted."), "{query}");
        }
        assert!(page(browser, "admin_consent=False").await.contains("Consent was not granted."));
    }
    // A signed-in user completes it first and sees the same.
    let fields = [("state", "12345"), ("admin_consent", "True"), ("plain", "1")];
    let answer = user.post(&world.url("demo", "/api/complete_sign_in"), &fields).await;
    assert_eq!(crate::common::location(&answer), "/web/home/emails/msexchangeonlineoauth?admin_consent=True");
    let fields = [
        ("state", "12345"),
        ("error", "access_denied"),
        ("error_description", "AADSTS65004: User declined. EVIL"),
        ("plain", "1"),
    ];
    let answer = user.post(&world.url("demo", "/api/complete_sign_in"), &fields).await;
    let said = user.get(&world.url("demo", &crate::common::location(&answer))).await.text().await.unwrap();
    assert!(said.contains("is no longer valid") && said.contains("AADSTS65004"), "{said}");
    assert!(said.contains("The permissions were declined.") && !said.contains("EVIL"), "{said}");
}

/// Loopback requests with an unknown host see it and the known hosts; others don't.
#[tokio::test]
async fn a_request_for_an_unknown_host_tells_an_operator() {
    let database = Database::sqlite();
    let world = World::start(&database).await;
    let ask = async |host: &str, more: Option<(&'static str, &'static str)>| {
        let mut request = reqwest::Client::new().get(format!("http://127.0.0.1:{}/", world.port)).header("host", host);
        if let Some((name, value)) = more {
            request = request.header(name, value);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 404);
        answer.text().await.unwrap()
    };
    let own = ask(&format!("127.0.0.1:{}", world.port), None).await;
    assert!(own.contains("Your browser asked for") && own.contains("demo.localhost"), "{own}");
    for (host, more) in [
        ("mail.school.example", None),
        ("demo.localhost.evil.example", None),
        ("localhost", Some(("x-forwarded-for", "203.0.113.9"))),
    ] {
        let said = ask(host, more).await;
        assert!(
            said.contains("There is no institution at this address.") && !said.contains("demo.localhost:"),
            "{said}"
        );
    }
}

/// One account, several devices in the same moment: each signs in, and none waits for another for ever.
#[tokio::test(flavor = "multi_thread")]
async fn several_sign_ins_of_one_account_at_a_time() {
    for database in Database::both().await {
        let world = World::start(&database).await;
        for _ in 0..5 {
            let devices: Vec<Browser> = (0..6).map(|_| Browser::new(&world)).collect();
            let signing_in = devices.iter().map(|device| device.sign_in(&world, "demo", "user@demo.example"));
            futures::future::join_all(signing_in).await;
        }
        world.services.store.close().await;
    }
}
