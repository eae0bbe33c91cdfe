//! An institution of 10,000 people: its pages ask as many queries as for ten, and do not grow with them.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sqlx::{AssertSqlSafe, Connection};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use crate::common::{Browser, Database, World};

const PEOPLE: usize = 10_000;
/// Broken mailboxes, over so many causes.
const BROKEN: usize = 1_000;
const CAUSES: [&str; 8] = [
    "smtp_auth_mailbox",
    "grant_revoked",
    "imap_disabled",
    "mfa",
    "conditional_access",
    "mailbox_full",
    "smtp_token_refused",
    "account_disabled",
];
/// Limit of a page, in bytes.
const LARGEST: usize = 600_000;

/// Counts the statements that sqlx logs.
#[derive(Clone, Default)]
struct Queries(Arc<AtomicUsize>);

impl<S: tracing::Subscriber> Layer<S> for Queries {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() == "sqlx::query" {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
}

#[test]
fn pages_ask_no_more_for_ten_thousand_people() {
    crate::common::alone("many_people::queries_of_pages", &[]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by the test above as a program of its own, which captures the log of all threads"]
async fn queries_of_pages() {
    let queries = Queries::default();
    let _log = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(queries.clone()));
    for database in Database::both().await {
        let world = World::start(&database).await;
        let seat = world.seat("user@demo.example").await;
        add_people(&database, &seat.institution.to_string(), 0..10).await;
        let admin = Browser::new(&world);
        admin.sign_in(&world, "demo", "admin@demo.example").await;
        let few = asked(&world, &admin, &queries).await;
        add_people(&database, &seat.institution.to_string(), 10..PEOPLE).await;
        let many = asked(&world, &admin, &queries).await;
        for ((page, few, _), (_, many, bytes)) in few.iter().zip(&many) {
            assert_eq!(few, many, "{page}: queries with 10 and with {PEOPLE} people");
            assert!(*many <= 40, "{page}: {many} queries");
            assert!(*bytes <= LARGEST, "{page}: {bytes} bytes");
        }
        let page = admin.get(&world.url("demo", "/institution/mail-health")).await.text().await.unwrap();
        assert!(page.contains(&format!("{} mailboxes", BROKEN / CAUSES.len())), "{page}");
        commands_name_a_thousand(&world, &admin, &database).await;
        world.services.stop.cancel();
        world.services.store.close().await;
    }
}

/// Where more mailboxes have one cause, a command names a thousand of them, and the page says so.
async fn commands_name_a_thousand(world: &World, admin: &Browser, database: &Database) {
    let mut connection = sqlx::AnyConnection::connect(&database.url).await.unwrap();
    let broken = "UPDATE mailboxes SET state = 'blocked', problem = '{\"cause\":\"smtp_auth_mailbox\",\"facts\":[]}',
        problem_cause = 'smtp_auth_mailbox', problem_since = 1 WHERE address LIKE 'person1%'";
    let count = sqlx::query(broken).execute(&mut connection).await.unwrap().rows_affected();
    assert!(count > 1_000, "{count}");
    connection.close().await.unwrap();
    let page = admin.get(&world.url("demo", "/institution/mail-health")).await.text().await.unwrap();
    assert!(page.contains("A command is for the first 1000 of them."), "{page}");
    let command = page.split("Set-CASMailbox").next().unwrap().rsplit("<code").next().unwrap();
    assert_eq!(command.matches("@demo.example").count(), 1_000, "{command}");
    assert!(page.len() <= LARGEST, "{} bytes", page.len());
}

/// Queries and size of each page.
async fn asked(world: &World, admin: &Browser, queries: &Queries) -> Vec<(&'static str, usize, usize)> {
    let mut found = Vec::new();
    for page in [
        "/",
        "/institution/users",
        "/institution/users?state=blocked",
        "/institution/users?q=person",
        "/institution/users/invite",
        "/institution/config/general/sign-in",
        "/institution/users?cause=mfa",
        "/institution/mail-health",
        "/institution/config/general/email",
        "/institution/config/general/email/credentials",
        "/institution/audit",
        "/account/email",
    ] {
        // The least of several: others may ask at the same time, and a first visit may note something.
        let (mut least, mut bytes) = (usize::MAX, 0);
        for _ in 0..4 {
            let before = queries.0.load(Ordering::SeqCst);
            let answer = admin.get(&world.url("demo", page)).await;
            assert_eq!(answer.status(), 200, "{page}");
            bytes = answer.text().await.unwrap().len();
            least = least.min(queries.0.load(Ordering::SeqCst) - before);
        }
        println!("{page}: {least} queries, {bytes} bytes");
        found.push((page, least, bytes));
    }
    found
}

/// People, the first of whom have a mailbox that does not work.
async fn add_people(database: &Database, institution: &str, numbers: std::ops::Range<usize>) {
    let mut connection = sqlx::AnyConnection::connect(&database.url).await.unwrap();
    let numbers: Vec<usize> = numbers.collect();
    for part in numbers.chunks(500) {
        let (mut users, mut mailboxes) = (String::new(), String::new());
        for number in part {
            let user = format!("00000000-0000-4000-8000-{number:012}");
            let address = format!("person{number}@demo.example");
            let _ = write!(
                users,
                "('{user}', '{institution}', '{address}', '{address}', 'user', 1, 'Person {number}', 'person {number}'),"
            );
            let cause = CAUSES[number % CAUSES.len()];
            let (state, problem, cause) = if *number < BROKEN {
                ("blocked", format!("'{{\"cause\":\"{cause}\",\"facts\":[]}}'"), format!("'{cause}'"))
            } else {
                ("connected", "NULL".to_owned(), "NULL".to_owned())
            };
            let _ = write!(
                mailboxes,
                "('10000000-0000-4000-8000-{number:012}', '{institution}', '{user}', 'personal', '{address}', '{address}', '{address}', 's{number}', 'c', 't', '{state}', '', 1, 1, 1, {problem}, {cause}, 1),"
            );
        }
        let inserts = [
            format!(
                "INSERT INTO users (id, institution_id, address, address_key, role, created_at, name, name_key) VALUES {}",
                users.trim_end_matches(',')
            ),
            format!(
                "INSERT INTO mailboxes (id, institution_id, user_id, purpose, address, address_key, sign_in_name, subject, client_id,
                   tenant_id, state, refresh_token_sealed, grant_version, updated_at, refreshed_at, problem, problem_cause, problem_since)
                 VALUES {}",
                mailboxes.trim_end_matches(',')
            ),
        ];
        for insert in inserts {
            sqlx::query(AssertSqlSafe(insert)).execute(&mut connection).await.unwrap();
        }
    }
    sqlx::query("ANALYZE").execute(&mut connection).await.unwrap();
}
