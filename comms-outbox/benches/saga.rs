//! Throughput of sagas of five steps without work, compared with the transactions that they need, written by hand.
//!
//! Run it with `cargo bench -p comms-outbox --all-features --bench saga`. `COMMS_TEST_POSTGRES_URL` names a PostgreSQL
//! server (without it only SQLite runs), `COMMS_BENCH_RUNS` the number of runs of a variant in a round (default 2,000), and
//! `COMMS_BENCH_ROUNDS` the number of rounds (default 3). Every commit is synchronous. The variants are
//! - the floor: for each input of a run one transaction of sqlx that inserts the claim, selects the row of the run for
//!   update, updates it, and inserts the command and a line of the log,
//! - the handler of the coordinator, message by message,
//! - its handler of batches, with one input of each of 100 runs, and
//! - end to end: two groups without a broker, the coordinator and the participant, which replies to each command at once.
//!   64 runs are in progress at a time.
//!
//! A run has six inputs: the message that starts it, and five replies. The CPU time is that of this process and of the
//! server's processes of its connections.

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "the benchmark runs in real time")]

#[path = "support/cpu.rs"]
mod cpu;
#[path = "saga/end_to_end.rs"]
mod end_to_end;
#[path = "saga/postgres.rs"]
mod postgres;
#[path = "saga/sqlite.rs"]
mod sqlite;

use std::{future::Future, sync::Arc, time::Duration};

use comms_core::{
    BatchHandler, Delivery, Handler,
    clock::Clock,
    event::{Event, EventSource},
    saga::{Definition, Definitions, Reply, Step},
};
use comms_outbox::{
    LocalConsumerBuilder,
    saga::{Coordinator, SagaStore},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

const STEPS: usize = 5;
/// The deliveries of a call to the handler of batches.
const BATCH: usize = 100;
/// A line of the log, as the coordinator writes it.
const LINE: &str = r#"{"input":{"type":"message","event_type":"order.worked.v1","source":"participant",
"id":"019ec2a1-7a52-7e0a-b1f3-0a6a3f1c9d55"},"effects":[{"type":"command","id":"bench/0-1-1000/step-3/execute/1",
"step":"step-3","action":"execute","attempt":1,"topic":"order.work","event_type":"order.work.v1"},
{"type":"timer","timer":"step-3/execute","after_ms":30000}],"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736"}"#;
const NAMES: [&str; 4] = ["floor", "handler", "handler of batches", "end to end"];

/// The event that starts a run.
#[derive(Clone, Serialize, Deserialize)]
struct Placed {
    order: String,
}

/// The command of a step.
#[derive(Clone, Serialize, Deserialize)]
struct Work {
    order: String,
    step: usize,
}

/// The reply to a command.
#[derive(Clone, Serialize, Deserialize)]
struct Worked {
    order: String,
    step: usize,
}

impl Event for Placed {
    const TYPE: &'static str = "order.placed";
    const VERSION: u32 = 1;
    fn key(&self) -> String {
        self.order.clone()
    }
}

impl Event for Work {
    const TYPE: &'static str = "order.work";
    const VERSION: u32 = 1;
    fn key(&self) -> String {
        self.order.clone()
    }
}

impl Event for Worked {
    const TYPE: &'static str = "order.worked";
    const VERSION: u32 = 1;
    fn key(&self) -> String {
        self.order.clone()
    }
}

/// A database with the tables of the outbox.
trait Backend: Clone + Send + Sync + 'static {
    type Unit: SagaStore;

    fn unit(&self) -> Self::Unit;
    fn consumer(&self, group: &str) -> LocalConsumerBuilder;
    /// Deletes the messages of other variants, which the groups would read.
    fn clear_outbox(&self) -> impl Future<Output = ()> + Send;
    /// Inserts the rows of runs that [`by_hand`](Self::by_hand) updates.
    fn add_runs(&self, runs: &[String]) -> impl Future<Output = ()> + Send;
    /// Handles one input of `run`, and stores `instance`, in a transaction of sqlx.
    fn by_hand(&self, run: &str, input: usize, instance: &str) -> impl Future<Output = ()> + Send;
    /// Returns the number of completed runs whose id begins with `prefix`.
    fn completed(&self, prefix: &str) -> impl Future<Output = usize> + Send;
    /// Returns the process ids of the server's end of the connections.
    fn server(&self) -> impl Future<Output = Vec<i32>> + Send;
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
        measure("PostgreSQL", &backend, 8).await;
        backend.drop_schema().await;
    });
}

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}

fn definition() -> Definition<()> {
    let step = |n: usize| {
        Step::command(format!("step-{n}"), move |saga| Work { order: saga.id.clone(), step: n })
            .reply::<Worked>(move |(), worked| if worked.step == n { Reply::Done } else { Reply::Ignored })
            .time_limit(Duration::from_secs(30))
    };
    let builder = Definition::builder("bench", 1).start::<Placed>(|_| ());
    (0..STEPS).fold(builder, |builder, n| builder.step(step(n))).build().unwrap()
}

fn coordinator<B: Backend>(backend: &B) -> Coordinator<B::Unit> {
    let definitions = Definitions::new().register(definition()).unwrap();
    let events = EventSource::new("order-service", Clock::system());
    Coordinator::builder(backend.unit(), events, definitions).build().unwrap()
}

