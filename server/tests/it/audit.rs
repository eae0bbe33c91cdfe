//! The audit log: what is written, and that a change from outside is found.

use app::model::AuditAction as A;
use app::model::{AuditAction, AuditQuery};
use server::clock::Clock;
use server::service::{Happened, Who};
use server::store::AuditEntry;
use sqlx::{AssertSqlSafe, Connection};

use crate::common::program::Program;
use crate::common::{Browser, Database, PASSWORD, World, complete, connects_with_a_password, location};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

async fn log(world: &World, slug: &str) -> Vec<AuditEntry> {
    let institution = world.services.store.institution_by_slug(slug).await.unwrap().unwrap().id;
    let mut all = world.services.store.audit_entries(institution, &AuditQuery::default(), 1_000).await.unwrap();
    all.reverse();
    all
}

async fn findings(world: &World) -> Vec<String> {
    let institution = world.services.store.institution_by_slug("demo").await.unwrap().unwrap().id;
    world.services.verify_audit(institution).await.unwrap().findings
}

async fn sql(database: &Database, statement: &str) {
    let mut connection = sqlx::AnyConnection::connect(&database.url).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&mut connection).await.unwrap();
}

/// Writes so many entries.
async fn write(world: &World, count: usize) {
    let institution = world.services.store.institution_by_slug("demo").await.unwrap().unwrap().id;
    for number in 0..count {
        let mut tx = world.services.store.begin().await.unwrap();
        let subject = format!("p{number}@demo.example");
        let happened = Happened::new(AuditAction::RoleChanged, &subject).with("Role", "user");
        world.services.audit(&mut tx, institution, Who::Program("command line"), happened).await.unwrap();
        tx.commit().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_people_do_is_in_the_log_with_who_and_from_where() {
    for database in Database::both().await {
        let world = World::start(&database).await;
        let browser = Browser::new(&world);
        let url = |path: &str| world.url("demo", path);
        for (address, password) in
            [("admin@demo.example", "wrong wrong wrong"), ("nobody@demo.example", "secret typed here")]
        {
            browser.post(&url("/api/sign_in"), &[("email", address), ("password", password)]).await;
        }
        browser.sign_in(&world, "demo", "admin@demo.example").await;
        let people = world
            .services
            .store
            .users(world.services.store.institution_by_slug("demo").await.unwrap().unwrap().id)
            .await
            .unwrap();
        let user = people.iter().find(|person| person.address == "user@demo.example").unwrap().id.to_string();
        browser.post(&url("/api/invite"), &[("email", "new@demo.example"), ("role", "user")]).await;
        browser.post(&url("/api/set_role"), &[("user", &user), ("role", "administrator")]).await;
        browser.post(&url("/api/set_role"), &[("user", &user), ("role", "user")]).await;
        browser.post(&url("/api/renew_invitation"), &[("user", &user)]).await;
        browser.post(&url("/api/set_name"), &[("user", &user), ("name", "Uma User")]).await;
        browser.post(&url("/api/save_email_config"), &world.app_values().fields()).await;
        browser.post(&url("/api/set_disabled"), &[("user", &user), ("disabled", "true")]).await;
        browser.post(&url("/api/set_disabled"), &[("user", &user), ("disabled", "false")]).await;
        browser.post(&url("/api/sign_out"), &[]).await;

        let all = log(&world, "demo").await;
        let seen: Vec<(AuditAction, &str, &str)> =
            all.iter().map(|entry| (entry.action, entry.actor.as_str(), entry.subject.as_str())).collect();
        let (admin, user, command) = ("admin@demo.example", "user@demo.example", "command line");
        let expected = [
            (A::LogBegun, "Entrepost", ""),
            (A::Invitation, command, admin),
            (A::Invitation, command, user),
            (A::SignInFailed, "", admin),
            (A::SignInFailed, "", ""),
            (A::SignIn, admin, admin),
            (A::Invitation, admin, "new@demo.example"),
            (A::RoleChanged, admin, user),
            (A::RoleChanged, admin, user),
            (A::PasswordLink, admin, user),
            (A::NameChanged, admin, user),
            (A::ConfigurationSaved, admin, ""),
            (A::RegistrationChanged, admin, ""),
            (A::PersonDisabled, admin, user),
            (A::PersonEnabled, admin, user),
            (A::SignOut, admin, admin),
        ];
        assert_eq!(seen, expected);
        assert!(all.iter().skip(3).all(|entry| entry.origin == "127.0.0.1"), "{all:?}");
        // Neither the secret nor what was typed as a password or as an unknown account.
        let text = format!("{all:?}");
        for hidden in [world.app_values().secret.as_str(), PASSWORD, "wrong wrong", "secret typed", "nobody@demo"] {
            assert!(!text.contains(hidden), "{hidden}");
        }
        assert_eq!(findings(&world).await, Vec::<String>::new());
        assert!(log(&world, "second").await.len() == 3, "of each institution its own");
        world.services.store.close().await;
    }
}

/// What the journey above leaves out: mailboxes, links, credentials, consent, lists, the sender of notifications.
#[tokio::test(flavor = "multi_thread")]
async fn what_happens_to_mailboxes_and_credentials_is_in_the_log() {
    const USER: &str = "user@demo.example";
    let database = Database::sqlite();
    let world = World::start(&database).await;
    let seat = world.seat(USER).await;
    let (url, store) = (|path: &str| world.url("demo", path), &world.services.store);
    let admin = Browser::new(&world);
    admin.sign_in(&world, "demo", "admin@demo.example").await;
    // A link sets a password, and hides the mail; the account at Microsoft shows it again, and is linked.
    let user = seat.user.to_string();
    admin.post(&url("/api/renew_invitation"), &[("user", &user)]).await;
    let page = admin.get(&url("/institution/users")).await.text().await.unwrap();
    let link = page.split("/invitation/").nth(1).unwrap();
    let token: String = link.chars().take_while(|c| c.is_ascii_alphanumeric() || "-_".contains(*c)).collect();
    let fields = [("token", token.as_str()), ("password", PASSWORD), ("repeated", PASSWORD)];
    Browser::new(&world).post(&url("/api/accept_invitation"), &fields).await;
    connects_with_a_password(&world, USER).await;
    admin.post(&url("/api/unlink_microsoft"), &[("user", &user)]).await;
    // A mailbox of the administrator comes and goes; the person's is ended by the administrator.
    connects_with_a_password(&world, "admin@demo.example").await;
    let people = store.users(seat.institution).await.unwrap();
    let own = people.iter().find(|person| person.address == "admin@demo.example").unwrap().id;
    let mailbox = async |user| store.mailboxes_of(seat.institution, user).await.unwrap()[0].id.to_string();
    admin.post(&url("/api/disconnect"), &[("mailbox", &mailbox(own).await)]).await;
    // Notifications leave through the person's mailbox, then through none.
    let app = world.app_values();
    let save = async |more: &[(&str, &str)]| {
        let fields = [("provider", "exchange_online"), ("client_id", &app.client_id), ("tenant_id", &app.tenant_id)];
        admin.post(&url("/api/save_email_config"), &[&fields, more].concat()).await;
    };
    save(&[("custom_from", "yes"), ("custom_from_address", USER)]).await;
    let begun = admin.post(&url("/api/test_pair"), &[("mailbox", &mailbox(seat.user).await)]).await;
    let attempt = location(&begun);
    world
        .until(async || admin.get(&url(&attempt)).await.text().await.unwrap().contains("data-outcome=\"passed\""))
        .await;
    admin.post(&url("/api/disconnect_notifications"), &[]).await;
    admin.post(&url("/api/disconnect_persons_mailbox"), &[("mailbox", &mailbox(seat.user).await)]).await;
    // Credentials.
    world.sandbox.world().app.secret_value = "another~secret.of-the-app".into();
    save(&[("client_secret", "another~secret.of-the-app")]).await;
    admin.post(&url("/api/make_certificate"), &[]).await;
    let keys = world.services.app_credentials.certificates(seat.institution).await.unwrap();
    admin.post(&url("/api/drop_certificate"), &[("id", &keys[0].id.to_string())]).await;
    // Consent.
    let authorize = url::Url::parse(&location(&admin.post(&url("/api/start_consent"), &[]).await)).unwrap();
    let mut fields: Vec<(String, String)> = authorize.query_pairs().into_owned().collect();
    for (name, value) in [("username", "admin@demo.example"), ("password", "sandbox"), ("answer", "accept")] {
        fields.push((name.to_owned(), value.to_owned()));
    }
    let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let at = format!("{}{}", authorize.origin().ascii_serialization(), authorize.path());
    let back = location(&admin.post(&at, &fields).await);
    complete(&admin, &world, "demo", &back).await;
    // A list.
    let people = [("people", "a@demo.example\nb@demo.example"), ("role", "user")];
    let listed = location(&admin.post_parts(&url("/api/list_invitations"), &people, &[]).await);
    let list = listed.rsplit('/').next().unwrap().to_owned();
    admin.post(&url("/api/confirm_invitations"), &[("list", &list)]).await;
    let links = format!("/institution/users/invite/{list}/links");
    // The people of the list are invited one after the other.
    world.until(async || admin.post(&url(&links), &[]).await.text().await.unwrap().contains("b@demo.example")).await;
    save(&[("secret_change", "remove"), ("confirm_disconnect", "yes")]).await;

    let all = log(&world, "demo").await;
    let named = |action| all.iter().filter(move |entry| entry.action == action).map(|entry| entry.subject.as_str());
    for (action, subjects) in [
        (A::PasswordSet, vec![USER]),
        (A::MailHidden, vec![USER]),
        (A::MailShown, vec![USER]),
        (A::MicrosoftUnlinked, vec![USER]),
        (A::MailboxConnected, vec![USER, "admin@demo.example"]),
        (A::MailboxDisconnected, vec!["admin@demo.example", USER]),
        (A::NotificationSenderChanged, vec![USER, ""]),
        (A::SecretReplaced, vec![""]),
        (A::ConsentGranted, vec![""]),
        (A::InvitationList, vec![""]),
        (A::RegistrationRemoved, vec![""]),
    ] {
        assert_eq!(named(action).collect::<Vec<_>>(), subjects, "{action:?}");
    }
    for action in [A::CertificateMade, A::CertificateRemoved, A::LinksExported] {
        assert!(named(action).next().is_some(), "{action:?}");
    }
    let text = format!("{all:?}");
    assert!(!text.contains("another~secret") && !text.contains(&token), "no secret is in it");
    assert_eq!(findings(&world).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_is_undone_leaves_none_and_many_at_once_follow_each_other() {
    for database in Database::both().await {
        let world = World::start(&database).await;
        let before = log(&world, "demo").await.len();
        let institution = world.services.store.institution_by_slug("demo").await.unwrap().unwrap().id;
        let mut tx = world.services.store.begin().await.unwrap();
        let happened = Happened::new(AuditAction::RoleChanged, "a@demo.example");
        world.services.audit(&mut tx, institution, Who::Program("command line"), happened).await.unwrap();
        drop(tx);
        assert_eq!(log(&world, "demo").await.len(), before);
        let writing = (0..8).map(|_| write(&world, 5));
        futures::future::join_all(writing).await;
        let all = log(&world, "demo").await;
        assert_eq!(all.len(), before + 40);
        assert!(all.windows(2).all(|pair| pair[1].number == pair[0].number + 1));
        assert_eq!(findings(&world).await, Vec::<String>::new());
        world.services.store.close().await;
    }
}

/// Someone who can write to the database, but has no key.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_from_outside_is_found() {
    let attacks: [(&str, &str); 13] = [
        ("UPDATE audit_entries SET actor = 'other@demo.example' WHERE number = 4", "entry 4: changed"),
        ("UPDATE audit_entries SET at = at + 1 WHERE number = 4", "entry 4: changed"),
        ("UPDATE audit_entries SET details = '[]' WHERE number = 4", "entry 4: changed"),
        ("DELETE FROM audit_entries WHERE number = 4", "entry 4: removed"),
        ("DELETE FROM audit_entries WHERE number <= 3", "entries 1 to 3: removed"),
        ("DELETE FROM audit_entries WHERE number >= 8", "entries 8 to 9: removed"),
        (
            "INSERT INTO audit_entries SELECT institution_id, number + 1, at, actor_id, actor, origin, action, subject, details, hash
             FROM audit_entries WHERE number = 9",
            "entry 10 was inserted",
        ),
        ("UPDATE audit_ends SET sealed = ''", "the sealed end of the log is missing"),
        ("DELETE FROM audit_ends", "the sealed end of the log is missing"),
        ("DELETE FROM audit_entries; DELETE FROM audit_ends", "the sealed end of the log is missing"),
        (
            "INSERT INTO audit_entries SELECT institution_id, 9223372036854775807, at, actor_id, actor, origin, action, subject, details, hash
             FROM audit_entries WHERE number = 9",
            "entry 9223372036854775807 was inserted",
        ),
        // Old times must not make the server cut its own log.
        ("UPDATE audit_entries SET at = 0 WHERE number <= 5", "entry 1: changed"),
        ("UPDATE audit_entries SET at = 0", "entry 1: changed"),
    ];
    for (attack, found) in attacks {
        for database in Database::both().await {
            let world = World::start(&database).await;
            // The log begins with the institution: its beginning and two invitations.
            write(&world, 6).await;
            assert_eq!(findings(&world).await, Vec::<String>::new());
            sql(&database, attack).await;
            world.services.sweep_hourly().await.unwrap();
            let findings = findings(&world).await;
            assert!(findings.iter().any(|finding| finding.contains(found)), "{attack}: {findings:?}");
            world.services.store.close().await;
        }
    }
}

/// The whole chain written anew, hashes and all: only the sealed end cannot be.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_written_anew_is_found_and_the_next_entry_says_so() {
    let (database, other) = (Database::sqlite(), Database::sqlite());
    let world = World::start(&database).await;
    let forger = World::start(&other).await;
    let institution = |world: &World| {
        let store = world.services.store.clone();
        async move { store.institution_by_slug("demo").await.unwrap().unwrap().id }
    };
    write(&world, 3).await;
    // Another server's chain, under this institution's id.
    let (own, foreign) = (institution(&world).await, institution(&forger).await);
    let path = other.url.trim_start_matches("sqlite://").to_owned();
    forger.services.store.close().await;
    sql(
        &database,
        &format!(
            "ATTACH '{path}' AS other;
             DELETE FROM main.audit_entries WHERE institution_id = '{own}';
             INSERT INTO main.audit_entries SELECT '{own}', number, at, actor_id, actor, origin, action, subject, details, hash
               FROM other.audit_entries WHERE institution_id = '{foreign}';
             UPDATE main.audit_ends SET sealed = (SELECT sealed FROM other.audit_ends WHERE id = '{foreign}') WHERE id = '{own}'"
        ),
    )
    .await;
    assert!(findings(&world).await.iter().any(|finding| finding.contains("sealed with another key")));
    write(&world, 1).await;
    let all = log(&world, "demo").await;
    assert_eq!(all[all.len() - 2].action, AuditAction::LogBroken);
    let findings = findings(&world).await;
    assert!(
        findings.iter().any(|finding| finding.contains("the sealed end was missing when it was written")),
        "{findings:?}"
    );
}

/// What is old is deleted, and the rest still proves to be whole.
#[tokio::test(flavor = "multi_thread")]
async fn old_entries_are_deleted_and_the_rest_is_whole() {
    for database in Database::both().await {
        let clock = Clock::manual(Clock::system().now());
        let world = World::start_with(&database, clock.clone(), &[("ENTREPOST_AUDIT_DAYS", "30".to_owned())]).await;
        write(&world, 4).await;
        clock.advance_ms(20 * DAY_MS);
        write(&world, 3).await;
        clock.advance_ms(11 * DAY_MS);
        write(&world, 1).await;
        world.services.sweep_hourly().await.unwrap();
        let all = log(&world, "demo").await;
        assert_eq!(all.len(), 4, "those of the last thirty days");
        assert_eq!(findings(&world).await, Vec::<String>::new());
        sql(&database, &format!("DELETE FROM audit_entries WHERE number = {}", all[0].number)).await;
        assert!(!findings(&world).await.is_empty(), "but not what was deleted by another");
        world.services.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_sign_ins_fill_the_log_up_to_a_bound() {
    let database = Database::sqlite();
    let world = World::start(&database).await;
    let before = log(&world, "demo").await.len();
    // As many as strangers from many networks may cause.
    let institution = world.services.store.institution_by_slug("demo").await.unwrap().unwrap().id;
    let (now, subject) = (world.clock.now(), format!("audit:unknown:{institution}"));
    world.services.store.count_within(&subject, 98, now, now.plus_ms(-1)).await.unwrap();
    let browser = Browser::new(&world);
    for number in 0..4 {
        let address = format!("n{number}@demo.example");
        browser.post(&world.url("demo", "/api/sign_in"), &[("email", &address), ("password", "wrong")]).await;
    }
    let all = log(&world, "demo").await;
    assert_eq!(all.len(), before + 2);
    assert!(all.last().unwrap().details.contains("not listed"), "{:?}", all.last());
    // Guesses at an account that exists are still written.
    let fields = [("email", "admin@demo.example"), ("password", "wrong")];
    browser.post(&world.url("demo", "/api/sign_in"), &fields).await;
    assert_eq!(log(&world, "demo").await.last().unwrap().subject, "admin@demo.example");
    // Those beyond the limit are refused unchecked, and written as that.
    for _ in 0..9 {
        browser.post(&world.url("demo", "/api/sign_in"), &fields).await;
    }
    let all = log(&world, "demo").await;
    let refused = all.iter().filter(|entry| entry.details.contains("not checked")).count();
    assert!(refused > 0 && all.last().unwrap().subject == "admin@demo.example", "{:?}", all.last());
}

/// The page, its filters, the file, and the command.
#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_reads_filters_and_downloads_the_log() {
    let database = Database::sqlite();
    let world = World::start(&database).await;
    write(&world, 130).await;
    let browser = Browser::new(&world);
    browser.sign_in(&world, "demo", "admin@demo.example").await;
    let page = async |path: &str| browser.get(&world.url("demo", path)).await.text().await.unwrap();
    let rows = |page: &str| page.matches("<tr data-action").count();
    let first = page("/institution/audit").await;
    assert_eq!(rows(&first), 50);
    assert!(first.contains("Signed in") && first.contains("from 127.0.0.1") && first.contains("p129@demo.example"));
    let next = first.split("href=\"/institution/audit?before=").nth(1).unwrap().split('"').next().unwrap();
    let second = page(&format!("/institution/audit?before={next}")).await;
    assert!(rows(&second) == 50 && !second.contains("p129@") && second.contains("p60@demo.example"));
    assert_eq!(rows(&page("/institution/audit?what=sign_ins").await), 1);
    assert_eq!(rows(&page("/institution/audit?person=P77%40demo").await), 1);
    assert_eq!(rows(&page("/institution/audit?person=100%25_").await), 0, "signs of LIKE are ordinary");
    assert_eq!(rows(&page("/institution/audit?from=2999-01-01").await), 0);
    assert_eq!(
        rows(&page("/institution/audit?to=2999-01-01&what=odd&before=x&from=y").await),
        50,
        "what is no filter is left out"
    );
    let csv = browser.post(&world.url("demo", "/institution/audit/csv"), &[("what", "people")]).await;
    assert_eq!(csv.headers()["content-type"], "text/csv; charset=utf-8");
    let csv = csv.text().await.unwrap();
    assert_eq!(csv.lines().next().unwrap(), "number,time,who,from,what,whom,details");
    assert_eq!(csv.lines().count(), 1 + 132);
    assert!(log(&world, "demo").await.last().unwrap().action == AuditAction::LogExported, "the download is in the log");

    let user = Browser::new(&world);
    user.sign_in(&world, "demo", "user@demo.example").await;
    assert_eq!(user.get(&world.url("demo", "/institution/audit")).await.status(), 403);
    assert_eq!(user.post(&world.url("demo", "/institution/audit/csv"), &[]).await.status(), 403);
    assert_eq!(
        location(&Browser::new(&world).get(&world.url("demo", "/institution/audit")).await),
        "/login?next=/institution/audit"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_verifies_and_fails_where_something_was_changed() {
    let database = Database::sqlite();
    let world = World::start(&database).await;
    write(&world, 3).await;
    let program = Program::start(&world, &[]).await;
    let verify = |slug: &str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_entrepost"));
        command.args(["audit", "verify"]).args((!slug.is_empty()).then_some(slug));
        command.current_dir(world.directory.path()).env_clear();
        command.envs(program.settings.iter().map(|(name, value)| (*name, value)));
        let done = command.output().unwrap();
        (done.status.success(), String::from_utf8(done.stdout).unwrap() + &String::from_utf8(done.stderr).unwrap())
    };
    let (whole, said) = verify("");
    assert!(
        whole
            && said.contains("ok    demo: 6 entries, ")
            && said.contains("; the last is 6, hash ")
            && said.contains("ok    second: 3 entries"),
        "{said}"
    );
    sql(&database, "UPDATE audit_entries SET subject = 'x' WHERE number = 3 AND subject LIKE 'user%'").await;
    let (whole, said) = verify("demo");
    assert!(!whole && said.contains("FAIL  demo: entry 3: changed"), "{said}");
    assert!(verify("none").1.contains("there is no institution none"));
}
