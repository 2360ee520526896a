//! From no broker to Kafka: the same consumer group, moved by a change of one line.
//!
//! The problem: a service starts without a broker, and needs one later. If its handlers, retries and settings belong to
//! the first transport, the move is a rewrite.
//!
//! The solution: `LocalConsumer` reads the outbox, `Consumer` reads Kafka, and both have the same builder. The move
//! changes the call of `builder`, and adds a relay that publishes the outbox to Kafka. That relay begins at the oldest
//! row, so no event is lost between the two, and the inbox of the group recognizes the events that it has applied.
//!
//! Prints the outcomes of the deliveries without a broker and with Kafka, and the number of invoices at the end.
//!
//! Run: `cargo run -p examples --example local_to_kafka`. Nothing else is needed; the database is a temporary SQLite
//! file, and librdkafka's mock cluster is in this process.

use std::{sync::Arc, time::Duration};

use comms_core::{
    Error, Outbox, Scoped, UnitOfWork,
    clock::Clock,
    event::{Event, EventSource},
    in_transaction, transactional,
    transport::{BoxHandler, Ordering},
};
use comms_kafka::{Consumer, KafkaConfig, KafkaPublisher, TopicSpec};
use comms_outbox::{
    LocalConsumer, Relay, sql_error,
    sqlite::{RelayStore, SqliteUnit, Tables},
};
use examples::{Kafka, open_sqlite, printed, until};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

/// The consumer group.
const BILLING: &str = "billing";

#[derive(Serialize, Deserialize)]
struct OrderPlaced {
    order_id: String,
}

impl Event for OrderPlaced {
    const TYPE: &'static str = "order.placed";
    const VERSION: u32 = 1;
    fn key(&self) -> String {
        self.order_id.clone()
    }
}

type Tx = Scoped<<SqliteUnit as UnitOfWork>::Tx>;

/// The group without a broker.
fn local(store: RelayStore, handler: BoxHandler) -> Result<LocalConsumer, Error> {
    LocalConsumer::builder(store, BILLING)
        .on(OrderPlaced::TYPE, handler)
        .ordering(Ordering::Key)
        .drain(Duration::from_secs(2))
        .build()
}

/// The group with Kafka: the first line differs.
fn with_kafka(kafka: &KafkaConfig, handler: BoxHandler) -> Result<Consumer, Error> {
    Consumer::builder(kafka, BILLING)
        .on(OrderPlaced::TYPE, handler)
        .ordering(Ordering::Key)
        .drain(Duration::from_secs(2))
        .build()
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let pool = open_sqlite(&dir.path().join("shop.db")).await?;
    sqlx::raw_sql("CREATE TABLE invoices (order_id TEXT)").execute(&pool).await?;
    Tables::new().migrate(&pool).await?;
    let unit = SqliteUnit::new(pool.clone(), Tables::new());
    let store = RelayStore::new(pool.clone(), Tables::new());
    let (handled, mut outcomes) = mpsc::channel(8);

    println!("-- without a broker");
    place_order(&unit, "order-1").await?;
    let consumer = local(store.clone(), billing(&unit, handled.clone()))?;
    // `run` shuts down gracefully when this future resolves. A service passes its SIGTERM.
    consumer.run(until(outcomes.recv())).await?;

    println!("-- with Kafka");
    place_order(&unit, "order-2").await?;
    let topic = TopicSpec::new(OrderPlaced::TYPE, 1, 1);
    let kafka = Kafka::mock(&[topic.clone(), topic.dead_letters()])?;
    let publisher = Arc::new(KafkaPublisher::new(&kafka.config, Clock::system())?);
    let relay = Relay::builder(store, publisher).name("kafka").commit_signal(unit.commit_signal()).build()?;
    let consumer = with_kafka(&kafka.config, billing(&unit, handled))?;
    let (end, ended) = oneshot::channel::<()>();
    let both_delivered = async {
        until(async { (outcomes.recv().await, outcomes.recv().await) }).await;
        drop(end);
    };
    tokio::try_join!(relay.run(both_delivered), consumer.run(async { drop(ended.await) }))?;

    let count = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM invoices").fetch_one(&pool).await?;
    println!("{count} invoices");
    anyhow::ensure!(count == 2, "each order is billed once, on its way or after the move");
    Ok(())
}

/// Commits an order's event. A service writes the order in the same transaction.
async fn place_order(unit: &SqliteUnit, order_id: &str) -> Result<(), Error> {
    let event = OrderPlaced { order_id: order_id.to_owned() };
    let message = EventSource::new("shop", Clock::system()).message(&event)?;
    in_transaction(unit, async |mut tx: Tx| unit.enqueue(&mut tx, &[message]).await).await
}

/// Returns the handler, which does not know the transport: it writes an invoice and the inbox row in one transaction,
/// and prints the outcome of each delivery.
fn billing(unit: &SqliteUnit, handled: mpsc::Sender<()>) -> BoxHandler {
    let apply = transactional(unit.clone(), |event: OrderPlaced, mut tx: Tx| async move {
        let insert = sqlx::query("INSERT INTO invoices (order_id) VALUES ($1)");
        insert.bind(event.order_id).execute(&mut **tx).await.map(drop).map_err(sql_error)
    });
    printed(apply, handled)
}
