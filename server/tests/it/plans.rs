//! Plans of the statements that run for each message: none reads a whole table.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use app::model::{RecipientKind, Timestamp};
use server::store::{ConstantTime, DatabaseKind, POSTGRES_BY_KEY, Page, statements_of_constant_time};
use sqlx::{AssertSqlSafe, Connection, Row};

use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use crate::common::{Database, World};

/// Enough for a planner to prefer an index.
const QUEUED: usize = 2_000;

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_for_each_message_reads_an_index() {
    for database in Database::both().await {
        let world = World::start(&database).await;
        let seat = world.seat("user@demo.example").await;
        world.queue(&seat, QUEUED, "other@demo.example", Timestamp(1)).await;
        let backend = world.services.store.backend();
        let mut connection = sqlx::AnyConnection::connect(&database.url).await.unwrap();
        sqlx::query("ANALYZE").execute(&mut connection).await.unwrap();
        let settings = if backend == DatabaseKind::Postgres { vec!["", POSTGRES_BY_KEY] } else { vec![""] };
        let statements =
            settings.into_iter().flat_map(|one| statements_of_constant_time().into_iter().map(move |all| (one, all)));
        for (setting, ConstantTime { statement, values, index }) in statements {
            sqlx::raw_sql(setting).execute(&mut connection).await.unwrap();
            let mut filled = statement.clone();
            for (at, value) in values.iter().enumerate().rev() {
                filled = filled.replace(&format!("${}", at + 1), value);
            }
            let explain = match backend {
                DatabaseKind::Sqlite => "EXPLAIN QUERY PLAN",
                DatabaseKind::Postgres => "EXPLAIN",
            };
            let rows =
                sqlx::query(AssertSqlSafe(format!("{explain} {filled}"))).fetch_all(&mut connection).await.unwrap();
            let column = if backend == DatabaseKind::Sqlite { 3 } else { 0 };
            let plan: Vec<String> = rows.iter().map(|row| row.get(column)).collect();
            let plan = plan.join("\n");
            assert!(plan.contains(index), "{statement}\n{plan}");
            assert!(!plan.contains("Seq Scan on deliveries"), "{statement}\n{plan}");
            for line in plan.lines().filter(|line| line.contains("SCAN") && line.contains("deliveries")) {
                // The lowest entry of an index is its first.
                assert!(line.contains("USING COVERING INDEX"), "{statement}\n{plan}");
            }
            // The order of sending comes from the index: a sort would read the whole queue.
            if statement.contains("created_at, id LIMIT") {
                assert!(!plan.contains("Sort") && !plan.contains("TEMP B-TREE"), "{statement}\n{plan}");
            }
        }
    }
}

/// The statements that sqlx logs.
#[derive(Clone, Default)]
struct Statements(Arc<Mutex<BTreeSet<String>>>);

impl<S: tracing::Subscriber> Layer<S> for Statements {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        #[derive(Default)]
        struct Texts {
            summary: String,
            statement: String,
        }
        impl tracing::field::Visit for Texts {
            fn record_str(&mut self, field: &tracing::field::Field, value: &str) {
                match field.name() {
                    "summary" => value.clone_into(&mut self.summary),
                    "db.statement" => value.clone_into(&mut self.statement),
                    _ => {}
                }
            }
            fn record_debug(&mut self, _: &tracing::field::Field, _: &dyn std::fmt::Debug) {}
        }
        if event.metadata().target() == "sqlx::query" {
            let mut texts = Texts::default();
            event.record(&mut texts);
            let text = if texts.statement.is_empty() { texts.summary } else { texts.statement };
            self.0.lock().unwrap().insert(text.trim().to_owned());
        }
    }
}

#[test]
fn no_statement_of_sending_reads_a_whole_table() {
    crate::common::alone("plans::statements_of_sending", &[]);
}

