//! Measures the marketplace over its public API: the latency from an order's POST to its events on the socket, and the
//! number of orders per second that reach PAID.
//!
//! Run `cargo bench -p reference-app` for the profile `embedded`, and `cargo bench -p reference-app -- full` with the
//! servers of `scripts/services env` for both profiles.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a benchmark may")]
#![allow(clippy::disallowed_methods, reason = "the benchmark runs in real time")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use comms_core::clock::Clock;
use hdrhistogram::Histogram;
use serde_json::Value;
use support::{Buyer, Deployment, Marketplace};
use tokio::{sync::Semaphore, task::JoinSet};

const USERS: usize = 20;
const RATE: u64 = 50;
const PACED: usize = 1_000;
const BACKLOG: usize = 3_000;
const CONCURRENCY: usize = 64;

fn main() {
    let full = std::env::args().any(|arg| arg == "full");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let deployments =
        if full { vec![Deployment::Embedded, Deployment::Full] } else { vec![Deployment::Embedded] };
    for deployment in deployments {
        runtime.block_on(async {
            latency(deployment).await;
            throughput(deployment).await;
        });
    }
}

/// The times of the POST requests and of the events, in microseconds since the start.
#[derive(Default)]
struct Times {
    sent: HashMap<String, u64>,
    seen: Vec<(String, String, u64)>,
}

async fn latency(deployment: Deployment) {
    let clock = Clock::system();
    let start = clock.now();
    let marketplace = Marketplace::start(deployment).await;
    let times = Arc::new(Mutex::new(Times::default()));
    let buyers: Vec<Buyer> = (0..USERS).map(|n| marketplace.buyer(&format!("user-{n}"))).collect();
    let micros = move || u64::try_from(clock.now().duration_since(start).as_micros()).unwrap();

    let mut listeners = JoinSet::new();
    for buyer in &buyers {
        let (mut socket, times, micros) = (buyer.socket().await, times.clone(), micros.clone());
        listeners.spawn(async move {
            while let Some(event) = socket.event().await {
                let text = |value: &Value| value.as_str().unwrap().to_owned();
                let (order, status) = (text(&event["data"]["order_id"]), text(&event["data"]["status"]));
                times.lock().unwrap().seen.push((order, status, micros()));
            }
        });
    }
    // The first 100 orders are not counted: connections are opened and statements are planned.
    let (mut tasks, mut tick) = (JoinSet::new(), tokio::time::interval(Duration::from_millis(1_000 / RATE)));
    for n in 0..PACED + 100 {
        tick.tick().await;
        let (buyer, times, micros) = (buyers[n % USERS].clone(), times.clone(), micros.clone());
        tasks.spawn(async move {
            let sent = micros();
            let placed = buyer.place(&format!("paced-{n}"), 100).await;
            if n >= 100 {
                times.lock().unwrap().sent.insert(placed.order_id, sent);
            }
        });
    }
    tasks.join_all().await;
    marketplace.settled(PACED + 100, Duration::from_secs(60)).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let times = times.lock().unwrap();
    for status in ["CREATED", "PAID"] {
        let mut histogram = Histogram::<u64>::new(3).unwrap();
        for (order, seen_status, at) in &times.seen {
            if let Some(sent) = times.sent.get(order).filter(|_| seen_status == status) {
                histogram.record(at - sent).unwrap();
            }
        }
        let millis = |quantile| histogram.value_at_quantile(quantile) as f64 / 1_000.0;
        println!(
            "{deployment:?}: POST to socket, {status}, at {RATE} orders/s, {} orders: p50 {:.1} ms, p99 {:.1} ms",
            histogram.len(),
            millis(0.5),
            millis(0.99),
        );
    }
}

async fn throughput(deployment: Deployment) {
    let clock = Clock::system();
    let marketplace = Marketplace::start(deployment).await;
    let buyers: Vec<Buyer> = (0..USERS).map(|n| marketplace.buyer(&format!("user-{n}"))).collect();
    let gate = Arc::new(Semaphore::new(CONCURRENCY));
    let start = clock.now();
    let mut tasks = JoinSet::new();
    for n in 0..BACKLOG {
        let permit = gate.clone().acquire_owned().await.unwrap();
        let buyer = buyers[n % USERS].clone();
        tasks.spawn(async move {
            buyer.place(&format!("backlog-{n}"), 100).await;
            drop(permit);
        });
    }
    tasks.join_all().await;
    let accepted = clock.now().duration_since(start).as_secs_f64();
    marketplace.settled(BACKLOG, Duration::from_secs(300)).await;
    let paid = clock.now().duration_since(start).as_secs_f64();
    println!(
        "{deployment:?}: {BACKLOG} orders, {CONCURRENCY} at a time: accepted {:.0}/s, to PAID {:.0}/s",
        BACKLOG as f64 / accepted,
        BACKLOG as f64 / paid,
    );
}
