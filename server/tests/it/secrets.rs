//! No secret or token leaves the process or is stored in the clear: the whole flow with marked secrets, then a search through all
//! responses, logs and tables.

use base64::prelude::{BASE64_STANDARD, Engine};

use crate::common::{Browser, Captured, Database, PASSWORD, World, alone, location};
use sandbox::SmtpAuthSwitch;

/// All responses: headers and bodies.
#[derive(Default)]
struct Answers(String);

impl Answers {
    async fn take(&mut self, answer: reqwest::Response) -> String {
        for (name, value) in answer.headers() {
            self.0.extend([name.as_str(), ": ", &String::from_utf8_lossy(value.as_bytes()), "\n"]);
        }
        let body = answer.text().await.unwrap_or_default();
        self.0.push_str(&body);
        body
    }
}

async fn connect(browser: &Browser, world: &World, answers: &mut Answers) -> String {
    connect_as(browser, world, answers, ("admin@demo.example", "admin@demo.example")).await.1
}

/// Connects an address, signing in with a name; returns the attempt's path and its final page.
async fn connect_as(
    browser: &Browser,
    world: &World,
    answers: &mut Answers,
    (address, name): (&str, &str),
) -> (String, String) {
    let answer = browser.post(&world.url("demo", "/api/configure_and_test"), &[("email", address)]).await;
    let authorize = location(&answer);
    assert!(authorize.starts_with(world.sandbox.authority()), "{authorize}");
    // The authorization URL contains no secrets of ours: state, nonce and challenge.
    let back = browser.at_microsoft(world, &authorize, name).await;
    let query: Vec<(String, String)> = url::Url::parse(&back).unwrap().query_pairs().into_owned().collect();
    let page = browser.get(&back).await;
    // The redirect page has the code in its URL and form; no later page may.
    assert_eq!(page.status().as_u16(), 200);
    let mut fields: Vec<(&str, &str)> = query.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    fields.push(("plain", "1"));
    let answer = browser.post(&world.url("demo", "/api/complete_sign_in"), &fields).await;
    let attempt = location(&answer);
    answers.take(answer).await;
    let page = rest(browser, world, answers, &attempt).await;
    (attempt, page)
}

