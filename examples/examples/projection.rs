//! Projection: a read model that follows the events.
//!
//! The problem: a query over all orders cannot read their streams. A table that is updated beside the events differs from
//! them after a crash, and a new column cannot be filled for orders whose history is lost.
//!
//! The solution: a projection applies the events to the table, and stores its position in the same transaction. A new form
//! of the table is a higher revision, which is built from the first event beside the old one.
//!
//! Prints a query that waits for its own write, an event at which the projection parks until it is skipped, and the switch
//! to a rebuilt table.
//!
//! Run: `cargo run -p examples --example projection`. Nothing else is needed; the database is a temporary SQLite file.

use std::time::Duration;

use anyhow::Context as _;
use comms_core::{
    Error, Message, MessageParts, Scoped, UnitOfWork,
    clock::Clock,
    event_sourcing::{Append, EventStore, Expected, Recorded, Stream},
};
use comms_outbox::{
    Projection, ProjectionHandle, ProjectionState, Written, sql_error,
    sqlite::{EventFeed, SqliteTx, SqliteUnit, Tables},
};
use examples::open_sqlite;
use sqlx::{AssertSqlSafe, SqlitePool};

/// Appends an event to the stream of an order. The payload is the new state of the order.
async fn append(unit: &SqliteUnit, order: &str, state: &str) -> Result<Written, Error> {
    let (stream, id) = (Stream::new("order", order), format!("{order}-{state}"));
    let event =
        MessageParts { source: "shop", id: &id, payload: Some(state.as_bytes()), ..Default::default() };
    let events = [stream.event(&Message::new(event))];
    let mut tx = unit.begin().await?;
    let append = Append { stream: &stream, expected: Expected::Any, events: &events, messages: &[] };
    unit.append(&mut tx, append).await?;
    let written = Tables::new().written(&mut tx).await?;
    unit.commit(tx).await?;
    Ok(written)
}

/// A projection to the table of a revision, with the state of each order.
fn orders(pool: &SqlitePool, unit: &SqliteUnit, revision: u32) -> Result<Projection<EventFeed>, Error> {
    Projection::builder(EventFeed::new(pool.clone(), Tables::new()), "orders")
        .categories(["order"])
        .revision(revision)
        .max_attempts(1)
        .commit_signal(unit.commit_signal())
        .apply(move |events: Vec<Recorded>, mut tx: Scoped<SqliteTx>| async move {
            for event in events {
                let state = String::from_utf8_lossy(event.message.payload().unwrap_or_default()).into_owned();
                if revision == 1 && state == "returned" {
                    return Err(Error::invalid("revision 1 knows no returns"));
                }
                let upsert = format!("INSERT OR REPLACE INTO orders_r{revision} (id, state) VALUES ($1, $2)");
                let query = sqlx::query(AssertSqlSafe(upsert)).bind(event.message.key()).bind(state);
                query.execute(&mut **tx).await.map_err(sql_error)?;
            }
            Ok(())
        })
        .build()
}

/// Starts a projection, and waits until its revision is the live one.
async fn start(projection: Projection<EventFeed>) -> ProjectionHandle<EventFeed> {
    let handle = projection.handle();
    tokio::spawn(projection.run(std::future::pending()));
    while !handle.status().live {
        Clock::system().sleep(Duration::from_millis(5)).await;
    }
    handle
}

/// Counts the orders by state in the table of the live revision.
async fn by_state(pool: &SqlitePool) -> anyhow::Result<(u32, Vec<(String, i64)>)> {
    let revision = Tables::new().live_revision(&mut *pool.acquire().await?, "orders").await?;
    let revision = revision.context("a revision is live")?;
    let query = format!("SELECT state, count(*) FROM orders_r{revision} GROUP BY state ORDER BY state");
    Ok((revision, sqlx::query_as(AssertSqlSafe(query)).fetch_all(pool).await?))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let pool = open_sqlite(&dir.path().join("shop.db")).await?;
    Tables::new().migrate(&pool).await?;
    for revision in 1..=2 {
        let create = format!("CREATE TABLE orders_r{revision} (id BLOB PRIMARY KEY, state TEXT NOT NULL)");
        sqlx::query(AssertSqlSafe(create)).execute(&pool).await?;
    }
    let unit = SqliteUnit::new(pool.clone(), Tables::new());
    for order in ["o-1", "o-2", "o-3"] {
        append(&unit, order, "placed").await?;
    }
    let handle = start(orders(&pool, &unit, 1)?).await;
    let written = append(&unit, "o-1", "paid").await?;
    handle.wait_for(written, Duration::from_secs(5)).await?;
    println!("live revision, orders by state: {:?}", by_state(&pool).await?);

    // The program cannot apply this event: the projection parks at it.
    append(&unit, "o-2", "returned").await?;
    let written = append(&unit, "o-2", "paid").await?;
    let parked = loop {
        if let ProjectionState::Parked(event) = handle.status().state {
            break event;
        }
        Clock::system().sleep(Duration::from_millis(5)).await;
    };
    println!("parked at {}: {}", parked.id, parked.error);
    Tables::new().skip_event(&mut *pool.acquire().await?, &parked, "no returns yet").await?;
    handle.wait_for(written, Duration::from_secs(5)).await?;
    println!("live revision, orders by state: {:?}", by_state(&pool).await?);

    // The next program knows returns, and builds its table from the first event, beside the old program.
    start(orders(&pool, &unit, 2)?).await;
    println!("live revision, orders by state: {:?}", by_state(&pool).await?);
    Ok(())
}
