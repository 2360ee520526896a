//! Batch work that cannot take the permits of critical calls.
//!
//! The problem: a flood of slow calls takes every connection and every thread, and calls that matter more wait behind it.
//!
//! The solution: a `Bulkhead` limits the calls in flight. Each compartment (batch, standard, critical) has permits of its
//! own. A call without a permit is rejected at once, or waits in a bounded queue for a bounded time.
//!
//! `cargo run -p examples --example bulkhead`: needs nothing else, a slow call is a sleep.

use std::time::Duration;

use anyhow::Context as _;
use comms_core::{
    Error,
    clock::Clock,
    resilience::{Bulkhead, BulkheadConfig, BulkheadRegistry, Policy, PolicyConfig},
};
use tokio::task::JoinSet;

/// How a flood of calls ended.
#[derive(Debug, Default, PartialEq)]
struct Ended {
    done: usize,
    rejected_at_once: usize,
    rejected_after_waiting: usize,
}

/// A policy whose calls take their permits from this compartment.
fn policy(name: &str, compartment: &Bulkhead) -> Result<Policy, Error> {
    Policy::builder(name, PolicyConfig::none()).bulkhead(compartment.clone()).build()
}

/// Work that takes 200 ms.
async fn work(policy: &Policy) -> Result<(), Error> {
    policy
        .run(|| async {
            Clock::system().sleep(Duration::from_millis(200)).await;
            Ok(())
        })
        .await
}

/// Starts `calls` calls at once.
fn flood(policy: &Policy, calls: usize) -> JoinSet<(Result<(), Error>, Duration)> {
    let call = || {
        let (policy, clock) = (policy.clone(), Clock::system());
        async move {
            let began = clock.now();
            (work(&policy).await, clock.now() - began)
        }
    };
    std::iter::repeat_with(call).take(calls).collect()
}

async fn end(flood: JoinSet<(Result<(), Error>, Duration)>) -> Ended {
    let mut ended = Ended::default();
    for (result, took) in flood.join_all().await {
        match result {
            Ok(()) => ended.done += 1,
            Err(_) if took < Duration::from_millis(50) => ended.rejected_at_once += 1,
            Err(_) => ended.rejected_after_waiting += 1,
        }
    }
    println!("  {ended:?}");
    ended
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let compartments = BulkheadRegistry::default();
    let compartment = |name| compartments.get(name).context("one of the default ones");
    let (batch, critical) = (compartment("batch")?, compartment("critical")?);
    let (reports, payments) = (policy("reports", batch)?, policy("payments", critical)?);

    println!("60 reports at once, with 10 permits for batch work");
    let flooded = flood(&reports, 60);
    Clock::system().sleep(Duration::from_millis(50)).await;
    for bulkhead in compartments.iter() {
        println!("  {:?}", bulkhead.snapshot());
    }
    let refused = work(&reports).await.err().context("there is no permit")?;
    println!("one more report: {refused}");
    work(&payments).await?;
    println!("a payment meanwhile: paid");
    anyhow::ensure!(end(flooded).await.done == 10, "calls with a permit finish");

    println!("the same 60 reports if all calls share 10 permits");
    let shared = Bulkhead::new("everything", &BulkheadConfig::new(10))?;
    let flooded = flood(&policy("reports", &shared)?, 60);
    Clock::system().sleep(Duration::from_millis(50)).await;
    let refused = work(&policy("payments", &shared)?).await.err().context("there is no permit")?;
    println!("a payment meanwhile: {refused}");
    drop(flooded);

    // Takes effect at once, also for policies that use the compartment already.
    println!("20 reports, of which 5 may wait for a permit, for 1 s");
    let mut patient = BulkheadConfig::new(10);
    (patient.max_queued, patient.max_wait) = (5, Duration::from_secs(1));
    batch.configure(&patient)?;
    let ended = end(flood(&reports, 20)).await;
    anyhow::ensure!(ended == Ended { done: 15, rejected_at_once: 5, rejected_after_waiting: 0 });

    println!("the same, for 100 ms");
    patient.max_wait = Duration::from_millis(100);
    batch.configure(&patient)?;
    let ended = end(flood(&reports, 20)).await;
    anyhow::ensure!(ended == Ended { done: 10, rejected_at_once: 5, rejected_after_waiting: 5 });
    anyhow::ensure!(batch.in_use() == 0, "every permit was released");
    Ok(())
}
