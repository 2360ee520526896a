//! The cost of a record in a worker whose handler does nothing.
//!
//! `cargo bench -p comms-core --bench worker` prints nanoseconds per record. With a number of records as its argument
//! the program runs that many records once, to count instructions: the difference between 100,000 and 200,000 records
//! under `valgrind --tool=callgrind` is the cost of 100,000 records. The clock stands still then, because valgrind makes
//! polls so slow that the worker would hand attempts to tasks; the mode `now` counts what a real clock adds.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a program that measures time"
)]

use std::{
    future::poll_fn,
    hint::black_box,
    task::Poll,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream::FuturesUnordered};

use comms_core::{
    Delivery, Message, MessageParts, Outcome, Position,
    clock::Clock,
    handler_fn,
    transport::{AttemptConfig, BoxHandler, Frontier, Processor, Worker, WorkerConfig},
};

/// The number of records after which a consumer flushes.
const CHUNK: usize = 256;
/// How long a handler of `sleep` takes.
const WORK: Duration = Duration::from_millis(1);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let mode = arguments.first().map_or("all", String::as_str).to_owned();
    let records = arguments.get(1).and_then(|records| records.parse().ok());
    match records {
        Some(records) => drop(run(&mode, records, &Clock::manual(Duration::ZERO))),
        None => {
            for mode in ["clone", "ready", "yield", "sleep", "sleeps"] {
                let records = 1_000_000;
                let took = run(mode, records, &Clock::system());
                println!("{mode:6} {:>8.0} ns per record", took.as_secs_f64() * 1e9 / records as f64);
            }
        }
    }
}

fn deliveries() -> Vec<Delivery> {
    let group: std::sync::Arc<str> = "billing".into();
    let delivery = |n: usize| {
        let (id, key) = (format!("orders-3-{n}"), format!("order-{n}"));
        let message = Message::new(MessageParts {
            source: "kafka",
            id: &id,
            topic: "orders",
            key: Some(key.as_bytes()),
            payload: Some(&[b'x'; 200]),
            ..MessageParts::default()
        });
        Delivery::new(message, group.clone()).at(Position::at(3, n as i64))
    };
    (0..1_000).map(delivery).collect()
}

/// Runs `records` records and returns the time. `clone` only makes the deliveries, in `ready` the handler ends at its
/// first poll, in `yield` at its second. In `sleep` it sleeps for a millisecond, and most records wait behind their key;
/// `sleeps` runs the same timers without a worker. The time of tokio is paused, so that a sleep takes no time.
fn run(mode: &str, records: usize, clock: &Clock) -> Duration {
    let deliveries = deliveries();
    if mode == "clone" {
        let started = Instant::now();
        (0..records).for_each(|n| drop(black_box(deliveries[n % 1_000].clone())));
        return started.elapsed();
    }
    if mode == "now" {
        let (started, clock) = (Instant::now(), Clock::system());
        for _ in 0..records {
            black_box(clock.now());
        }
        return started.elapsed();
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(mode.starts_with("sleep"))
        .build()
        .unwrap();
    if mode == "sleeps" {
        let started = Instant::now();
        runtime.block_on(tokio::task::unconstrained(sleeps(records)));
        return started.elapsed();
    }
    let handler = match mode {
        "sleep" => BoxHandler::new(handler_fn(|_: Delivery| async move {
            tokio::time::sleep(WORK).await;
            Ok(Outcome::Done)
        })),
        "ready" => BoxHandler::new(handler_fn(|delivery: Delivery| async move {
            black_box(&delivery);
            Ok(Outcome::Done)
        })),
        _ => BoxHandler::new(handler_fn(|_: Delivery| async move {
            let mut polled = false;
            poll_fn(|cx| match std::mem::replace(&mut polled, true) {
                true => Poll::Ready(()),
                false => {
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
            })
            .await;
            Ok(Outcome::Done)
        })),
    };
    let processor = Processor::new(handler, AttemptConfig::default(), clock.clone(), "kafka");
    let worker = Worker::new(processor, WorkerConfig::default());
    let started = Instant::now();
    runtime.block_on(tokio::task::unconstrained(feed(worker, &deliveries, records)));
    started.elapsed()
}

/// Runs the timers of `records` records, 1,000 at a time.
async fn sleeps(records: usize) {
    let start = |_: usize| tokio::time::sleep(WORK);
    let mut running: FuturesUnordered<_> = (0..1_000).map(start).collect();
    for _ in 0..records {
        running.next().await;
        running.push(start(0));
    }
}

/// Feeds the worker as a consumer does.
async fn feed(mut worker: Worker, deliveries: &[Delivery], records: usize) {
    let mut frontier = Frontier::default();
    let mut n = 0;
    while n < records {
        poll_fn(|cx| {
            let mut is_stuck = !worker.has_room();
            for _ in 0..if is_stuck { 0 } else { CHUNK.min(records - n) } {
                let ticket = frontier.deliver(n as i64);
                if let Some(settled) = worker.push(deliveries[n % 1_000].clone(), ticket, cx) {
                    frontier.complete(settled.tag);
                }
                n += 1;
            }
            while let Poll::Ready(Some(settled)) = worker.poll_settled(cx) {
                frontier.complete(settled.tag);
                is_stuck = false;
            }
            if is_stuck { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
        worker.flush();
        // Attempts that were handed to tasks, because the machine is busy, must run too.
        if !worker.is_empty() {
            tokio::task::yield_now().await;
        }
    }
    while let Some(settled) = poll_fn(|cx| worker.poll_settled(cx)).await {
        frontier.complete(settled.tag);
    }
    assert_eq!(frontier.offset(), Some(records as i64));
}