/// The attempt's page once it is finished or waits for a decision.
async fn rest(browser: &Browser, world: &World, answers: &mut Answers, attempt: &str) -> String {
    loop {
        let page = answers.take(browser.get(&world.url("demo", attempt)).await).await;
        if page.contains("data-stage=\"deciding\"") {
            return page;
        }
        if page.contains("data-stage=\"finished\"") {
            // The attempt's event stream.
            let id = attempt.rsplit('/').next().unwrap();
            answers.take(browser.get(&world.url("demo", &format!("/events/attempts/{id}"))).await).await;
            answers.take(browser.post(&world.url("demo", "/api/run_checks"), &[("attempt", id)]).await).await;
            return page;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// Signs in with a different account, and decides.
async fn decide(
    browser: &Browser,
    world: &World,
    answers: &mut Answers,
    names: (&str, &str),
    decision: &str,
) -> String {
    let (attempt, page) = connect_as(browser, world, answers, names).await;
    assert!(page.contains("data-stage=\"deciding\""), "{page}");
    let id = attempt.rsplit('/').next().unwrap();
    let fields = [("attempt", id), ("decision", decision)];
    answers.take(browser.post(&world.url("demo", "/api/decide"), &fields).await).await;
    rest(browser, world, answers, &attempt).await
}

#[test]
fn nothing_secret_gets_out() {
    alone("secrets::with_marked_secrets", &[]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "nothing_secret_gets_out runs it in its own process: everything that is logged is read"]
async fn with_marked_secrets() {
    let captured = Captured::default();
    let writer = captured.clone();
    // The cookie jar is the client's, which runs in this process only in tests.
    tracing_subscriber::fmt()
        .with_ansi(false)
        .with_env_filter(server::logging::filter("trace").unwrap())
        .with_writer(move || writer.clone())
        .init();

    let database = Database::sqlite();
    let world = World::start(&database).await;
    let browser = Browser::new(&world);
    let mut answers = Answers::default();
    let wrong = "wrong~MARKED-wrong-secret";
    let app = world.app_values();
    let fields = [("email", "admin@demo.example"), ("password", PASSWORD)];
    let signed_in = browser.post(&world.url("demo", "/api/sign_in"), &fields).await;
    let cookie = signed_in.headers()["set-cookie"].to_str().unwrap().to_owned();
    let session = cookie.split_once('=').unwrap().1.split(';').next().unwrap().to_owned();

    let config = "/institution/config/general/email";
    for value in [wrong, app.secret.as_str()] {
        let fields = [
            ("provider", "exchange_online"),
            ("client_id", app.client_id.as_str()),
            ("tenant_id", app.tenant_id.as_str()),
            ("client_secret", value),
            ("custom_from", "no"),
            ("allow_other_address", "yes"),
        ];
        let answer = browser.post(&world.url("demo", "/api/save_email_config"), &fields).await;
        assert_eq!(location(&answer), config);
        answers.take(answer).await;
        answers.take(browser.get(&world.url("demo", config)).await).await;
    }
    assert!(
        answers.0.contains("The Client Secret is wrong.") && answers.0.contains("Microsoft accepted the credentials.")
    );

    // Success first, then a fault at each step, to cover every error path.
    let page = connect(&browser, &world, &mut answers).await;
    assert!(page.contains("data-outcome=\"passed\""), "{page}");
    world.sandbox.world().faults.smtp_auth = SmtpAuthSwitch::Mailbox;
    assert!(connect(&browser, &world, &mut answers).await.contains("data-outcome=\"failed\""));
    world.sandbox.world().faults = sandbox::Faults { smtp_scope_missing: true, ..sandbox::Faults::default() };
    connect(&browser, &world, &mut answers).await;
    world.sandbox.world().faults =
        sandbox::Faults { imap_disabled: true, throttled: true, ..sandbox::Faults::default() };
    connect(&browser, &world, &mut answers).await;
    // A mail server that echoes its input.
    world.sandbox.world().faults = sandbox::Faults { auth_echo: true, ..sandbox::Faults::default() };
    let echoed = connect(&browser, &world, &mut answers).await;
    assert!(echoed.contains("[removed]"), "{echoed}");
    world.sandbox.world().faults = sandbox::Faults { secret_expired: true, ..sandbox::Faults::default() };
    connect(&browser, &world, &mut answers).await;
    world.sandbox.world().faults = sandbox::Faults { token_error: 50076, ..sandbox::Faults::default() };
    connect(&browser, &world, &mut answers).await;
    world.sandbox.world().faults = sandbox::Faults::default();
    // A different account: the grant is kept at the attempt; the address is proven, refused, or changed.
    let alias = ("secretary@demo.example", "office.manager@demo.example");
    assert!(decide(&browser, &world, &mut answers, alias, "continue").await.contains("data-outcome=\"passed\""));
    let foreign = ("admin@demo.example", "other@demo.example");
    assert!(decide(&browser, &world, &mut answers, foreign, "continue").await.contains("data-outcome=\"failed\""));
    assert!(decide(&browser, &world, &mut answers, foreign, "instead").await.contains("data-outcome=\"passed\""));
    // Written text is secret too: a draft with a file, then the same message queued.
    let (text, content) = ("MARKED-text-of-a-letter", "MARKED-content-of-a-file");
    let mine = world.services.store.institution_by_slug("demo").await.unwrap().unwrap().id;
    let user = world.services.store.user_by_address(mine, "admin@demo.example").await.unwrap().unwrap().id;
    let mailbox = world.services.store.mailboxes_of(mine, user).await.unwrap()[0].id.to_string();
    for (key, action) in [("1", "save"), ("2", "send")] {
        let key = format!("00000000-0000-4000-8000-00000000000{key}");
        let fields = [
            ("mailbox", mailbox.as_str()),
            ("to", "other@demo.example"),
            ("subject", "A letter"),
            ("text", text),
            ("key", key.as_str()),
            ("action", action),
        ];
        let files = [("file.txt", "text/plain", content.as_bytes())];
        let answer = browser.post_parts(&world.url("demo", "/api/send_message"), &fields, &files).await;
        assert_eq!(answer.status().as_u16(), 302);
    }
    // A panic message with a secret.
    let message = app.secret.clone();
    let hook = std::panic::take_hook();
    server::panics::report_only_places();
    tokio::spawn(async move { panic!("{message}") }).await.unwrap_err();
    std::panic::set_hook(hook);
    // An invitation link works like a password: only the response that creates it shows it.
    let answer =
        browser.post(&world.url("demo", "/api/invite"), &[("email", "other@demo.example"), ("role", "user")]).await;
    answers.take(answer).await;
    let page = browser.get(&world.url("demo", "/institution/users")).await.text().await.unwrap();
    let invitation = page
        .split("/invitation/")
        .nth(1)
        .unwrap()
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || "-_".contains(*c))
        .collect::<String>();
    assert!(invitation.len() > 40, "a link is shown");

    for path in ["/", "/account/email", config, "/institution/users"] {
        answers.take(browser.get(&world.url("demo", path)).await).await;
    }

    let mut marked = vec![app.secret, wrong.to_owned(), PASSWORD.to_owned(), invitation.clone(), session];
    marked.extend(world.sandbox.world().every_token());
    assert!(marked.len() > 10, "the flow made tokens");
    world.services.store.close().await;
    let mut stored = Vec::new();
    let file = database.url.trim_start_matches("sqlite://").to_owned();
    for suffix in ["", "-wal"] {
        stored.extend(std::fs::read(format!("{file}{suffix}")).unwrap_or_default());
    }
    let logged = captured.0.lock().unwrap().clone();
    assert!(stored.len() > 10_000 && logged.len() > 1_000, "something was searched");
    assert!(String::from_utf8_lossy(&logged).contains("a bug: panicked at"), "the panic was reported");
    for cause in ["secret_wrong", "smtp_auth_mailbox", "imap_disabled", "secret_expired", "mfa"] {
        let line = format!("cause=\"{cause}\"");
        assert!(String::from_utf8_lossy(&logged).contains(&line), "the server's administrator reads {line}");
    }
    let (stored, logged) =
        (String::from_utf8_lossy(&stored).into_owned(), String::from_utf8_lossy(&logged).into_owned());
    for written in [text, content] {
        assert!(!stored.contains(written) && !logged.contains(written), "{written} lies in the clear");
    }
    let sent: String = world
        .sandbox
        .world()
        .mails()
        .iter()
        .map(|(_, _, mail)| String::from_utf8_lossy(&mail.raw).into_owned())
        .collect();
    for secret in marked.iter().filter(|secret| !secret.starts_with("http")) {
        assert!(!sent.contains(secret) || *secret == invitation, "a message holds {secret}");
    }
    // In base64 as in XOAUTH2, at each of the three alignments.
    let encoded = |secret: &str| -> Vec<String> {
        (0..3)
            .map(|skip| BASE64_STANDARD.encode(&secret.as_bytes()[skip..secret.len() - (secret.len() - skip) % 3]))
            .collect()
    };
    for secret in marked.iter().filter(|secret| secret.len() > 12 && !secret.starts_with("http")) {
        for form in encoded(secret) {
            assert!(!logged.contains(&form), "the log holds a secret in base64");
        }
    }
    assert!(!logged.contains(" async_imap") && !logged.contains(" html5ever"), "libraries log what they carry");
    for secret in &marked {
        assert!(!answers.0.contains(secret), "an answer holds {secret}");
        assert!(!stored.contains(secret), "the database holds {secret}");
        let line = logged.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "a log line holds {secret}");
    }
}
