//! Outbox to Kafka: from a commit in PostgreSQL through Kafka to another transaction, without loss or a second effect.
//!
//! The problem: a service that commits an order and then publishes an event loses the event in a crash between the two.
//! A service that publishes first may publish an order that is rolled back. And Kafka may deliver an event twice.
//!
//! The solution: the event is a row that is written in the order's transaction (outbox). A relay publishes committed
//! rows to Kafka at least once. The consumer records each event in the transaction of its effect (inbox), so a second
//! delivery has no effect.
//!
//! Prints the order that is rolled back, the outcomes of two deliveries of one event, and the rows at the end.
//!
//! Run: `DATABASE_URL=postgres://user@localhost/db cargo run -p examples --example outbox_to_kafka`. It creates a
//! schema and topics, and deletes them. Kafka is librdkafka's mock cluster unless KAFKA_BROKERS names a real one.

use std::sync::Arc;

use anyhow::Context as _;
use comms_core::{
    Error, Outbox, Scoped, UnitOfWork,
    clock::Clock,
    event::{Event, EventSource},
    in_transaction, transactional,
    transport::BoxHandler,
};
use comms_kafka::{Consumer, KafkaPublisher, TopicSpec};
use comms_outbox::{
    Relay,
    postgres::{PgUnit, RelayStore, Tables},
    sql_error,
};
use examples::{Kafka, printed, until};
use serde::{Deserialize, Serialize};
use sqlx::{AssertSqlSafe, PgPool, postgres::PgConnectOptions};
use tokio::sync::{mpsc, oneshot};

#[derive(Serialize, Deserialize)]
struct OrderPlaced {
    order_id: String,
    cents: i64,
}

impl Event for OrderPlaced {
    const TYPE: &'static str = "order.placed";
    const VERSION: u32 = 1;
    fn key(&self) -> String {
        self.order_id.clone()
    }
}

type Tx = Scoped<<PgUnit as UnitOfWork>::Tx>;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let url = std::env::var("DATABASE_URL").or_else(|_| std::env::var("COMMS_TEST_POSTGRES_URL"));
    let url = url.ok().context("set DATABASE_URL to a PostgreSQL database: postgres://user@localhost/db")?;
    let run = format!("example_{}", Clock::system().uuid_v7().simple());
    let options = url.parse::<PgConnectOptions>()?.options([("search_path", &run)]);
    let pool = PgPool::connect_with(options).await.context("connect to DATABASE_URL")?;

    let topic = TopicSpec::new(format!("{run}.{}", OrderPlaced::TYPE), 3, 1);
    let topics = [topic.clone(), topic.dead_letters()];
    let kafka = Kafka::from_env(&topics).await?;
    let result = run_shop(&pool, Tables::in_schema(&run)?, &kafka, &topic.name).await;
    sqlx::raw_sql(AssertSqlSafe(format!("DROP SCHEMA IF EXISTS {run} CASCADE"))).execute(&pool).await?;
    kafka.delete(&topics).await?;
    result
}

/// Places two orders, and runs relays and a consumer until the event was delivered twice.
async fn run_shop(pool: &PgPool, tables: Tables, kafka: &Kafka, topic: &str) -> anyhow::Result<()> {
    tables.migrate(pool).await?;
    let create = "CREATE TABLE orders (id text PRIMARY KEY, cents bigint);
        CREATE TABLE invoices (order_id text, cents bigint)";
    sqlx::raw_sql(create).execute(pool).await?;
    let unit = PgUnit::new(pool.clone(), tables.clone());

    place_order(&unit, topic, "order-1", false).await?;
    let failed = place_order(&unit, topic, "order-2", true).await;
    println!("order-2 is rolled back: {}", failed.err().context("the card was declined")?);

    let publisher = Arc::new(KafkaPublisher::new(&kafka.config, Clock::system())?);
    let (delivered, mut deliveries) = mpsc::channel(1);
    let consumer = Consumer::builder(&kafka.config, "billing")
        .on(topic, billing(&unit, delivered))
        .dead_letter(publisher.clone())
        .build()?;

    let (end, ended) = oneshot::channel::<()>();
    let relays = async {
        // A relay stores its position under its name, so the second relay publishes all rows again.
        for name in ["kafka", "kafka again"] {
            let store = RelayStore::new(pool.clone(), tables.clone());
            let relay = Relay::builder(store, publisher.clone())
                .name(name)
                .commit_signal(unit.commit_signal())
                .build()?;
            // `run` stops when the consumer has received the event. A service passes its SIGTERM.
            relay.run(until(deliveries.recv())).await?;
        }
        drop(end);
        Ok(())
    };
    tokio::try_join!(relays, consumer.run(async { drop(ended.await) }))?;

    let count = |query: &'static str| sqlx::query_scalar::<_, i64>(query).fetch_one(pool);
    let orders = count("SELECT count(*) FROM orders").await?;
    let invoices = count("SELECT count(*) FROM invoices").await?;
    println!("{orders} order, {invoices} invoice");
    anyhow::ensure!((orders, invoices) == (1, 1), "delivered twice, applied once");
    Ok(())
}

/// Commits an order and its event together. If `declined` is set, both are rolled back.
async fn place_order(unit: &PgUnit, topic: &str, order_id: &str, declined: bool) -> Result<(), Error> {
    let event = OrderPlaced { order_id: order_id.to_owned(), cents: 4_200 };
    let message = EventSource::new("shop", Clock::system()).message(&event)?.to(topic);
    in_transaction(unit, async |mut tx: Tx| {
        let insert = sqlx::query("INSERT INTO orders (id, cents) VALUES ($1, $2)");
        insert.bind(&event.order_id).bind(event.cents).execute(&mut **tx).await.map_err(sql_error)?;
        unit.enqueue(&mut tx, &[message]).await?;
        if declined { Err(Error::invalid("the card was declined")) } else { Ok(()) }
    })
    .await
}

/// Returns the handler: it writes an invoice and the inbox row in one transaction, and prints the outcome of each
/// delivery.
fn billing(unit: &PgUnit, delivered: mpsc::Sender<()>) -> BoxHandler {
    let apply = transactional(unit.clone(), |event: OrderPlaced, mut tx: Tx| async move {
        let insert = sqlx::query("INSERT INTO invoices (order_id, cents) VALUES ($1, $2)");
        insert.bind(event.order_id).bind(event.cents).execute(&mut **tx).await.map(drop).map_err(sql_error)
    });
    printed(apply, delivered)
}