/// Measures each variant in each round, and prints the medians.
async fn measure<B: Backend>(name: &str, backend: &B, tasks: usize) {
    let (count, rounds) = (setting("COMMS_BENCH_RUNS", 2_000), setting("COMMS_BENCH_ROUNDS", 3));
    let (clock, coordinator) = (Clock::system(), coordinator(backend));
    let mut figures: [[Vec<f64>; 5]; 4] = Default::default();
    for round in 0..rounds {
        let mut floor = 0.0;
        for (variant, figures) in figures.iter_mut().enumerate() {
            let prefix = format!("{round}-{variant}-");
            let runs: Vec<String> = (0..count).map(|n| format!("{prefix}{n}")).collect();
            backend.clear_outbox().await;
            if variant == 0 {
                backend.add_runs(&runs).await;
            }
            let (start, before) = (clock.now(), cpu::cpu(&backend.server().await));
            let mut durations = match variant {
                0 => by_hand(backend, &runs, tasks).await,
                1 => one_by_one(coordinator.handler(), &runs, tasks).await,
                2 => in_batches(coordinator.batch_handler(), &runs, tasks).await,
                _ => end_to_end::run(backend, &runs).await,
            };
            let (took, after) = (clock.now() - start, cpu::cpu(&backend.server().await));
            let cpu: Duration = after.iter().sum::<Duration>().saturating_sub(before.iter().sum());
            if variant > 0 {
                assert_eq!(backend.completed(&prefix).await, count, "every run is completed");
            }
            durations.sort();
            let millis = |part: usize| durations[durations.len() * part / 100].as_secs_f64() * 1e3;
            let steps = (count * STEPS) as f64;
            let rate = steps / took.as_secs_f64();
            floor = if variant == 0 { rate } else { floor };
            let found = [rate, rate / floor, millis(50), millis(99), cpu.as_secs_f64() * 1e6 / steps];
            figures.iter_mut().zip(found).for_each(|(values, value)| values.push(value));
        }
    }
    for (what, values) in NAMES.iter().zip(figures) {
        let [rate, ratio, p50, p99, cpu] = values.map(median);
        println!(
            "{name}, {what}: {rate:.0} steps/s, to the floor {ratio:.2}; a run p50 {p50:.1} ms, p99 {p99:.1} ms; CPU {cpu:.0} us/step"
        );
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Runs `task` for each part of `runs`, all parts at the same time. Returns the durations that the tasks return.
async fn together<F: Future<Output = Vec<Duration>> + Send + 'static>(
    runs: &[String],
    parts: usize,
    task: impl Fn(Vec<String>) -> F,
) -> Vec<Duration> {
    let tasks = runs.chunks(runs.len().div_ceil(parts)).map(|runs| tokio::spawn(task(runs.to_vec())));
    let mut durations = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        durations.extend(task.await.unwrap());
    }
    durations
}

async fn by_hand<B: Backend>(backend: &B, runs: &[String], tasks: usize) -> Vec<Duration> {
    let definition = definition();
    let definitions = Definitions::new().register(definition.clone()).unwrap();
    let started = definitions.start(&definition, "0-0-0", ()).unwrap();
    let instance = serde_json::to_string(&started.instance).unwrap();
    let task = |runs: Vec<String>| {
        let (backend, clock, instance) = (backend.clone(), Clock::system(), instance.clone());
        async move {
            let mut durations = Vec::with_capacity(runs.len());
            for run in runs {
                let start = clock.now();
                for input in 0..=STEPS {
                    backend.by_hand(&run, input, &instance).await;
                }
                durations.push(clock.now() - start);
            }
            durations
        }
    };
    together(runs, tasks, task).await
}

/// Gives each run its inputs, one after the other.
async fn one_by_one(handler: impl Handler, runs: &[String], tasks: usize) -> Vec<Duration> {
    let task = |runs: Vec<String>| {
        let (mut handler, clock) = (handler.clone(), Clock::system());
        async move {
            let mut durations = Vec::with_capacity(runs.len());
            for run in runs {
                let start = clock.now();
                for input in 0..=STEPS {
                    handler.call(delivery(&run, input)).await.unwrap();
                }
                durations.push(clock.now() - start);
            }
            durations
        }
    };
    together(runs, tasks, task).await
}

/// Gives the runs of each batch their inputs, the same input to all of them.
async fn in_batches(handler: impl BatchHandler, runs: &[String], tasks: usize) -> Vec<Duration> {
    let task = |runs: Vec<String>| {
        let (mut handler, clock) = (handler.clone(), Clock::system());
        async move {
            let mut durations = Vec::with_capacity(runs.len());
            for runs in runs.chunks(BATCH) {
                let start = clock.now();
                for input in 0..=STEPS {
                    let results = handler.call(runs.iter().map(|run| delivery(run, input)).collect()).await;
                    assert!(results.unwrap().iter().all(Result::is_ok));
                }
                durations.extend(runs.iter().map(|_| clock.now() - start));
            }
            durations
        }
    };
    together(runs, tasks, task).await
}

/// Returns the input of a run: the event that starts it, or the reply of a step.
fn delivery(run: &str, input: usize) -> Delivery {
    match input.checked_sub(1) {
        None => delivery_of(&Placed { order: run.to_owned() }),
        Some(step) => delivery_of(&Worked { order: run.to_owned(), step }),
    }
}

fn delivery_of<E: Event + Serialize + DeserializeOwned>(event: &E) -> Delivery {
    thread_local!(static SOURCE: Arc<EventSource> = Arc::new(EventSource::new("participant", Clock::system())));
    Delivery::new(SOURCE.with(Arc::clone).message(event).unwrap(), "saga")
}