/// Enqueues, claims, marks, records, refusals, retries and counts with a long queue beside them: whatever statement ran, its plan
/// (SQLite) or what the tables counted (PostgreSQL) shows no scan.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by the test above as a program of its own, which captures the log of all threads"]
async fn statements_of_sending() {
    let statements = Statements::default();
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(statements.clone())).unwrap();
    for database in Database::both().await {
        let settings = [("ENTREPOST_MESSAGES_PER_MINUTE", "20".to_owned())];
        let world = World::start_with(&database, server::clock::Clock::system(), &settings).await;
        let (long, seat) = (world.seat("user@demo.example").await, world.newcomer("m@demo.example").await);
        let later = world.clock.now().plus_ms(86_400_000);
        world.queue(&long, QUEUED, "other@demo.example", later).await;
        let mut filling = sqlx::AnyConnection::connect(&database.url).await.unwrap();
        // So many that no planner prefers to read them all for the messages of one claim.
        sqlx::raw_sql(
            "INSERT INTO deliveries (id, institution_id, user_id, send_queue_id, idempotency_key, message_id, from_address, subject,
               body_sealed, form_sealed, next_attempt_at, created_at, state)
             SELECT id || column1, institution_id, user_id, send_queue_id, id || column1, message_id || column1, from_address, subject, '-', '',
               next_attempt_at, created_at, state
             FROM deliveries, (VALUES ('a'), ('b'), ('c'), ('d'), ('e'), ('f'), ('g'), ('h'), ('i')) AS more;
             INSERT INTO recipients (delivery_id, position, kind, address)
             SELECT id, 0, 'to', 'other@demo.example' FROM deliveries WHERE body_sealed = '-';
             ANALYZE",
        )
        .execute(&mut filling)
        .await
        .unwrap();
        // It reports its own scans when it ends.
        filling.close().await.unwrap();
        let mut connection = sqlx::AnyConnection::connect(&database.url).await.unwrap();
        statements.0.lock().unwrap().clear();
        let read = rows_read(&world, &mut connection).await;

        let now = world.clock.now();
        world.sandbox.world().faults.greylisted = "greylisted@far.example".to_owned();
        world.queue(&seat, 30, "other@demo.example", now).await;
        let mut tx = world.services.store.begin().await.unwrap();
        for to in
            [&["nobody@demo.example", "other@demo.example"][..], &["greylisted@far.example"], &["nobody@demo.example"]]
        {
            let to: Vec<_> = to.iter().map(|to| (RecipientKind::To, (*to).to_owned())).collect();
            world.queue_one(&mut tx, &seat, "Refused", &to, now.plus_ms(-1_000)).await;
        }
        tx.commit().await.unwrap();
        tokio::spawn(Arc::clone(&world.services.outbox).run(world.services.tasks.clone()));
        let store = &world.services.store;
        world
            .until(async || {
                let all = store.deliveries_of(seat.institution, seat.user, Page::newest(50)).await.unwrap();
                all.iter().filter(|one| one.state.is_final()).count() >= 15
                    && store.due_queues(world.clock.now(), 1).await.unwrap().is_empty()
            })
            .await;
        world.services.stop.cancel();
        if store.backend() == DatabaseKind::Sqlite {
            let ran = statements.0.lock().unwrap().clone();
            let about =
                |text: &str| ["deliveries", "recipients", "submissions"].iter().any(|table| text.contains(table));
            let ran: Vec<&String> = ran.iter().filter(|text| about(text)).collect();
            for part in [
                "INSERT INTO deliveries",
                "INSERT INTO recipients",
                "INSERT INTO submissions",
                "data_started = 1",
                "body_sealed = CASE",
                "UPDATE recipients",
                "UPDATE deliveries SET state = 'sending'",
                "COUNT(*), MIN(at) FROM submissions",
            ] {
                assert!(ran.iter().any(|text| text.contains(part)), "{part} did not run: {ran:#?}");
            }
            for text in ran {
                let plan = sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {text}")))
                    .fetch_all(&mut connection)
                    .await
                    .unwrap();
                for step in plan.iter().map(|row| row.get::<String, _>(3)) {
                    // The index of leases holds only what is being sent.
                    let scans = ["deliveries", "recipients", "submissions", "d", "r"].iter().any(|table| {
                        step == format!("SCAN {table}")
                            || step.starts_with(&format!("SCAN {table} "))
                                && !["COVERING INDEX", "deliveries_lease"].iter().any(|index| step.contains(index))
                    });
                    assert!(!scans, "{text}\n{step}");
                }
            }
        } else {
            store.close().await;
            let more = rows_read(&world, &mut connection).await - read;
            assert!(
                (1..i64::try_from(QUEUED).unwrap()).contains(&more),
                "{more} rows and entries of indexes were read"
            );
        }
    }
}

/// Rows that sequential scans, and entries that scans of indexes, read so far in the tables of messages.
async fn rows_read(world: &World, connection: &mut sqlx::AnyConnection) -> i64 {
    if world.services.store.backend() == DatabaseKind::Sqlite {
        return 0;
    }
    let connection = tokio::sync::Mutex::new(connection);
    let one = async |statement: &'static str| -> i64 {
        sqlx::query_scalar(statement).fetch_one(&mut **connection.lock().await).await.unwrap()
    };
    // A connection reports its counts a second later at most, when it is used, or when it ends.
    one("SELECT CAST(1 AS BIGINT) FROM (SELECT pg_stat_clear_snapshot()) AS cleared").await;
    one("SELECT CAST(SUM(read) AS BIGINT) FROM (
            SELECT relname, seq_tup_read AS read FROM pg_stat_user_tables
            UNION ALL SELECT relname, idx_tup_read FROM pg_stat_user_indexes
         ) AS scans WHERE relname IN ('deliveries', 'recipients', 'submissions')")
    .await
}
