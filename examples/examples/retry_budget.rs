//! Retries that do not multiply an outage, and calls that must not be retried.
//!
//! The problem: in an outage every caller retries, so the peer gets several times its load when it can bear it least. And
//! a retry of a call whose answer was lost may charge a card twice.
//!
//! The solution: a budget allows a retry for every few successes and a small reserve. A peer that is overloaded names the
//! wait (pushback). A call with an unknown outcome is retried only if it is idempotent.
//!
//! `cargo run -p examples --example retry_budget`: needs nothing else, the peer is a function.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::Context as _;
use comms_core::{
    Error,
    clock::Clock,
    resilience::{Backoff, Policy, PolicyConfig, RetryBudgetConfig, RetryConfig},
};

const REQUESTS: u32 = 200;

/// A policy with retries alone: up to five attempts, a few milliseconds apart.
fn policy(budget: Option<RetryBudgetConfig>, idempotent: bool) -> Result<Policy, Error> {
    let mut retry = RetryConfig::default();
    retry.backoff = Backoff::new(Duration::from_millis(2), Duration::from_millis(10))?;
    (retry.budget, retry.idempotent) = (budget, idempotent);
    let mut config = PolicyConfig::none();
    config.retry = Some(retry);
    Policy::new("payments", config)
}

/// Returns the result and the number of attempts.
async fn counted<T>(policy: &Policy, answer: impl Fn(u32) -> Result<T, Error>) -> (Result<T, Error>, u32) {
    let attempts = AtomicU32::new(0);
    let result = policy
        .run(|| {
            let attempt = attempts.fetch_add(1, Ordering::Relaxed) + 1;
            std::future::ready(answer(attempt))
        })
        .await;
    (result, attempts.into_inner())
}

/// Makes requests that all fail. Returns how many attempts reached the peer.
async fn outage(name: &str, policy: &Policy) -> Result<u32, Error> {
    let mut attempts = 0;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..REQUESTS {
        let policy = policy.clone();
        tasks.spawn(async move { counted(&policy, |_| Err::<(), _>(Error::not_executed("down"))).await.1 });
    }
    while let Some(made) = tasks.join_next().await {
        attempts += made.map_err(Error::fatal)?;
    }
    let each = f64::from(attempts) / f64::from(REQUESTS);
    println!("{name}: {REQUESTS} requests, {attempts} attempts, {each:.2} for each");
    Ok(attempts)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    println!("-- an outage");
    let unlimited = outage("no budget  ", &policy(None, false)?).await?;

    // A reserve of 10 retries (10 a second, over 1 s), and one more for every five successes.
    let mut prices = RetryBudgetConfig::default();
    (prices.min_per_second, prices.window) = (10, Duration::from_secs(1));
    let guarded = policy(Some(prices), false)?;
    let budget = guarded.retry_budget().context("configured above")?;
    let limited = outage("with budget", &guarded).await?;
    anyhow::ensure!(unlimited == 5 * REQUESTS, "without a budget the outage is multiplied");
    anyhow::ensure!(
        limited < REQUESTS + REQUESTS / 5,
        "with a budget there are few retries beyond the reserve"
    );

    println!("   {} retries left; 40 successes pay for 8 more", budget.available());
    for _ in 0..40 {
        counted(&guarded, |_| Ok(())).await.0?;
    }
    println!("   {} retries left", budget.available());

    println!("-- pushback: the peer names the wait before the next attempt");
    let clock = Clock::system();
    let began = clock.now();
    let busy_at_first = |attempt| match attempt {
        1 => Err(Error::rejected("I am overloaded", Some(Duration::from_millis(300)))),
        _ => Ok("charged"),
    };
    let (answer, attempts) = counted(&guarded, busy_at_first).await;
    let took = clock.now() - began;
    println!("{} at attempt {attempts}, after {} ms", answer?, took.as_millis());
    anyhow::ensure!(attempts == 2 && took >= Duration::from_millis(300));

    let (refused, attempts) = counted(&guarded, |_| Err::<(), _>(Error::rejected("overloaded", None))).await;
    println!("{attempts} attempt if the peer names no wait: {}", refused.err().context("rejected")?);
    anyhow::ensure!(attempts == 1);

    println!("-- the answer was lost, and the card may have been charged");
    let lost_at_first = |attempt| match attempt {
        1 => Err(Error::indeterminate("connection reset while waiting for the answer")),
        _ => Ok("charged"),
    };
    let (answer, attempts) = counted(&guarded, lost_at_first).await;
    println!("a plain call: {attempts} attempt, {}", answer.err().context("the outcome is unknown")?);
    anyhow::ensure!(attempts == 1, "a retry might charge twice");
    let mut attempts = 0;
    let charge_under_key = || {
        attempts += 1;
        let answer = lost_at_first(attempts);
        async { answer }
    };
    let answer = guarded.run_idempotent(charge_under_key).await;
    println!("a call with an idempotency key: {attempts} attempts, {}", answer?);
    anyhow::ensure!(attempts == 2, "the peer recognizes the key");
    let (answer, attempts) = counted(&policy(None, true)?, lost_at_first).await;
    println!("a policy for idempotent calls: {attempts} attempts, {}", answer?);
    anyhow::ensure!(attempts == 2);
    Ok(())
}
