//! Migrates a database filled by an earlier version: no row lost, every sealed value opens, every stored name known.

use app::model::DeliveryState::{Cancelled, Deferred, Failed, Sent, Unknown};
use app::model::{
    AttemptKind, CheckStatus, Flash, FormName, InstitutionId, MailboxState, Outcome, RecipientState, Stage,
};
use server::clock::Clock;
use server::config::DiskSpace;
use server::diagnosis::Fault;
use server::outbox::QueuedBody;
use server::store::{Page, Store};
use server::vault::{Place, Vault};
use sqlx::{AnyConnection, AssertSqlSafe, Connection, Row};

use crate::common::Database;

/// Tables of version 8 and their current names.
const TABLES: [(&str, &str); 25] = [
    ("vault_checks", "vault_checks"),
    ("institutions", "institutions"),
    ("users", "users"),
    ("invitations", "invitations"),
    ("sessions", "sessions"),
    ("flashes", "flashes"),
    ("sign_in_failures", "sign_in_failures"),
    ("email_settings", "email_settings"),
    ("app_registrations", "app_registrations"),
    ("guide_steps", "guide_steps"),
    ("mailboxes", "mailboxes"),
    ("attempts", "attempts"),
    ("checks", "checks"),
    ("lanes", "send_queues"),
    ("deliveries", "deliveries"),
    ("recipients", "recipients"),
    ("alerts", "alerts"),
    ("folders", "folders"),
    ("headers", "headers"),
    ("drafts", "drafts"),
    ("attachments", "attachments"),
    ("submissions", "submissions"),
    ("senders", "senders"),
    ("connections", "smtp_connections"),
    ("probes", "probes"),
];

async fn count(connection: &mut AnyConnection, table: &str) -> i64 {
    let statement = AssertSqlSafe(format!("SELECT COUNT(*) FROM {table}"));
    sqlx::query(statement).fetch_one(connection).await.unwrap().try_get(0).unwrap()
}

async fn texts(connection: &mut AnyConnection, statement: &'static str) -> Vec<String> {
    let rows = sqlx::query(statement).fetch_all(connection).await.unwrap();
    rows.iter().map(|row| row.try_get(0).unwrap()).collect()
}

/// A version 8 database with its rows; returns the row counts.
async fn filled(connection: &mut AnyConnection) -> Vec<i64> {
    sqlx::migrate!("./migrations").run_to(8, &mut *connection).await.unwrap();
    for line in include_str!("../databases/version-8.sql").lines().filter(|line| !line.starts_with("--")) {
        sqlx::query(AssertSqlSafe(line))
            .execute(&mut *connection)
            .await
            .unwrap_or_else(|error| panic!("{error}: {line}"));
    }
    let mut before = Vec::new();
    for (table, _) in TABLES {
        let rows = count(connection, table).await;
        assert!(rows > 0, "{table} has a row");
        before.push(rows);
    }
    before
}

