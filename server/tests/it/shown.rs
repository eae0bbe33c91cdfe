//! Display of messages and handling of pasted text: over HTTP, as pages and downloads.

use crate::common::{Browser, Database, Seat, World, location, without_comments};

async fn reader(world: &World) -> (Seat, Browser) {
    let seat = world.seat("user@demo.example").await;
    let browser = Browser::new(world);
    browser.sign_in(world, "demo", "user@demo.example").await;
    (seat, browser)
}

fn corpus(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/messages/{name}.eml", env!("CARGO_MANIFEST_DIR"));
    let mut wire = Vec::new();
    for line in std::fs::read(path).unwrap().split_inclusive(|byte| *byte == b'\n') {
        wire.extend_from_slice(line.trim_ascii_end());
        wire.extend_from_slice(b"\r\n");
    }
    wire
}

async fn text(browser: &Browser, world: &World, path: &str) -> String {
    browser.get(&world.url("demo", path)).await.text().await.unwrap()
}

/// The newest message's address, once listed.
async fn newest(browser: &Browser, world: &World, count: usize) -> String {
    let listed = async || text(browser, world, "/mail/inbox").await;
    world.until(async || listed().await.matches("class=\"mail-row").count() == count).await;
    let list = listed().await;
    let (_, rest) = list.split_once("href=\"/mail/message?").unwrap();
    format!("/mail/message?{}", rest.split('"').next().unwrap().replace("&amp;", "&"))
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_of_other_scripts_are_quoted_and_names_turn_nothing_around_them() {
    let database = Database::sqlite();
    let world = World::start(&database).await;
    let (_, browser) = reader(&world).await;
    world.sandbox.deliver("user@demo.example", &corpus("12-gb2312"));
    let href = newest(&browser, &world, 1).await;
    let list = without_comments(&text(&browser, &world, "/mail/inbox").await);
    assert!(list.contains("<bdi>家长会</bdi>") && list.contains("<bdi>家长会通知</bdi>"), "{list}");
    let query: Vec<(String, String)> =
        url::Url::parse(&world.url("demo", &href)).unwrap().query_pairs().into_owned().collect();
    let mut fields: Vec<(&str, &str)> = query.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    fields.push(("how", "reply"));
    let draft = location(&browser.post(&world.url("demo", "/api/answer_message"), &fields).await);
    let shown = text(&browser, &world, &draft).await;
    assert!(shown.contains("> 各位家长：") && shown.contains("Re: 家长会通知"), "{shown}");
    // Bidi control characters in names, in lists and opened messages.
    let raw = "From: \"\u{202e}nna\u{202c}\" <a@far.example>\r\nSubject: \u{202e}gnp.exe\r\n\r\nx\r\n";
    world.sandbox.deliver("user@demo.example", raw.as_bytes());
    let href = newest(&browser, &world, 2).await;
    for page in [text(&browser, &world, "/mail/inbox").await, text(&browser, &world, &href).await] {
        assert!(!page.contains('\u{202e}') && page.contains("<bdi>"), "{page}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alias_of_ones_own_gets_no_answer_and_other_scripts_are_found() {
    let database = Database::sqlite();
    let world = World::start(&database).await;
    let (_, browser) = reader(&world).await;
    world.sandbox.deliver("user@demo.example", &corpus("43-alias"));
    let href = newest(&browser, &world, 1).await;
    let query: Vec<(String, String)> =
        url::Url::parse(&world.url("demo", &href)).unwrap().query_pairs().into_owned().collect();
    let mut fields: Vec<(&str, &str)> = query.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    fields.push(("how", "reply_all"));
    let draft = location(&browser.post(&world.url("demo", "/api/answer_message"), &fields).await);
    let shown = text(&browser, &world, &draft).await;
    assert!(shown.contains("ada@example.org") && shown.contains("kai@example.org"), "{shown}");
    assert!(!shown.contains("first.user@demo.example"), "{shown}");
    world.sandbox.deliver("user@demo.example", &corpus("12-gb2312"));
    newest(&browser, &world, 2).await;
    let search = url::form_urlencoded::byte_serialize("家长会".as_bytes()).collect::<String>();
    let found = async || text(&browser, &world, &format!("/mail/inbox?search={search}")).await;
    world.until(async || found().await.contains("家长会通知")).await;
    assert!(!found().await.contains("43 To an alias"));
}

/// A nested message is opened in place, with its attachments.
#[tokio::test(flavor = "multi_thread")]
async fn nested_messages_are_opened_where_they_are() {
    let database = Database::sqlite();
    let world = World::start(&database).await;
    let (_, browser) = reader(&world).await;
    let inner = "From: Kai <kai@far.example>\r\nSubject: The inner one\r\nContent-Type: multipart/mixed; boundary=i\r\n\r\n--i\r\nContent-Type: text/html\r\n\r\n<p>Inner <b>words</b></p>\r\n--i\r\nContent-Type: application/zip; name=in.zip\r\nContent-Transfer-Encoding: base64\r\n\r\nUEsDBA==\r\n--i--\r\n";
    let raw = format!(
        "Subject: Outer\r\nContent-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\nContent-Type: text/plain\r\n\r\nSee below\r\n--o\r\nContent-Type: message/rfc822\r\n\r\n{inner}\r\n--o--\r\n"
    );
    world.sandbox.deliver("user@demo.example", raw.as_bytes());
    let href = newest(&browser, &world, 1).await;
    let page = text(&browser, &world, &href).await;
    assert!(page.contains("The inner one") && page.contains("The inner one.eml") && page.contains("in.zip"), "{page}");
    let document = href.replace("/mail/message?", "/mail/message/document?") + "&nested=1";
    assert!(text(&browser, &world, &document).await.contains("Inner <b>words</b>"));
    let file = href.replace("/mail/message?", "/mail/message/attachment?") + "&nested=1&number=1";
    let bytes = browser.get(&world.url("demo", &file)).await.bytes().await.unwrap();
    assert_eq!(bytes.as_ref(), b"PK\x03\x04");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_damaged_or_closed_says_so_and_scripts_are_no_scripts() {
    let database = Database::sqlite();
    let world = World::start(&database).await;
    let (_, browser) = reader(&world).await;
    let damaged =
        "Subject: d\r\nContent-Type: application/zip; name=a.zip\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAAA\r\n";
    world.sandbox.deliver("user@demo.example", damaged.as_bytes());
    let href = newest(&browser, &world, 1).await;
    assert!(text(&browser, &world, &href).await.contains("Damaged in transit: part of it is lost."));
    let closed = "Subject: c\r\nContent-Type: multipart/encrypted; boundary=b; protocol=\"application/pgp-encrypted\"\r\n\r\n--b\r\nContent-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n--b\r\nContent-Type: application/octet-stream\r\n\r\n-----BEGIN PGP MESSAGE-----\r\n--b--\r\n";
    world.sandbox.deliver("user@demo.example", closed.as_bytes());
    let href = newest(&browser, &world, 2).await;
    assert!(text(&browser, &world, &href).await.contains("This message is encrypted."));
    for (number, kind) in
        ["text/javascript", "application/javascript", "text/html", "image/svg+xml", "application/wasm", "text/css"]
            .into_iter()
            .enumerate()
    {
        let raw = format!(
            "Subject: s\r\nContent-Type: {kind}; name=a.x\r\nContent-Disposition: attachment\r\n\r\nalert(1)\r\n"
        );
        world.sandbox.deliver("user@demo.example", raw.as_bytes());
        let href = newest(&browser, &world, 3 + number).await;
        let path = href.replace("/mail/message?", "/mail/message/attachment?") + "&number=1";
        let answer = browser.get(&world.url("demo", &path)).await;
        let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("content-type"), "application/octet-stream", "{kind}");
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert!(
            header("content-security-policy").contains("sandbox")
                && header("content-disposition").starts_with("attachment")
        );
    }
}

/// Invisible characters pasted with an address, ID or secret are accepted in every form.
#[tokio::test(flavor = "multi_thread")]
async fn pasted_values_are_what_they_look_like_in_every_form() {
    let database = Database::sqlite();
    let world = World::start(&database).await;
    let mailbox = world.seat("user@demo.example").await.mailbox.to_string();
    let (client, tenant, secret) = {
        let sandbox = world.sandbox.world();
        (sandbox.app.client_id.to_string(), sandbox.tenant_id.to_string(), sandbox.app.secret_value.clone())
    };
    let dirty = |text: &str| format!("\u{feff}\u{200b}{}\u{200b}\u{a0}", text.replace('-', "\u{2011}"));
    let admin = Browser::new(&world);
    let fields = [("email", "\u{200b}admin@demo.example\u{2060}"), ("password", crate::common::PASSWORD)];
    assert_eq!(location(&admin.post(&world.url("demo", "/api/sign_in"), &fields).await), "/");
    let secret = format!("\u{200b}{secret}\u{feff}");
    let (client, tenant) = (dirty(&client), dirty(&format!("{{{tenant}}}")));
    let fields = [
        ("provider", "exchange_online"),
        ("client_id", client.as_str()),
        ("tenant_id", tenant.as_str()),
        ("client_secret", secret.as_str()),
        ("custom_from", "yes"),
        ("custom_from_address", "\u{200b}noreply@demo.example\u{200e}"),
    ];
    let config = location(&admin.post(&world.url("demo", "/api/save_email_config"), &fields).await);
    let page = text(&admin, &world, &config).await;
    assert!(
        page.contains("Microsoft accepted the credentials.") && page.contains("value=\"noreply@demo.example\""),
        "{page}"
    );
    let fields = [("email", "new\u{ad}@demo.example\u{202c}"), ("role", "user")];
    let invited = admin.post(&world.url("demo", "/api/invite"), &fields).await;
    let page = text(&admin, &world, &location(&invited)).await;
    assert!(page.contains("new@demo.example is invited."), "{page}");
    let user = Browser::new(&world);
    user.sign_in(&world, "demo", "user@demo.example").await;
    let started =
        user.post(&world.url("demo", "/api/configure_and_test"), &[("email", "user@demo.example\u{200b}")]).await;
    assert_eq!(started.status().as_u16(), 200, "it goes to Microsoft");
    let key = world.clock.uuid().to_string();
    let fields = [
        ("mailbox", mailbox.as_str()),
        ("to", "\u{200b}other@demo.example\u{200b}, Ann <ann@demo\u{2060}.example>"),
        ("subject", "a\u{200c}b"),
        ("text", "\u{200d}"),
        ("key", &key),
        ("action", "send"),
    ];
    let answer = user.post_parts(&world.url("demo", "/api/send_message"), &fields, &[]).await;
    let outbox = text(&user, &world, &location(&answer)).await;
    assert!(outbox.contains("other@demo.example") && outbox.contains("ann@demo.example"), "{outbox}");
    // Texts keep theirs: Persian and emoji need joiners.
    assert!(outbox.contains("a\u{200c}b"), "{outbox}");
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_out_leaves_nothing_in_the_browser() {
    let database = Database::sqlite();
    let world = World::start(&database).await;
    let (_, browser) = reader(&world).await;
    let answer = browser.post(&world.url("demo", "/api/sign_out"), &[]).await;
    let said = answer.headers()["clear-site-data"].to_str().unwrap();
    assert!(said.contains("\"cache\"") && said.contains("\"storage\""), "{said}");
}

/// Discovery with another issuer is rejected, and nothing is stored.
#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_issuer_is_not_believed() {
    let database = Database::sqlite();
    let world = World::start(&database).await;
    world.sandbox.world().faults.foreign_issuer = true;
    let (client, tenant, secret) = {
        let sandbox = world.sandbox.world();
        (sandbox.app.client_id.to_string(), sandbox.tenant_id.to_string(), sandbox.app.secret_value.clone())
    };
    let admin = Browser::new(&world);
    admin.sign_in(&world, "demo", "admin@demo.example").await;
    let fields = [
        ("provider", "exchange_online"),
        ("client_id", client.as_str()),
        ("tenant_id", tenant.as_str()),
        ("client_secret", secret.as_str()),
        ("custom_from", "no"),
    ];
    let config = location(&admin.post(&world.url("demo", "/api/save_email_config"), &fields).await);
    let page = text(&admin, &world, &config).await;
    assert!(!page.contains("Microsoft accepted the credentials."), "{page}");
}
