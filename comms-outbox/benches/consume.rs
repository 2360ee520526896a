//! Throughput of consumer groups without a broker, compared with the inserts of the handler alone.
//!
//! Run it with `cargo bench -p comms-outbox --all-features`. `COMMS_TEST_POSTGRES_URL` names a PostgreSQL server (without
//! it only SQLite runs), `COMMS_BENCH_RECORDS` the number of messages (default 50,000), `COMMS_BENCH_SINGLE` that of single
//! deliveries (default: a tenth), and `COMMS_BENCH_ROUNDS` the number of rounds (default 3). Every commit is synchronous.

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "the benchmark runs in real time")]

#[path = "consume/postgres.rs"]
mod postgres;
#[path = "consume/sqlite.rs"]
mod sqlite;

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use comms_core::{
    Claim, Delivery, Error, Inbox, Message, Outbox, Scoped, UnitOfWork, batch_fn,
    clock::Clock,
    event::{Event, EventSource},
    handler_fn, transactional, transactional_batch,
    transport::{BoxBatchHandler, BoxHandler},
};
use comms_outbox::LocalConsumerBuilder;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

const KEYS: usize = 1_000;
/// The rows of a transaction: those of a full batch.
const BATCH: usize = 500;
/// The topic of the messages that are handled one by one.
const SINGLE: &str = "single";

/// 200 bytes in JSON.
#[derive(Clone, Serialize, Deserialize)]
struct Viewed {
    page: String,
    text: String,
}

impl Event for Viewed {
    const TYPE: &'static str = "viewed";
    const VERSION: u32 = 1;
    fn key(&self) -> String {
        self.page.clone()
    }
}

type Tx<B> = <<B as Backend>::Unit as UnitOfWork>::Tx;

/// A database with the tables of the outbox and a table for the effects of the handlers.
trait Backend: Clone + Send + Sync + 'static {
    type Unit: Inbox + Outbox + Clone + Send + Sync + 'static;

    fn unit(&self) -> Self::Unit;
    fn consumer(&self, group: &str) -> LocalConsumerBuilder;
    /// Inserts `events` with one statement.
    fn insert(&self, tx: &mut Tx<Self>, events: &[Viewed]) -> impl Future<Output = Result<(), Error>> + Send;
    /// Inserts `events` with one statement in a transaction, with sqlx alone.
    async fn insert_raw(&self, events: &[Viewed]);
    async fn count(&self) -> usize;
    async fn delete_effects(&self);
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        measure("SQLite", sqlite::Sqlite::start(dir.path()).await).await;
        match std::env::var("COMMS_TEST_POSTGRES_URL") {
            Ok(url) => {
                let backend = postgres::Postgres::start(&url).await;
                measure("PostgreSQL", backend.clone()).await;
                backend.drop_schema().await;
            }
            Err(_) => println!("PostgreSQL skipped: COMMS_TEST_POSTGRES_URL is not set"),
        }
    });
}

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}