#[tokio::test]
async fn what_version_8_stored_is_read() {
    for database in Database::both().await {
        sqlx::any::install_default_drivers();
        let address = if database.url.starts_with("sqlite") {
            format!("{}?mode=rwc", database.url)
        } else {
            database.url.clone()
        };
        let mut connection = AnyConnection::connect(&address).await.unwrap();
        let before = filled(&mut connection).await;
        let store = Store::open(&database.url, DiskSpace { reserve: 0, limit: None }).await.unwrap();
        for ((old, new), rows) in TABLES.into_iter().zip(before) {
            assert_eq!(count(&mut connection, new).await, rows, "{old} is {new}");
        }

        // Sealed values open with the same key and context.
        let vault = Vault::from_text(include_str!("../databases/version-8.key"), Clock::system()).unwrap();
        let places = store.sealed_places().await.unwrap();
        for column in ["secret_sealed", "refresh_token_sealed", "verifier_sealed", "nonce_sealed", "grant_sealed"] {
            assert!(places.iter().any(|(_, name, _)| *name == column), "{column}");
        }
        for column in ["body_sealed", "form_sealed", "content_sealed"] {
            assert!(places.iter().any(|(_, name, _)| *name == column), "{column}");
        }
        for (table, column, row) in places {
            let sealed = store.sealed_value(table, column, &row).await.unwrap().unwrap();
            let opened = vault.open(&Place::new(table, column, &row), &sealed).unwrap();
            match (table, column) {
                ("deliveries", "body_sealed") => drop(serde_json::from_str::<QueuedBody>(opened.expose()).unwrap()),
                ("drafts", _) => assert!(opened.expose().contains("Draft with a file")),
                _ => assert!(!opened.expose().is_empty(), "{table}.{column}"),
            }
        }

        // Stored faults and form results, as JSON.
        let faults = texts(
            &mut connection,
            "SELECT fault FROM checks WHERE fault IS NOT NULL UNION ALL SELECT fault FROM deliveries WHERE fault IS NOT NULL
             UNION ALL SELECT problem FROM mailboxes WHERE problem IS NOT NULL",
        )
        .await;
        assert!(faults.len() > 3);
        assert!(faults.iter().all(|text| Fault::from_json(text).cause != "unknown"), "{faults:?}");
        let rows = sqlx::query("SELECT token_sha256, body FROM flashes").fetch_all(&mut connection).await.unwrap();
        for row in rows {
            let (token, body): (String, String) = (row.try_get(0).unwrap(), row.try_get(1).unwrap());
            let opened = vault.open(&Place::new("flashes", "body", token), &body).unwrap();
            let flash: Flash = serde_json::from_str(opened.expose()).unwrap();
            assert!(flash.form != FormName::Any && flash.notice.is_some());
        }

        // State names, as the store reads them.
        let institution: InstitutionId =
            texts(&mut connection, "SELECT id FROM institutions WHERE slug = 'demo'").await[0].parse().unwrap();
        let users = store.users(institution).await.unwrap();
        let mailboxes = store.mailboxes(institution).await.unwrap();
        assert!(mailboxes.iter().any(|mailbox| mailbox.state == MailboxState::Blocked && mailbox.problem.is_some()));
        let (mut states, mut reached, mut outcomes) = (Vec::new(), Vec::new(), Vec::new());
        for user in &users {
            for delivery in store.deliveries_of(institution, user.id, Page::newest(100)).await.unwrap() {
                let recipients = store.recipients(institution, delivery.id).await.unwrap();
                assert!(!recipients.is_empty());
                if delivery.subject == "Partly" {
                    assert!(recipients.iter().any(|one| one.state == RecipientState::Refused));
                }
                states.push(delivery.state);
            }
            for attempt in store.attempts_of(institution, user.id, Page::newest(100)).await.unwrap() {
                let checks = store.checks(institution, attempt.id).await.unwrap();
                assert!(attempt.kind != AttemptKind::Personal || checks.len() == 7);
                assert!(
                    attempt.outcome != Outcome::Passed || checks.iter().all(|one| one.status == CheckStatus::Passed)
                );
                reached.push(attempt.stage);
                outcomes.push(attempt.outcome);
            }
            drop(store.drafts(institution, user.id).await.unwrap());
        }
        assert!([Sent, Failed, Unknown, Deferred, Cancelled].iter().all(|state| states.contains(state)), "{states:?}");
        assert!([Stage::SigningIn, Stage::Deciding, Stage::Finished].iter().all(|stage| reached.contains(stage)));
        assert!([Outcome::Passed, Outcome::Failed].iter().all(|outcome| outcomes.contains(outcome)), "{outcomes:?}");
        for mailbox in &mailboxes {
            let folders = store.folders(mailbox.key()).await.unwrap();
            assert!(folders.iter().any(|folder| folder.uid_validity > 0));
        }
    }
}
