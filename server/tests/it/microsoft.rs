//! Sign in with Microsoft: a session and a connected mailbox in one go, and every way in which it must not work.

use app::model::{AuditAction, AuditQuery, MailboxState};
use server::store::MailboxKey;

use crate::common::{Browser, Database, World, complete, connects_with_a_password, location};

pub const USER: &str = "user@demo.example";

/// Follows the link of the sign-in page, or presses the button of an invitation; returns the address at Microsoft.
async fn press(browser: &Browser, world: &World, fields: &[(&str, &str)]) -> String {
    if !fields.iter().any(|(name, _)| *name == "invitation") {
        let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        return location(&browser.get(&world.url("demo", &format!("/login/microsoft?{query}"))).await);
    }
    location(&browser.post(&world.url("demo", "/api/sign_in_with_microsoft"), fields).await)
}

/// The whole way.
pub async fn sign_in(browser: &Browser, world: &World, name: &str, fields: &[(&str, &str)]) -> String {
    let authorize = press(browser, world, fields).await;
    let back = browser.at_microsoft(world, &authorize, name).await;
    // The page of the redirect URI changes nothing, and offers the one button.
    let page = browser.get(&back).await;
    assert_eq!(page.status(), 200);
    complete(browser, world, "demo", &back).await
}

/// Who is signed in.
pub async fn is_signed_in(browser: &Browser, world: &World) -> bool {
    browser.get(&world.url("demo", "/account/email")).await.status() == 200
}

/// What the sign-in page says.
pub async fn said(browser: &Browser, world: &World, path: &str) -> String {
    browser.get(&world.url("demo", path)).await.text().await.unwrap()
}

/// A world whose institution has an app; the notification of no mailbox is connected.
pub async fn world(database: &Database) -> World {
    let world = World::start(database).await;
    // Stores the registration.
    world.newcomer("registrar@demo.example").await;
    world
}

pub async fn invitation(world: &World, address: &str) -> String {
    let admin = Browser::new(world);
    admin.sign_in(world, "demo", "admin@demo.example").await;
    admin.post(&world.url("demo", "/api/invite"), &[("email", address), ("role", "user")]).await;
    let page = admin.get(&world.url("demo", "/institution/users")).await.text().await.unwrap();
    let link = page.split("/invitation/").nth(1).unwrap();
    link.chars().take_while(|c| c.is_ascii_alphanumeric() || "-_".contains(*c)).collect()
}

/// On a shared computer the link counts, not who used the browser before.
#[tokio::test(flavor = "multi_thread")]
async fn an_invited_person_is_connected_in_a_browser_of_another() {
    let database = Database::sqlite();
    let world = world(&database).await;
    connects_with_a_password(&world, USER).await;
    let browser = Browser::new(&world);
    assert_eq!(sign_in(&browser, &world, USER, &[]).await, "/");
    browser.post(&world.url("demo", "/api/sign_out"), &[]).await;
    world.sandbox.world().add_account("new@demo.example", "new@demo.example");
    let token = invitation(&world, "new@demo.example").await;
    let authorize = press(&browser, &world, &[("invitation", &token)]).await;
    assert!(authorize.contains("SMTP.Send"), "{authorize}");
    let back = browser.at_microsoft(&world, &authorize, "new@demo.example").await;
    let attempt = complete(&browser, &world, "demo", &back).await;
    world.until(async || said(&browser, &world, &attempt).await.contains("data-outcome=\"passed\"")).await;
    world.services.store.close().await;
}

