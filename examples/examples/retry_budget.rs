//! Retry budget: retries that do not multiply an outage, and calls that must not be retried.
//!
//! The problem: in an outage every caller retries, so the peer gets several times its load while it is overloaded. And
//! a retry of a call whose response was lost may charge a card twice.
//!
//! The solution: a budget permits one retry for every few successes, and a small reserve. An overloaded peer sends the
//! time before the next attempt (pushback). A call with an unknown outcome is retried only if it is idempotent.
//!
//! Prints the attempts with and without a budget in an outage, with pushback, and after a lost response.
//!
//! Run: `cargo run -p examples --example retry_budget`. Nothing else is needed; the peer is a function.

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

/// Returns a policy that only retries: up to five attempts, a few milliseconds apart.
fn policy(budget: Option<RetryBudgetConfig>, idempotent: bool) -> Result<Policy, Error> {
    let mut retry = RetryConfig::default();
    retry.backoff = Backoff::new(Duration::from_millis(2), Duration::from_millis(10))?;
    (retry.budget, retry.idempotent) = (budget, idempotent);
    let mut config = PolicyConfig::none();
    config.retry = Some(retry);
    Policy::new("payments", config)
}

/// Makes a call whose attempt `n` has the result `respond(n)`. Returns the last result and the number of attempts.
async fn counted<T>(policy: &Policy, respond: impl Fn(u32) -> Result<T, Error>) -> (Result<T, Error>, u32) {
    let attempts = AtomicU32::new(0);
    let result = policy
        .run(|| {
            let attempt = attempts.fetch_add(1, Ordering::Relaxed) + 1;
            std::future::ready(respond(attempt))
        })
        .await;
    (result, attempts.into_inner())
}

/// Makes requests that all fail. Returns the number of attempts that reached the peer.
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
    let per_request = f64::from(attempts) / f64::from(REQUESTS);
    println!("{name}: {REQUESTS} requests, {attempts} attempts, {per_request:.2} per request");
    Ok(attempts)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    println!("-- an outage");
    let unlimited = outage("no budget  ", &policy(None, false)?).await?;

    // A reserve of 10 retries (10 per second, in a window of 1 s), and one more retry for every five successes.
    let mut settings = RetryBudgetConfig::default();
    (settings.min_per_second, settings.window) = (10, Duration::from_secs(1));
    let guarded = policy(Some(settings), false)?;
    let budget = guarded.retry_budget().context("configured above")?;
    let limited = outage("with budget", &guarded).await?;
    anyhow::ensure!(unlimited == 5 * REQUESTS, "without a budget the outage is multiplied");
    anyhow::ensure!(limited < REQUESTS + REQUESTS / 5, "with a budget there are few retries");

    println!("   {} retries left; 40 successes pay for 8 more", budget.available());
    for _ in 0..40 {
        counted(&guarded, |_| Ok(())).await.0?;
    }
    println!("   {} retries left", budget.available());

    println!("-- pushback: the peer sends the time before the next attempt");
    let clock = Clock::system();
    let start = clock.now();
    let overloaded_at_first = |attempt| match attempt {
        1 => Err(Error::rejected("overloaded", Some(Duration::from_millis(300)))),
        _ => Ok("charged"),
    };
    let (answer, attempts) = counted(&guarded, overloaded_at_first).await;
    let took = clock.now() - start;
    println!("{} at attempt {attempts}, after {} ms", answer?, took.as_millis());
    anyhow::ensure!(attempts == 2 && took >= Duration::from_millis(300));

    let (rejected, attempts) = counted(&guarded, |_| Err::<(), _>(Error::rejected("overloaded", None))).await;
    println!("{attempts} attempt without pushback: {}", rejected.err().context("the peer is overloaded")?);
    anyhow::ensure!(attempts == 1);

    println!("-- the response was lost, and the card may have been charged");
    let lost_at_first = |attempt| match attempt {
        1 => Err(Error::indeterminate("connection reset while waiting for the response")),
        _ => Ok("charged"),
    };
    let (answer, attempts) = counted(&guarded, lost_at_first).await;
    println!("a plain call: {attempts} attempt, {}", answer.err().context("the outcome is unknown")?);
    anyhow::ensure!(attempts == 1, "a retry might charge twice");
    let mut attempts = 0;
    let charge_with_key = || {
        attempts += 1;
        let answer = lost_at_first(attempts);
        async { answer }
    };
    let answer = guarded.run_idempotent(charge_with_key).await;
    println!("a call with an idempotency key: {attempts} attempts, {}", answer?);
    anyhow::ensure!(attempts == 2, "the peer recognizes the key");
    let (answer, attempts) = counted(&policy(None, true)?, lost_at_first).await;
    println!("a policy for idempotent calls: {attempts} attempts, {}", answer?);
    anyhow::ensure!(attempts == 2);
    Ok(())
}
