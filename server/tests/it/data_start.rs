//! Between 354 and the message: a session that may not send it is closed without a dot, and its delivery stays whole.

use std::sync::Arc;

use app::model::DeliveryState;
use sandbox::Gate;
use server::store::{DatabaseKind, Delivery, Page};
use sqlx::{AssertSqlSafe, Connection};

use crate::common::{Database, Seat, World};

const TO: &str = "other@demo.example";

/// A message whose session waits for the reply to DATA.
struct Held {
    world: World,
    seat: Seat,
    gate: Arc<Gate>,
    serving: tokio::task::JoinHandle<server::store::Result<usize>>,
}

async fn held(database: &Database) -> Held {
    let world = World::start(database).await;
    let seat = world.seat("user@demo.example").await;
    let gate = Arc::new(Gate::default());
    world.sandbox.world().data_gate = Some(Arc::clone(&gate));
    world.queue(&seat, 1, TO, world.clock.now()).await;
    let outbox = Arc::clone(&world.services.outbox);
    let serving = tokio::spawn(async move { outbox.run_once().await });
    gate.holds().await;
    Held { world, seat, gate, serving }
}

impl Held {
    async fn row(&self) -> Delivery {
        let found =
            self.world.services.store.deliveries_of(self.seat.institution, self.seat.user, Page::newest(2)).await;
        let mut found = found.unwrap();
        assert_eq!(found.len(), 1);
        found.remove(0)
    }

    async fn sql(&self, database: &Database, statement: &str) {
        let mut connection = sqlx::AnyConnection::connect(&database.url).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&mut connection).await.unwrap();
    }

    /// The session ended, and nothing arrived: not even an empty message.
    async fn nothing_arrived(&self) {
        self.world.until(async || self.world.sandbox.world().smtp_sessions["user@demo.example"].0 == 0).await;
        assert!(self.world.sandbox.world().mails().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_sends_no_dot_and_leaves_the_message_in_the_queue() {
    for database in Database::both().await {
        let mut held = held(&database).await;
        held.world.services.stop.cancel();
        held.gate.open();
        (&mut held.serving).await.unwrap().unwrap();
        held.nothing_arrived().await;
        let row = held.row().await;
        assert_eq!((row.state, row.attempts, row.data_started), (DeliveryState::Queued, 0, false));
        assert!(row.lease.is_nil(), "given back at once");
        // The next process sends it.
        let next = held.world.replica().await;
        assert_eq!(next.outbox.run_once().await.unwrap(), 1);
        assert_eq!(held.world.arrived(TO), 1);
        next.store.close().await;
        held.world.services.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_was_lost_sends_no_dot_and_changes_nothing() {
    for database in Database::both().await {
        let mut held = held(&database).await;
        let other = "00000000-0000-4000-8000-000000000007";
        held.sql(&database, &format!("UPDATE deliveries SET lease_owner = '{other}'")).await;
        held.gate.open();
        (&mut held.serving).await.unwrap().unwrap();
        held.nothing_arrived().await;
        let row = held.row().await;
        assert_eq!((row.state, row.attempts, row.data_started), (DeliveryState::Sending, 0, false));
        assert_eq!(row.lease.to_string(), other, "it belongs to the other one");
        held.world.services.store.close().await;
    }
}

/// The worker itself waits for its next poll: a database that refuses must not make it connect to Exchange over and over.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_refuses_is_tried_again_with_a_pause() {
    let database = Database::sqlite();
    let world = World::start(&database).await;
    let seat = world.seat("user@demo.example").await;
    let mut connection = sqlx::AnyConnection::connect(&database.url).await.unwrap();
    let refuse = "CREATE TRIGGER refuse BEFORE UPDATE OF data_started ON deliveries WHEN new.data_started = 1
        BEGIN SELECT RAISE(ABORT, 'refused'); END";
    sqlx::raw_sql(refuse).execute(&mut connection).await.unwrap();
    world.queue(&seat, 1, TO, world.clock.now()).await;
    let began = tokio::time::Instant::now();
    tokio::spawn(Arc::clone(&world.services.outbox).run(world.services.tasks.clone()));
    let sessions = || world.sandbox.world().smtp_sessions.get("user@demo.example").map_or(0, |(_, _, all)| *all);
    world.until(async || sessions() >= 4).await;
    assert!(began.elapsed().as_millis() > 2_500, "{} sessions in {:?}", sessions(), began.elapsed());
    sqlx::raw_sql("DROP TRIGGER refuse").execute(&mut connection).await.unwrap();
    world.until(async || world.arrived(TO) == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mark_that_cannot_be_committed_sends_no_dot_and_the_message_is_sent_later() {
    for database in Database::both().await {
        let mut held = held(&database).await;
        let sqlite = held.world.services.store.backend() == DatabaseKind::Sqlite;
        let refuse = if sqlite {
            "CREATE TRIGGER refuse BEFORE UPDATE OF data_started ON deliveries WHEN new.data_started = 1
             BEGIN SELECT RAISE(ABORT, 'refused'); END"
        } else {
            "CREATE FUNCTION refuse() RETURNS trigger AS $$ BEGIN RAISE 'refused'; END $$ LANGUAGE plpgsql;
             CREATE TRIGGER refuse BEFORE UPDATE ON deliveries FOR EACH ROW WHEN (new.data_started = 1) EXECUTE FUNCTION refuse()"
        };
        held.sql(&database, refuse).await;
        held.gate.open();
        assert!((&mut held.serving).await.unwrap().is_err());
        held.nothing_arrived().await;
        let row = held.row().await;
        assert_eq!((row.state, row.attempts, row.data_started), (DeliveryState::Queued, 0, false));
        held.sql(&database, if sqlite { "DROP TRIGGER refuse" } else { "DROP TRIGGER refuse ON deliveries" }).await;
        assert_eq!(held.world.services.outbox.run_once().await.unwrap(), 1);
        assert_eq!(held.world.arrived(TO), 1);
        held.world.services.store.close().await;
    }
}