/// Measures each variant in each round, and prints the medians.
async fn measure<B: Backend>(name: &str, backend: B) {
    let (records, rounds) = (setting("COMMS_BENCH_RECORDS", 50_000), setting("COMMS_BENCH_ROUNDS", 3));
    let single = setting("COMMS_BENCH_SINGLE", records / 10).clamp(1, records);
    let events: Vec<_> = (0..records).map(viewed).collect();
    fill(&backend, &events[..single], Some(SINGLE)).await;
    fill(&backend, &events, None).await;
    let mut rates: [Vec<f64>; 4] = Default::default();
    let mut ratios: [Vec<f64>; 4] = Default::default();
    for round in 0..rounds {
        let took = [
            (records, inserts(&backend, &events).await),
            (records, claims_and_inserts(&backend, &events, round).await),
            (records, consume_batches(&backend, records, round).await),
            (single, consume_single(&backend, single, round).await),
        ];
        let rate = took.map(|(records, took)| records as f64 / took.as_secs_f64());
        for (at, rate_of) in rate.iter().enumerate() {
            rates[at].push(*rate_of);
            ratios[at].push(rate_of / rate[0]);
        }
    }
    let names = ["inserts alone", "inbox and inserts, no consumer", "consumer, batches", "consumer, single"];
    for ((what, rates), ratios) in names.iter().zip(rates).zip(ratios) {
        println!("{name}, {what}: {:.0}/s, ratio {:.2}", median(rates), median(ratios));
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn viewed(n: usize) -> Viewed {
    Viewed { page: format!("page-{:04}", n % KEYS), text: format!("{n:0>170}") }
}

/// Writes `events` to the outbox, in the topic of the event or in `topic`.
async fn fill<B: Backend>(backend: &B, events: &[Viewed], topic: Option<&str>) {
    let (source, unit) = (EventSource::new("bench", Clock::system()), backend.unit());
    let message = |event: &Viewed| {
        let message = source.message(event).unwrap();
        assert_eq!(message.payload().map(<[u8]>::len), Some(200));
        topic.map_or_else(|| message.clone(), |topic| message.clone().to(topic))
    };
    for events in events.chunks(BATCH) {
        let messages: Vec<Message> = events.iter().map(message).collect();
        let mut tx = unit.begin().await.unwrap();
        unit.enqueue(&mut tx, &messages).await.unwrap();
        unit.commit(tx).await.unwrap();
    }
}

async fn inserts<B: Backend>(backend: &B, events: &[Viewed]) -> Duration {
    backend.delete_effects().await;
    let clock = Clock::system();
    let start = clock.now();
    for events in events.chunks(BATCH) {
        backend.insert_raw(events).await;
    }
    let took = clock.now() - start;
    assert_eq!(backend.count().await, events.len());
    took
}

/// The transactions of the consumer, one after the other: the part of its time that no consumer can avoid.
async fn claims_and_inserts<B: Backend>(backend: &B, events: &[Viewed], round: usize) -> Duration {
    backend.delete_effects().await;
    let (clock, unit, source) = (Clock::system(), backend.unit(), EventSource::new("bench", Clock::system()));
    let claim =
        |event: &Viewed| Claim::of(&Delivery::new(source.message(event).unwrap(), format!("claims-{round}")));
    let claims: Vec<_> = events.iter().map(claim).collect();
    let start = clock.now();
    for (events, claims) in events.chunks(BATCH).zip(claims.chunks(BATCH)) {
        let mut tx = unit.begin().await.unwrap();
        unit.claim(&mut tx, claims).await.unwrap();
        backend.insert(&mut tx, events).await.unwrap();
        unit.commit(tx).await.unwrap();
    }
    clock.now() - start
}

async fn consume_batches<B: Backend>(backend: &B, records: usize, round: usize) -> Duration {
    let (inner, progress) = (backend.clone(), Progress::new(records));
    let apply = move |events: Vec<Viewed>, mut tx: Scoped<Tx<B>>| {
        let backend = inner.clone();
        async move { backend.insert(&mut tx, &events).await }
    };
    let handler = BoxBatchHandler::new(transactional_batch(backend.unit(), apply));
    let counted = progress.clone();
    let handler = batch_fn(move |batch: Vec<Delivery>| {
        let (handler, counted) = (handler.clone(), counted.clone());
        async move {
            let results = handler.handle(batch).await?;
            counted.add(results.iter().filter(|result| result.is_ok()).count());
            Ok(results)
        }
    });
    let consumer = backend.consumer(&format!("batches-{round}")).on_batch(Viewed::TYPE, handler);
    run(backend, consumer, &progress).await
}

async fn consume_single<B: Backend>(backend: &B, records: usize, round: usize) -> Duration {
    let (inner, progress) = (backend.clone(), Progress::new(records));
    let apply = move |event: Viewed, mut tx: Scoped<Tx<B>>| {
        let backend = inner.clone();
        async move { backend.insert(&mut tx, &[event]).await }
    };
    let handler = BoxHandler::new(transactional(backend.unit(), apply));
    let counted = progress.clone();
    let handler = handler_fn(move |delivery: Delivery| {
        let (handler, counted) = (handler.clone(), counted.clone());
        async move {
            let outcome = handler.handle(delivery).await?;
            counted.add(1);
            Ok(outcome)
        }
    });
    let consumer = backend.consumer(&format!("single-{round}")).on(SINGLE, handler);
    run(backend, consumer, &progress).await
}

/// Runs the consumer until every message is handled. Returns the time from its start to the commit of the last effect.
async fn run<B: Backend>(backend: &B, consumer: LocalConsumerBuilder, progress: &Arc<Progress>) -> Duration {
    backend.delete_effects().await;
    let (clock, consumer) = (Clock::system(), consumer.build().unwrap());
    let start = clock.now();
    let mut took = Duration::ZERO;
    let end = async {
        progress.last.notified().await;
        took = clock.now() - start;
    };
    consumer.run(end).await.unwrap();
    assert_eq!(backend.count().await, progress.records, "each message has its effect once");
    if std::env::var_os("COMMS_BENCH_VERBOSE").is_some() {
        println!("  {} calls of the handler", progress.calls.load(Ordering::Relaxed));
    }
    took
}

/// The deliveries that are handled.
struct Progress {
    records: usize,
    handled: AtomicUsize,
    calls: AtomicUsize,
    last: Notify,
}

impl Progress {
    fn new(records: usize) -> Arc<Self> {
        Arc::new(Self {
            records,
            handled: AtomicUsize::new(0),
            calls: AtomicUsize::new(0),
            last: Notify::new(),
        })
    }

    fn add(&self, handled: usize) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if self.handled.fetch_add(handled, Ordering::Relaxed) + handled >= self.records {
            self.last.notify_one();
        }
    }
}