/// Signing in with Microsoft ends with the app's secret: the last administrator's password stays, and the sign-in page says who
/// comes in.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_administrators_password_stays_while_the_app_has_only_a_secret() {
    let database = Database::sqlite();
    let world = world(&database).await;
    world.seat("admin@demo.example").await;
    let admin = Browser::new(&world);
    admin.sign_in(&world, "demo", "admin@demo.example").await;
    let store = &world.services.store;
    let institution = store.institution_by_slug("demo").await.unwrap().unwrap().id;
    let password = async |address: &str| {
        store.user_by_address(institution, address).await.unwrap().unwrap().password_hash.is_some()
    };
    let link = async |address: &str| {
        let user = store.user_by_address(institution, address).await.unwrap().unwrap().id.to_string();
        let answer = admin.post(&world.url("demo", "/api/renew_invitation"), &[("user", &user)]).await;
        let page = admin.get(&world.url("demo", &location(&answer))).await.text().await.unwrap();
        let link = page.split("/invitation/").nth(1).unwrap();
        link.chars().take_while(|c| c.is_ascii_alphanumeric() || "-_".contains(*c)).collect::<String>()
    };
    // A user's password goes, and they are told.
    let (token, user) = (link(USER).await, Browser::new(&world));
    let next = sign_in(&user, &world, USER, &[("invitation", &token)]).await;
    assert!(said(&user, &world, &next).await.contains("Your password was removed."));
    assert!(!password(USER).await);
    let (token, own) = (link("admin@demo.example").await, Browser::new(&world));
    sign_in(&own, &world, "admin@demo.example", &[("invitation", &token)]).await;
    assert!(is_signed_in(&own, &world).await && password("admin@demo.example").await);
    // The secret expires: no button leads in a circle, and the page says who can come in.
    world.sandbox.world().faults.secret_expired = true;
    for fields in [vec![], vec![("mail", "no")]] {
        let browser = Browser::new(&world);
        let next = sign_in(&browser, &world, "admin@demo.example", &fields).await;
        assert_eq!(next, "/login");
        let page = said(&browser, &world, &next).await;
        assert!(
            page.contains("can no longer sign in at Microsoft.")
                && page.contains("if you have a password, use it below"),
            "{page}"
        );
        assert!(!page.contains("without mailbox"), "{page}");
    }
    let back = Browser::new(&world);
    back.sign_in(&world, "demo", "admin@demo.example").await;
    let log = store.audit_entries(institution, &AuditQuery::default(), 5).await.unwrap();
    assert!(log.iter().any(|entry| entry.details.contains("secret_expired")), "{log:?}");
    world.services.store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invited_person_is_signed_in_and_connected_in_one_go() {
    for database in Database::both().await {
        let world = world(&database).await;
        world.sandbox.world().add_account("new@demo.example", "new@demo.example");
        let token = invitation(&world, "new@demo.example").await;
        let browser = Browser::new(&world);
        let page = said(&browser, &world, &format!("/invitation/{token}")).await;
        assert!(page.contains("Sign in with Microsoft") && page.contains("or set a password"));
        let authorize = press(&browser, &world, &[("invitation", &token)]).await;
        assert!(authorize.contains("prompt=select_account") && authorize.contains("SMTP.Send"), "{authorize}");
        let back = browser.at_microsoft(&world, &authorize, "new@demo.example").await;
        let attempt = complete(&browser, &world, "demo", &back).await;
        assert!(attempt.starts_with("/account/email/attempts/"), "{attempt}");
        assert!(is_signed_in(&browser, &world).await);
        world.until(async || said(&browser, &world, &attempt).await.contains("data-outcome=\"passed\"")).await;
        let store = &world.services.store;
        let institution = store.institution_by_slug("demo").await.unwrap().unwrap().id;
        let user = store.user_by_address(institution, "new@demo.example").await.unwrap().unwrap();
        assert!(user.password_hash.is_none());
        let mailbox = store.mailboxes_of(institution, user.id).await.unwrap().remove(0);
        assert_eq!((mailbox.address.as_str(), mailbox.state), ("new@demo.example", MailboxState::Connected));
        // The link is used up, the state too.
        assert_eq!(Browser::new(&world).get(&world.url("demo", &format!("/invitation/{token}"))).await.status(), 404);
        let again = complete(&browser, &world, "demo", &back).await;
        assert!(!again.starts_with("/account/email/attempts/"), "{again}");

        // Later, in another browser: signed in, with the mailbox as it is.
        let later = Browser::new(&world);
        assert_eq!(sign_in(&later, &world, "new@demo.example", &[("next", "/mail/outbox")]).await, "/mail/outbox");
        assert!(is_signed_in(&later, &world).await);
        // No mail scopes are asked for: neither in a browser that does not know the person, nor in one that does.
        let authorize = press(&Browser::new(&world), &world, &[]).await;
        assert!(!authorize.contains("SMTP.Send") && authorize.contains("openid"), "{authorize}");
        later.post(&world.url("demo", "/api/sign_out"), &[]).await;
        let authorize = press(&later, &world, &[]).await;
        assert!(!authorize.contains("SMTP.Send") && authorize.contains("openid"), "{authorize}");
        let back = later.at_microsoft(&world, &authorize, "new@demo.example").await;
        assert_eq!(complete(&later, &world, "demo", &back).await, "/");
        let log = store.audit_entries(institution, &AuditQuery::default(), 100).await.unwrap();
        let sign_ins =
            log.iter().filter(|entry| entry.action == AuditAction::SignIn && entry.details.contains("Microsoft"));
        assert_eq!(sign_ins.count(), 3);
        world.services.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_connected_their_own_mailbox_signs_in_without_a_password() {
    let database = Database::sqlite();
    let world = world(&database).await;
    connects_with_a_password(&world, USER).await;
    let browser = Browser::new(&world);
    assert_eq!(sign_in(&browser, &world, USER, &[]).await, "/");
    assert!(is_signed_in(&browser, &world).await);
    // A revoked grant is replaced by signing in: the mailbox works again.
    let store = &world.services.store;
    let institution = store.institution_by_slug("demo").await.unwrap().unwrap().id;
    let user = store.user_by_address(institution, USER).await.unwrap().unwrap();
    let mailbox = store.mailboxes_of(institution, user.id).await.unwrap().remove(0);
    let key = MailboxKey { institution, id: mailbox.id };
    store.set_mailbox_state(key, MailboxState::NeedsReconnect, None, None, world.clock.now()).await.unwrap();
    let attempt = sign_in(&Browser::new(&world), &world, USER, &[]).await;
    assert!(attempt.starts_with("/account/email/attempts/"), "{attempt}");
    world.until(async || store.mailbox(key).await.unwrap().unwrap().state == MailboxState::Connected).await;
}

/// An account of the tenant that nobody linked: its address proves nothing.
#[tokio::test(flavor = "multi_thread")]
async fn an_address_links_nobody() {
    let database = Database::sqlite();
    let world = world(&database).await;
    // user@ has an account at Entrepost, and never connected.
    let browser = Browser::new(&world);
    assert_eq!(sign_in(&browser, &world, USER, &[]).await, "/login");
    let page = said(&browser, &world, "/login").await;
    assert!(page.contains("isn&#x27;t known here") || page.contains("isn't known here"), "{page}");
    assert!(!is_signed_in(&browser, &world).await);
    // Another account claims every name and address of one that is linked.
    connects_with_a_password(&world, USER).await;
    for (claim, value) in [("preferred_username", USER), ("upn", USER), ("email", USER)] {
        world.sandbox.world().claims.insert(claim.into(), value.into());
    }
    let thief = Browser::new(&world);
    assert_eq!(sign_in(&thief, &world, "other@demo.example", &[]).await, "/login");
    assert!(!is_signed_in(&thief, &world).await);
}

/// A mailbox that was connected by proof of a message, or for another address, links no account.
#[tokio::test(flavor = "multi_thread")]
async fn only_ones_own_address_links_an_account() {
    let database = Database::sqlite();
    let world = world(&database).await;
    let admin = Browser::new(&world);
    admin.sign_in(&world, "demo", "admin@demo.example").await;
    world.services.store.institution_by_slug("demo").await.unwrap().unwrap();
    let mut connection = <sqlx::AnyConnection as sqlx::Connection>::connect(&database.url).await.unwrap();
    sqlx::query("UPDATE email_settings SET allow_other_address = 1").execute(&mut connection).await.unwrap();
    let browser = Browser::new(&world);
    browser.sign_in(&world, "demo", USER).await;
    let fields = [("email", "other@demo.example")];
    let authorize = location(&browser.post(&world.url("demo", "/api/configure_and_test"), &fields).await);
    let back = browser.at_microsoft(&world, &authorize, "other@demo.example").await;
    let attempt = complete(&browser, &world, "demo", &back).await;
    world.until(async || said(&browser, &world, &attempt).await.contains("data-stage=\"finished\"")).await;
    // other@ is not user@, though user@ reads that mailbox.
    let other = Browser::new(&world);
    assert_eq!(sign_in(&other, &world, "other@demo.example", &[]).await, "/login");
    assert!(!is_signed_in(&other, &world).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_tenants_and_swapped_object_ids_are_refused() {
    let database = Database::sqlite();
    let world = world(&database).await;
    connects_with_a_password(&world, USER).await;
    let foreign = "11111111-2222-4333-8444-555555555555";
    for (claim, value) in [
        ("tid", foreign),
        ("oid", foreign),
        ("aud", foreign),
        ("iss", "https://evil.example/v2.0"),
        ("nonce", "x"),
        ("oid", ""),
    ] {
        world.sandbox.world().claims.clear();
        world.sandbox.world().claims.insert(claim.into(), value.into());
        let browser = Browser::new(&world);
        assert_eq!(sign_in(&browser, &world, USER, &[]).await, "/login", "{claim}");
        assert!(!is_signed_in(&browser, &world).await, "{claim}");
    }
    // Nor does it link anything: neither with an open invitation, nor from a signed-in session.
    world.sandbox.world().claims.clear();
    world.sandbox.world().add_account("new@demo.example", "new@demo.example");
    let token = invitation(&world, "new@demo.example").await;
    for (claim, value) in [("tid", foreign), ("oid", "not-an-id")] {
        world.sandbox.world().claims.clear();
        world.sandbox.world().claims.insert(claim.into(), value.into());
        let browser = Browser::new(&world);
        let next = sign_in(&browser, &world, "new@demo.example", &[("invitation", &token)]).await;
        assert!(next.starts_with("/invitation/") || next == "/login", "{claim}: {next}");
        assert!(!is_signed_in(&browser, &world).await, "{claim}");
    }
    world.sandbox.world().claims.clear();
    world.sandbox.world().claims.insert("tid".into(), foreign.into());
    let page = connects_with_a_password(&world, "admin@demo.example").await;
    assert!(!page.contains("Your mailbox is connected"), "{page}");
    world.sandbox.world().claims.clear();
    assert_eq!(
        sign_in(&Browser::new(&world), &world, "admin@demo.example", &[]).await,
        "/login",
        "no account is linked"
    );
    let browser = Browser::new(&world);
    let next = sign_in(&browser, &world, "new@demo.example", &[("invitation", &token)]).await;
    assert!(next.starts_with("/account/email/attempts/"), "the invitation is still open: {next}");
    assert_eq!(sign_in(&Browser::new(&world), &world, USER, &[]).await, "/");
}

/// Login CSRF: a victim's browser gets the answer to an attacker's sign-in.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_counts_only_in_the_browser_that_asked() {
    let database = Database::sqlite();
    let world = world(&database).await;
    connects_with_a_password(&world, USER).await;
    let attacker = Browser::new(&world);
    let authorize = press(&attacker, &world, &[]).await;
    let back = attacker.at_microsoft(&world, &authorize, USER).await;
    let strange = Browser::new(&world);
    assert_eq!(complete(&strange, &world, "demo", &back).await, "/login");
    assert!(!is_signed_in(&strange, &world).await);
    // The victim has begun a sign-in of their own.
    let victim = Browser::new(&world);
    press(&victim, &world, &[]).await;
    assert_eq!(complete(&victim, &world, "demo", &back).await, "/login");
    assert!(!is_signed_in(&victim, &world).await);
    // One that is signed in stays who they are.
    let person = Browser::new(&world);
    person.sign_in(&world, "demo", "admin@demo.example").await;
    assert_eq!(complete(&person, &world, "demo", &back).await, "/account/email");
    assert_eq!(person.get(&world.url("demo", "/institution/users")).await.status(), 200, "still the administrator");
    // The one who asked.
    assert_eq!(complete(&attacker, &world, "demo", &back).await, "/");
}

/// A sign-in that began at one institution means nothing at another.
#[tokio::test(flavor = "multi_thread")]
async fn institutions_are_not_mixed_up() {
    let database = Database::sqlite();
    let world = world(&database).await;
    connects_with_a_password(&world, USER).await;
    world.second_has_the_same_app().await;
    let browser = Browser::new(&world);
    let answer = browser.get(&world.url("demo", "/login/microsoft")).await;
    let cookies = answer.headers().get_all("set-cookie").into_iter().map(|value| value.to_str().unwrap().to_owned());
    let cookie = cookies.into_iter().find(|cookie| cookie.starts_with("entrepost_microsoft=")).unwrap();
    let cookie = cookie.split(';').next().unwrap().to_owned();
    let back = browser.at_microsoft(&world, &location(&answer), USER).await;
    let back = url::Url::parse(&back).unwrap();
    let body = format!("{}&plain=1", back.query().unwrap());
    let url = world.url("second", "/api/complete_sign_in");
    let origin = url::Url::parse(&url).unwrap().origin().ascii_serialization();
    let redeemed = || world.sandbox.world().token_requests.get("authorization_code").copied().unwrap_or_default();
    let before = redeemed();
    let elsewhere = Browser::new(&world);
    let request = elsewhere.http.post(&url).header("accept", "text/html").header("origin", origin);
    let request =
        request.header("content-type", "application/x-www-form-urlencoded").header("cookie", cookie).body(body);
    let answer = request.send().await.unwrap();
    assert_eq!(location(&answer), "/login");
    let cookies: Vec<_> = answer.headers().get_all("set-cookie").into_iter().collect();
    assert!(!format!("{cookies:?}").contains("entrepost_session="), "{cookies:?}");
    assert_eq!(redeemed(), before, "the code was not redeemed");
    // Where it began it is good.
    assert_eq!(complete(&browser, &world, "demo", back.as_str()).await, "/");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_person_is_not_signed_in_and_links_go_no_further() {
    let database = Database::sqlite();
    let world = world(&database).await;
    connects_with_a_password(&world, USER).await;
    let store = &world.services.store;
    let institution = store.institution_by_slug("demo").await.unwrap().unwrap().id;
    let user = store.user_by_address(institution, USER).await.unwrap().unwrap();
    let mut tx = store.begin().await.unwrap();
    store.set_disabled(&mut tx, institution, user.id, Some(world.clock.now())).await.unwrap();
    tx.commit().await.unwrap();
    let browser = Browser::new(&world);
    assert_eq!(sign_in(&browser, &world, USER, &[]).await, "/login");
    assert!(said(&browser, &world, "/login").await.contains("disabled at Entrepost"));
    assert!(!is_signed_in(&browser, &world).await);
    // A link for one person cannot be used with an account of another who has one here.
    let token = invitation(&world, "new@demo.example").await;
    let other = Browser::new(&world);
    assert_eq!(sign_in(&other, &world, USER, &[("invitation", &token)]).await, "/login");
    assert!(!is_signed_in(&other, &world).await);
    // A token that is none.
    assert!(press(&Browser::new(&world), &world, &[("invitation", "x")]).await.starts_with("/invitation/x"));
}

/// A browser that knows a person whose mailbox is not connected: their next sign-in asks for it.
async fn known_without_mailbox(world: &World) -> Browser {
    connects_with_a_password(world, USER).await;
    let browser = Browser::new(world);
    assert_eq!(sign_in(&browser, world, USER, &[]).await, "/");
    let store = &world.services.store;
    let institution = store.institution_by_slug("demo").await.unwrap().unwrap().id;
    let user = store.user_by_address(institution, USER).await.unwrap().unwrap();
    let mailbox = store.mailboxes_of(institution, user.id).await.unwrap()[0].id.to_string();
    browser.post(&world.url("demo", "/api/disconnect"), &[("mailbox", &mailbox)]).await;
    browser.post(&world.url("demo", "/api/sign_out"), &[]).await;
    browser
}

/// Who is not known signs in, and is asked for the mailbox then: refusals of mail keep no one out.
#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_is_not_known_is_asked_for_the_mailbox_afterwards() {
    let database = Database::sqlite();
    let world = world(&database).await;
    known_without_mailbox(&world).await;
    let browser = Browser::new(&world);
    let authorize = press(&browser, &world, &[]).await;
    assert!(!authorize.contains("SMTP.Send"), "{authorize}");
    let back = browser.at_microsoft(&world, &authorize, USER).await;
    let attempt = complete(&browser, &world, "demo", &back).await;
    assert!(attempt.starts_with("/account/email/attempts/"), "{attempt}");
    world.until(async || said(&browser, &world, &attempt).await.contains("data-outcome=\"passed\"")).await;
    assert!(is_signed_in(&browser, &world).await);
}

/// A missing permission or licence does not keep anyone from signing in.
#[tokio::test(flavor = "multi_thread")]
async fn signing_in_goes_on_without_the_mailbox() {
    let database = Database::sqlite();
    let world = world(&database).await;
    let browser = known_without_mailbox(&world).await;
    world.sandbox.world().app.admin_consent = false;
    world.sandbox.world().faults.consent_missing = true;
    let authorize = press(&browser, &world, &[]).await;
    let back = browser.at_microsoft(&world, &authorize, USER).await;
    let path = if back.contains("error=") { complete(&browser, &world, "demo", &back).await } else { back };
    assert_eq!(path, "/login?mail=no");
    let page = said(&browser, &world, "/login?mail=no").await;
    assert!(page.contains("Sign in with Microsoft, without mailbox"), "{page}");
    world.sandbox.world().faults.consent_missing = false;
    let authorize = press(&browser, &world, &[("mail", "no")]).await;
    assert!(!authorize.contains("SMTP.Send"), "{authorize}");
    let back = browser.at_microsoft(&world, &authorize, USER).await;
    assert_eq!(complete(&browser, &world, "demo", &back).await, "/");
    assert!(is_signed_in(&browser, &world).await);
}

/// Whatever Microsoft refuses while the mailbox is asked for: licence, permission, assignment, policy.
#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_offers_to_sign_in_without_the_mailbox() {
    let database = Database::sqlite();
    let world = world(&database).await;
    let browser = known_without_mailbox(&world).await;
    for number in [65001, 500_011, 650_057, 50105, 53003, 50076] {
        world.sandbox.world().faults.token_error = number;
        assert_eq!(sign_in(&browser, &world, USER, &[]).await, "/login?mail=no", "{number}");
        world.sandbox.world().faults.token_error = 0;
        assert_eq!(sign_in(&browser, &world, USER, &[("mail", "no")]).await, "/", "{number}");
        assert!(is_signed_in(&browser, &world).await);
        browser.post(&world.url("demo", "/api/sign_out"), &[]).await;
    }
}

/// Another site begins no sign-in, and one who is signed in needs none.
#[tokio::test(flavor = "multi_thread")]
async fn another_site_begins_no_sign_in() {
    let database = Database::sqlite();
    let world = world(&database).await;
    let browser = Browser::new(&world);
    let request = browser.http.get(world.url("demo", "/login/microsoft")).header("sec-fetch-site", "cross-site");
    assert_eq!(location(&request.send().await.unwrap()), "/login");
    browser.sign_in(&world, "demo", USER).await;
    assert_eq!(press(&browser, &world, &[("next", "https://evil.example/")]).await, "/");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_app_registration_there_is_no_button() {
    let database = Database::sqlite();
    let world = World::start(&database).await;
    let browser = Browser::new(&world);
    assert!(!said(&browser, &world, "/login").await.contains("Sign in with Microsoft"));
    assert_eq!(press(&browser, &world, &[]).await, "/login");
    assert!(said(&browser, &world, "/login").await.contains("Sign in with your password"));
}

/// An administrator sets a password with a link; the owner then signs in with Microsoft as always.
#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_a_link_set_ends_when_the_owner_signs_in_with_microsoft() {
    let database = Database::sqlite();
    let world = world(&database).await;
    connects_with_a_password(&world, USER).await;
    let token = new_link(&world, USER).await;
    let thief = Browser::new(&world);
    let fields = [("token", token.as_str()), ("password", "a very new secret"), ("repeated", "a very new secret")];
    thief.post(&world.url("demo", "/api/accept_invitation"), &fields).await;
    assert_eq!(thief.get(&world.url("demo", "/mail/drafts")).await.status(), 403, "mail is hidden");
    let owner = Browser::new(&world);
    assert_eq!(sign_in(&owner, &world, USER, &[]).await, "/");
    assert_eq!(owner.get(&world.url("demo", "/mail/drafts")).await.status(), 200);
    // Neither the open session nor the password of the other one works any more.
    assert!(!is_signed_in(&thief, &world).await);
    let again = Browser::new(&world);
    let fields = [("email", USER), ("password", "a very new secret")];
    assert_ne!(location(&again.post(&world.url("demo", "/api/sign_in"), &fields).await), "/");
}

/// A link is accepted with a Microsoft account that none of the person's mailboxes knows: the mail stays hidden.
#[tokio::test(flavor = "multi_thread")]
async fn a_link_accepted_with_another_microsoft_account_shows_no_mail() {
    let database = Database::sqlite();
    let world = world(&database).await;
    // Connected under another sign-in name, so that no account is linked.
    connects_with_a_password(&world, USER).await;
    let mut connection = <sqlx::AnyConnection as sqlx::Connection>::connect(&database.url).await.unwrap();
    sqlx::query("UPDATE users SET microsoft_subject = NULL").execute(&mut connection).await.unwrap();
    let token = new_link(&world, USER).await;
    let thief = Browser::new(&world);
    sign_in(&thief, &world, "other@demo.example", &[("invitation", &token), ("next", "/")]).await;
    assert!(is_signed_in(&thief, &world).await);
    assert_eq!(thief.get(&world.url("demo", "/mail/drafts")).await.status(), 403, "mail is hidden");
    // The password of before is gone with it.
    let fields = [("email", USER), ("password", crate::common::PASSWORD)];
    assert_ne!(location(&Browser::new(&world).post(&world.url("demo", "/api/sign_in"), &fields).await), "/");
}

pub async fn new_link(world: &World, address: &str) -> String {
    let admin = Browser::new(world);
    admin.sign_in(world, "demo", "admin@demo.example").await;
    let store = &world.services.store;
    let institution = store.institution_by_slug("demo").await.unwrap().unwrap().id;
    let user = store.user_by_address(institution, address).await.unwrap().unwrap().id.to_string();
    admin.post(&world.url("demo", "/api/renew_invitation"), &[("user", &user)]).await;
    let page = admin.get(&world.url("demo", "/institution/users")).await.text().await.unwrap();
    let link = page.split("/invitation/").nth(1).unwrap();
    link.chars().take_while(|c| c.is_ascii_alphanumeric() || "-_".contains(*c)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_is_told_with_the_address_that_the_mail_server_saw() {
    let database = Database::sqlite();
    let world = world(&database).await;
    world.sandbox.world().seen_from = Some("203.0.113.7".parse().unwrap());
    connects_with_a_password(&world, USER).await;
    world.sandbox.world().faults.token_error = 53003;
    let seat = world.newcomer("blocked@demo.example").await;
    let mailbox = world.services.store.mailbox(seat.key()).await.unwrap().unwrap();
    assert!(world.services.tokens.prove(&mailbox).await.is_err());
    let browser = Browser::new(&world);
    browser.sign_in(&world, "demo", "blocked@demo.example").await;
    let page = said(&browser, &world, "/account/email").await;
    assert!(page.contains("203.0.113.7, as the mail server saw it"), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_removes_a_microsoft_account() {
    let database = Database::sqlite();
    let world = world(&database).await;
    connects_with_a_password(&world, USER).await;
    let browser = Browser::new(&world);
    sign_in(&browser, &world, USER, &[]).await;
    assert!(is_signed_in(&browser, &world).await);
    let institution = world.services.store.institution_by_slug("demo").await.unwrap().unwrap().id;
    let id = world.services.store.user_by_address(institution, USER).await.unwrap().unwrap().id.to_string();
    let admin = Browser::new(&world);
    admin.sign_in(&world, "demo", "admin@demo.example").await;
    admin.post(&world.url("demo", "/api/unlink_microsoft"), &[("user", id.as_str())]).await;
    assert!(!is_signed_in(&browser, &world).await, "signed out");
    sign_in(&browser, &world, USER, &[]).await;
    assert!(!is_signed_in(&browser, &world).await, "and does not come in with it again");
    // The last one who can come in does not lose the way.
    connects_with_a_password(&world, "admin@demo.example").await;
    let last = world.services.store.user_by_address(institution, "admin@demo.example").await.unwrap().unwrap();
    let mut tx = world.services.store.begin().await.unwrap();
    world.services.store.drop_password(&mut tx, institution, last.id).await.unwrap();
    tx.commit().await.unwrap();
    let id = last.id.to_string();
    admin.post(&world.url("demo", "/api/unlink_microsoft"), &[("user", id.as_str())]).await;
    assert!(is_signed_in(&admin, &world).await, "nobody could make a new link");
}

/// The same for the only administrator who has a password, which otherwise stays while the app has only a secret.
#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_a_link_set_ends_for_the_last_administrator_too() {
    let database = Database::sqlite();
    let world = world(&database).await;
    let admin = "admin@demo.example";
    connects_with_a_password(&world, admin).await;
    let token = new_link(&world, admin).await;
    let thief = Browser::new(&world);
    let fields = [("token", token.as_str()), ("password", "a very new secret"), ("repeated", "a very new secret")];
    thief.post(&world.url("demo", "/api/accept_invitation"), &fields).await;
    assert!(is_signed_in(&thief, &world).await);
    let owner = Browser::new(&world);
    assert_eq!(sign_in(&owner, &world, admin, &[]).await, "/");
    assert_eq!(owner.get(&world.url("demo", "/mail/drafts")).await.status(), 200);
    assert!(!is_signed_in(&thief, &world).await);
    let again = Browser::new(&world);
    let fields = [("email", admin), ("password", "a very new secret")];
    assert_ne!(location(&again.post(&world.url("demo", "/api/sign_in"), &fields).await), "/");
}
