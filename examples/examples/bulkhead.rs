//! Bulkhead: batch work that cannot take the permits of critical calls.
//!
//! The problem: a flood of slow calls takes every connection and every thread, and more important calls wait behind it.
//!
//! The solution: a `Bulkhead` limits the calls in flight. Each compartment (batch, standard, critical) has its own
//! permits. A call without a permit is rejected at once, or waits in a bounded queue for a bounded time.
//!
//! Prints how many of 60 reports run and how many are rejected, whether a payment gets through meanwhile, and the same
//! with one bulkhead for all calls and with a queue.
//!
//! Run: `cargo run -p examples --example bulkhead`. Nothing else is needed; a slow call is a sleep.

use std::time::Duration;

use anyhow::Context as _;
use comms_core::{
    Error,
    clock::Clock,
    resilience::{Bulkhead, BulkheadConfig, BulkheadRegistry, Policy, PolicyConfig},
};
use tokio::task::JoinSet;

/// The results of a flood of calls.
#[derive(Debug, Default, PartialEq)]
struct Outcomes {
    done: usize,
    rejected_at_once: usize,
    rejected_after_waiting: usize,
}

/// Returns a policy whose calls take their permits from `compartment`.
fn policy(name: &str, compartment: &Bulkhead) -> Result<Policy, Error> {
    Policy::builder(name, PolicyConfig::none()).bulkhead(compartment.clone()).build()
}

/// Makes one call of 200 ms under `policy`.
async fn call(policy: &Policy) -> Result<(), Error> {
    policy
        .run(|| async {
            Clock::system().sleep(Duration::from_millis(200)).await;
            Ok(())
        })
        .await
}

/// Starts `calls` calls at the same time.
fn flood(policy: &Policy, calls: usize) -> JoinSet<(Result<(), Error>, Duration)> {
    let timed_call = || {
        let (policy, clock) = (policy.clone(), Clock::system());
        async move {
            let start = clock.now();
            (call(&policy).await, clock.now() - start)
        }
    };
    std::iter::repeat_with(timed_call).take(calls).collect()
}

/// Waits for the calls of a flood, and prints and returns their results.
async fn outcomes(flood: JoinSet<(Result<(), Error>, Duration)>) -> Outcomes {
    let mut outcomes = Outcomes::default();
    for (result, took) in flood.join_all().await {
        match result {
            Ok(()) => outcomes.done += 1,
            Err(_) if took < Duration::from_millis(50) => outcomes.rejected_at_once += 1,
            Err(_) => outcomes.rejected_after_waiting += 1,
        }
    }
    println!("  {outcomes:?}");
    outcomes
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let compartments = BulkheadRegistry::default();
    let compartment = |name| compartments.get(name).context("a default compartment");
    let (batch, critical) = (compartment("batch")?, compartment("critical")?);
    let (reports, payments) = (policy("reports", batch)?, policy("payments", critical)?);

    println!("60 reports at once, with 10 permits for batch work");
    let running = flood(&reports, 60);
    Clock::system().sleep(Duration::from_millis(50)).await;
    for bulkhead in compartments.iter() {
        println!("  {:?}", bulkhead.snapshot());
    }
    let rejected = call(&reports).await.err().context("no permit is free")?;
    println!("one more report: {rejected}");
    call(&payments).await?;
    println!("a payment meanwhile: paid");
    anyhow::ensure!(outcomes(running).await.done == 10, "calls with a permit finish");

    println!("the same 60 reports if all calls share 10 permits");
    let shared = Bulkhead::new("everything", &BulkheadConfig::new(10))?;
    let running = flood(&policy("reports", &shared)?, 60);
    Clock::system().sleep(Duration::from_millis(50)).await;
    let rejected = call(&policy("payments", &shared)?).await.err().context("no permit is free")?;
    println!("a payment meanwhile: {rejected}");
    drop(running);

    // `configure` takes effect at once, also in policies that use the compartment already.
    println!("20 reports, of which 5 may wait up to 1 s for a permit");
    let mut patient = BulkheadConfig::new(10);
    (patient.max_queued, patient.max_wait) = (5, Duration::from_secs(1));
    batch.configure(&patient)?;
    let queued = outcomes(flood(&reports, 20)).await;
    anyhow::ensure!(queued == Outcomes { done: 15, rejected_at_once: 5, rejected_after_waiting: 0 });

    println!("20 reports, of which 5 may wait up to 100 ms");
    patient.max_wait = Duration::from_millis(100);
    batch.configure(&patient)?;
    let queued = outcomes(flood(&reports, 20)).await;
    anyhow::ensure!(queued == Outcomes { done: 10, rejected_at_once: 5, rejected_after_waiting: 5 });
    anyhow::ensure!(batch.in_use() == 0, "every permit was released");
    Ok(())
}
