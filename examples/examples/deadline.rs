//! Deadline: one deadline for all work of a request, including attempts, backoff and nested calls.
//!
//! The problem: if each call has its own time limit, retries and nested calls add up, and servers work for callers that
//! no longer wait.
//!
//! The solution: the request's `Context` carries one deadline. A `Policy` bounds each attempt by the remaining time,
//! skips a backoff that would outlast the deadline, and rejects a call whose deadline has passed.
//!
//! Prints the remaining time at each step, and the errors of calls that run out of time.
//!
//! Run: `cargo run -p examples --example deadline`. Nothing else is needed; the peer is a sleep.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::Context as _;
use comms_core::{
    Error, ErrorKind,
    clock::Clock,
    context::{Context, Deadline},
    resilience::{Backoff, Guard, Policy, PolicyConfig, RetryConfig},
};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Returns the remaining time of the current request. comms-grpc sends it as `grpc-timeout`.
fn remaining(clock: &Clock) -> Option<Duration> {
    Context::current().deadline.and_then(|deadline| deadline.remaining(clock))
}

/// Returns a policy for idempotent calls: up to five attempts, each at most `attempt` long, `backoff` apart.
fn policy(name: &str, attempt: Duration, backoff: Duration) -> Result<Policy, Error> {
    let mut retry = RetryConfig::default();
    (retry.backoff, retry.idempotent) = (Backoff::new(backoff, backoff)?, true);
    let mut config = PolicyConfig::none();
    (config.attempt_timeout, config.retry) = (Some(attempt), Some(retry));
    Policy::new(name, config)
}

/// Runs `work` as a request with the deadline `timeout` from now. Returns the result and the duration.
async fn request<T>(timeout: Duration, work: impl Future<Output = T>) -> (T, Duration) {
    let clock = Clock::system();
    let start = clock.now();
    let context = Context::root(&clock).with_deadline(Deadline::after(timeout, &clock));
    let result = context.scope(work).await;
    (result, clock.now() - start)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let clock = &Clock::system();

    println!("-- a caller waits 500 ms; orders calls stock, which hangs");
    let (orders, stock) = (policy("orders", ms(300), ms(20))?, policy("stock", ms(200), ms(20))?);
    let call = orders.run(|| async {
        println!("orders has {:?} left", remaining(clock));
        stock
            .run(|| async {
                println!("  stock has {:?} left", remaining(clock));
                clock.sleep(ms(60_000)).await;
                Ok(())
            })
            .await
    });
    let (result, took) = request(ms(500), call).await;
    let error = result.err().context("stock hangs")?;
    println!("after {} ms: {}", took.as_millis(), error.chain());
    anyhow::ensure!(
        error.kind == ErrorKind::Indeterminate,
        "the call was sent, so it may have had an effect"
    );
    anyhow::ensure!(took < ms(5_000), "no work continues after the deadline");

    println!("-- 300 ms remain and the backoff is 2 s: the error is returned without the wait");
    let patient = policy("mail", ms(200), ms(2_000))?;
    let unavailable = async || Err::<(), _>(Error::not_executed("connection refused"));
    let (result, took) = request(ms(300), patient.run(unavailable)).await;
    let error = result.err().context("mail is unavailable")?;
    println!("after {} ms: {}", took.as_millis(), error.chain());
    anyhow::ensure!(took < ms(300), "the backoff would outlast the deadline");

    println!("-- the deadline passed while the request was queued: no attempt is made");
    let attempts = AtomicU32::new(0);
    let late = async {
        clock.sleep(ms(50)).await;
        let attempt = async || Ok::<_, Error>(attempts.fetch_add(1, Ordering::Relaxed));
        orders.run(attempt).await
    };
    let (result, _) = request(ms(10), late).await;
    let error = result.err().context("the deadline has passed")?;
    println!("{}; {} attempts", error.chain(), attempts.load(Ordering::Relaxed));
    let guard = error.rejection().map(|rejection| rejection.guard);
    anyhow::ensure!(guard == Some(Guard::Deadline), "nothing was sent");
    anyhow::ensure!(error.kind == ErrorKind::Rejected && attempts.into_inner() == 0);

    println!("-- the policy's timeout ends before the request's deadline: the earlier one counts");
    let mut config = PolicyConfig::none();
    config.timeout = Some(ms(100));
    let short = Policy::new("search", config)?;
    let left = request(ms(60_000), short.run(async || Ok(remaining(clock)))).await.0?;
    println!("search has {left:?} of 60 s left");
    anyhow::ensure!(left.is_some_and(|left| left <= ms(100)));

    println!("-- a spawned task has a context only if it is passed explicitly");
    let spawned = async { tokio::spawn(async { remaining(&Clock::system()) }).await };
    let (without_context, _) = request(ms(500), spawned).await;
    println!("spawned: {:?} left", without_context?);
    let spawned =
        async { tokio::spawn(Context::current().scope(async { remaining(&Clock::system()) })).await };
    let with_context = request(ms(500), spawned).await.0?;
    println!("spawned with the context: {with_context:?} left");
    anyhow::ensure!(with_context.is_some());
    Ok(())
}
