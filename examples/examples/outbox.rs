//! Outbox and inbox: an order and its event in one transaction, and a handler that applies each event once.
//!
//! The problem: a service that commits an order and then sends a message loses the message in a crash between the two.
//! A service that sends first may publish an order that is rolled back. And a message may be delivered twice.
//!
//! The solution: the message is a row that is written in the order's transaction (outbox). A relay delivers committed
//! rows at least once. The handler records each message in the transaction of its effect (inbox). This example has no
//! broker: the relay delivers to a handler in this process.
//!
//! Prints the order that is rolled back, the outcomes of two deliveries of one message, and the rows at the end.
//!
//! Run: `cargo run -p examples --example outbox`. Nothing else is needed; the database is a temporary SQLite file.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use comms_core::{
    Error, Outbox, Scoped, UnitOfWork,
    clock::Clock,
    event::{Event, EventSource},
    in_transaction, transactional,
    transport::BoxHandler,
};
use comms_outbox::{
    Relay, Subscriber, sql_error,
    sqlite::{RelayStore, SqliteUnit, Tables},
};
use examples::{open_sqlite, printed};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

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

type Tx = Scoped<<SqliteUnit as UnitOfWork>::Tx>;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let pool = open_sqlite(&dir.path().join("shop.db")).await?;
    let tables = "CREATE TABLE orders (id TEXT PRIMARY KEY, cents INTEGER);
        CREATE TABLE invoices (order_id TEXT, cents INTEGER)";
    sqlx::raw_sql(tables).execute(&pool).await?;
    Tables::new().migrate(&pool).await?;
    let unit = SqliteUnit::new(pool.clone(), Tables::new());

    // An order and its message are committed together, or neither is.
    place_order(&unit, "order-1", 4_200, false).await?;
    let failed = place_order(&unit, "order-2", 1_300, true).await;
    println!("order-2 is rolled back: {}", failed.err().context("the card was declined")?);

    // A relay stores its position under its name, so the second relay delivers everything again. Both have the same
    // subscriber, so the inbox recognizes each message.
    for relay_name in ["billing", "billing again"] {
        let (done, mut delivered) = mpsc::channel(1);
        let subscriber =
            Subscriber::builder("billing").on(OrderPlaced::TYPE, billing(&unit, done)).build()?;
        let relay = Relay::builder(RelayStore::new(pool.clone(), Tables::new()), Arc::new(subscriber))
            .name(relay_name)
            .topics([OrderPlaced::TYPE])
            .commit_signal(unit.commit_signal())
            .build()?;
        println!("relay {relay_name:?}:");
        // `run` stops when the message is delivered, or after 20 s. A service passes its SIGTERM.
        let delivery = async {
            Clock::system().timeout(Duration::from_secs(20), delivered.recv()).await.ok();
        };
        relay.run(delivery).await?;
    }

    let count = |query: &'static str| sqlx::query_scalar::<_, i64>(query).fetch_one(&pool);
    let (orders, invoices) =
        (count("SELECT count(*) FROM orders").await?, count("SELECT count(*) FROM invoices").await?);
    println!("{orders} order, {invoices} invoice");
    anyhow::ensure!((orders, invoices) == (1, 1), "delivered twice, applied once");
    Ok(())
}

/// Commits an order and its event together. If `fail` is set, both are rolled back.
async fn place_order(unit: &SqliteUnit, order_id: &str, cents: i64, fail: bool) -> Result<(), Error> {
    let event = OrderPlaced { order_id: order_id.to_owned(), cents };
    let message = EventSource::new("shop", Clock::system()).message(&event)?;
    in_transaction(unit, async |mut tx: Tx| {
        let insert = sqlx::query("INSERT INTO orders (id, cents) VALUES ($1, $2)");
        insert.bind(order_id).bind(cents).execute(&mut **tx).await.map_err(sql_error)?;
        unit.enqueue(&mut tx, &[message]).await?;
        if fail { Err(Error::invalid("the card was declined")) } else { Ok(()) }
    })
    .await
}

/// Returns the handler: it writes an invoice and the inbox row in one transaction, and prints the outcome of each
/// delivery.
fn billing(unit: &SqliteUnit, done: mpsc::Sender<()>) -> BoxHandler {
    let apply = transactional(unit.clone(), |event: OrderPlaced, mut tx: Tx| async move {
        let insert = sqlx::query("INSERT INTO invoices (order_id, cents) VALUES ($1, $2)");
        insert.bind(event.order_id).bind(event.cents).execute(&mut **tx).await.map(drop).map_err(sql_error)
    });
    printed(apply, done)
}
