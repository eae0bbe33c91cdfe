//! Plans of the statements that run for each message: none reads a whole table.

use app::model::Timestamp;
use server::store::{ConstantTime, DatabaseKind, statements_of_constant_time};
use sqlx::{AssertSqlSafe, Connection, Row};

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
        for ConstantTime { statement, values, index } in statements_of_constant_time() {
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
