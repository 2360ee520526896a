//! Throughput of appends with their conflict check, compared with plain inserts of the same rows.
//!
//! Run it with `cargo bench -p comms-outbox --all-features --bench append`. `COMMS_TEST_POSTGRES_URL` names a PostgreSQL
//! server (without it only SQLite runs), `COMMS_BENCH_APPENDS` the number of appends of a variant in a round (default
//! 640), and `COMMS_BENCH_ROUNDS` the number of rounds (default 31). Each append is one event of 200 bytes in a transaction
//! of its own. Every commit is synchronous. Each round begins with another variant, so that no variant always runs first.

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

#[path = "append/postgres.rs"]
mod postgres;
#[path = "append/sqlite.rs"]
mod sqlite;

use std::{future::Future, time::Duration};

use comms_core::{
    Message, MessageParts, UnitOfWork,
    clock::Clock,
    event_sourcing::{Append, EventStore, Expected, Stream},
};

/// The events of a stream.
const LENGTH: usize = 20;

type Tx<B> = <<B as Backend>::Unit as UnitOfWork>::Tx;

/// A database with the tables of the event store.
trait Backend: Clone + Send + Sync + 'static {
    type Unit: EventStore;

    fn unit(&self) -> Self::Unit;
    /// Inserts `event` in a transaction of sqlx.
    fn insert_raw(&self, event: &Message, version: i64) -> impl Future<Output = ()> + Send;
    /// Inserts `event` in a transaction of the unit.
    fn insert(&self, tx: &mut Tx<Self>, event: &Message, version: i64) -> impl Future<Output = ()> + Send;
}

#[derive(Clone, Copy)]
enum Variant {
    InsertRaw,
    Insert,
    Append,
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        measure("SQLite", &sqlite::Sqlite::start(dir.path()).await, 1).await;
        let Ok(url) = std::env::var("COMMS_TEST_POSTGRES_URL") else {
            return println!("PostgreSQL skipped: COMMS_TEST_POSTGRES_URL is not set");
        };
        let backend = postgres::Postgres::start(&url).await;
        for connections in [1, 8, 32] {
            measure("PostgreSQL", &backend, connections).await;
        }
        backend.drop_schema().await;
    });
}

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}

/// Measures each variant in each round, and prints the medians.
async fn measure<B: Backend>(name: &str, backend: &B, connections: usize) {
    let (appends, rounds) = (setting("COMMS_BENCH_APPENDS", 640), setting("COMMS_BENCH_ROUNDS", 31));
    let variants = [Variant::InsertRaw, Variant::Insert, Variant::Append];
    let (mut rates, mut ratios): ([Vec<f64>; 3], [Vec<f64>; 3]) = Default::default();
    for round in 0..=rounds {
        let mut rate = [0.0; 3];
        for n in (round..round + 3).map(|n| n % 3) {
            let took = run(backend, variants[n], connections, appends / connections).await;
            rate[n] = appends as f64 / took.as_secs_f64();
        }
        // The first round prepares statements and opens connections.
        for n in (0..3).filter(|_| round > 0) {
            rates[n].push(rate[n]);
            ratios[n].push(rate[2] / rate[n]);
        }
    }
    let names = ["insert, sqlx's transaction", "insert, the unit's transaction", "append"];
    for ((what, rates), ratios) in names.iter().zip(rates).zip(ratios) {
        println!(
            "{name}, {connections} connections, {what}: {:.0}/s; append/this {:.2}",
            median(rates),
            median(ratios)
        );
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Writes `count` events in each of `tasks` tasks.
async fn run<B: Backend>(backend: &B, variant: Variant, tasks: usize, count: usize) -> Duration {
    let clock = Clock::system();
    let events: Vec<_> = (0..tasks).map(|_| events(count)).collect();
    let start = clock.now();
    let write = |events: Vec<(Stream, Message)>| {
        let backend = backend.clone();
        tokio::spawn(async move {
            for (n, (stream, event)) in events.iter().enumerate() {
                write(&backend, variant, stream, event, n % LENGTH).await;
            }
        })
    };
    for task in events.into_iter().map(write).collect::<Vec<_>>() {
        task.await.unwrap();
    }
    clock.now() - start
}

async fn write<B: Backend>(backend: &B, variant: Variant, stream: &Stream, event: &Message, version: usize) {
    let (unit, next) = (backend.unit(), i64::try_from(version).unwrap() + 1);
    if let Variant::InsertRaw = variant {
        return backend.insert_raw(event, next).await;
    }
    let mut tx = unit.begin().await.unwrap();
    if let Variant::Insert = variant {
        backend.insert(&mut tx, event, next).await;
    } else {
        let (expected, events) = (Expected::Version(version as u64), std::slice::from_ref(event));
        unit.append(&mut tx, Append { stream, expected, events, messages: &[] }).await.unwrap();
    }
    unit.commit(tx).await.unwrap();
}

/// Returns `count` events, [`LENGTH`] for each stream.
fn events(count: usize) -> Vec<(Stream, Message)> {
    let clock = Clock::system();
    let mut stream = Stream::new("bench", "");
    let event = |n: usize| {
        if n.is_multiple_of(LENGTH) {
            stream = Stream::new("bench", clock.uuid_v7().to_string());
        }
        let (id, payload) = (clock.uuid_v7().to_string(), format!("{n:0>200}"));
        let parts = MessageParts { source: "bench", id: &id, ..MessageParts::default() };
        let event = Message::new(MessageParts { payload: Some(payload.as_bytes()), ..parts });
        (stream.clone(), stream.event(&event))
    };
    (0..count).map(event).collect()
}
