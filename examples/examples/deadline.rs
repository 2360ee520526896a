//! One deadline for everything that a request causes: attempts, the waits between them, and nested calls.
//!
//! The problem: each call has a time limit of its own, so retries and nested calls add up, and servers work for callers
//! that have gone.
//!
//! The solution: the request's `Context` carries one deadline. A `Policy` bounds each attempt by the time that remains,
//! skips a wait that would outlast it, and rejects a call whose deadline has passed.
//!
//! `cargo run -p examples --example deadline`: needs nothing else, the peer is a sleep.

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

/// The time that remains for the current request. On the wire it is the `grpc-timeout`.
fn left(clock: &Clock) -> Option<Duration> {
    Context::current().deadline.and_then(|deadline| deadline.remaining(clock))
}

/// A policy for idempotent calls: up to five attempts, each at most `attempt` long, `backoff` apart.
fn policy(name: &str, attempt: Duration, backoff: Duration) -> Result<Policy, Error> {
    let mut retry = RetryConfig::default();
    (retry.backoff, retry.idempotent) = (Backoff::new(backoff, backoff)?, true);
    let mut config = PolicyConfig::none();
    (config.attempt_timeout, config.retry) = (Some(attempt), Some(retry));
    Policy::new(name, config)
}

/// Runs `work` as a request whose caller waits for `timeout`. Returns the result and the duration.
async fn asked<T>(timeout: Duration, work: impl Future<Output = T>) -> (T, Duration) {
    let clock = Clock::system();
    let began = clock.now();
    let context = Context::root(&clock).with_deadline(Deadline::after(timeout, &clock));
    let answer = context.scope(work).await;
    (answer, clock.now() - began)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let clock = &Clock::system();

    println!("-- a caller waits 500 ms; orders calls stock, which hangs");
    let (orders, stock) = (policy("orders", ms(300), ms(20))?, policy("stock", ms(200), ms(20))?);
    let call = orders.run(|| async {
        println!("orders has {:?} left", left(clock));
        stock
            .run(|| async {
                println!("  stock has {:?} left", left(clock));
                clock.sleep(ms(60_000)).await;
                Ok(())
            })
            .await
    });
    let (answer, took) = asked(ms(500), call).await;
    let error = answer.err().context("stock hangs")?;
    println!("after {} ms: {}", took.as_millis(), error.chain());
    anyhow::ensure!(error.kind == ErrorKind::Indeterminate, "it was sent, so it may have happened");
    anyhow::ensure!(took < ms(5_000), "no work goes on for a caller that has gone");

    println!("-- 300 ms remain and the backoff is 2 s: the error is returned without the wait");
    let patient = policy("mail", ms(200), ms(2_000))?;
    let (answer, took) =
        asked(ms(300), patient.run(async || Err::<(), _>(Error::not_executed("away")))).await;
    let error = answer.err().context("it is away")?;
    println!("after {} ms: {}", took.as_millis(), error.chain());
    anyhow::ensure!(took < ms(300), "the wait would outlast the deadline");

    println!("-- the deadline passed while the request was queued: no attempt is made");
    let attempts = AtomicU32::new(0);
    let late = async {
        clock.sleep(ms(50)).await;
        let attempt = async || Ok::<_, Error>(attempts.fetch_add(1, Ordering::Relaxed));
        orders.run(attempt).await
    };
    let (answer, _) = asked(ms(10), late).await;
    let error = answer.err().context("it is too late")?;
    println!("{}; {} attempts", error.chain(), attempts.load(Ordering::Relaxed));
    let guard = error.rejection().map(|rejection| rejection.guard);
    anyhow::ensure!(guard == Some(Guard::Deadline), "nothing was sent, so nothing happened");
    anyhow::ensure!(error.kind == ErrorKind::Rejected && attempts.into_inner() == 0);

    println!("-- the earlier deadline holds: the time limit of the policy");
    let mut config = PolicyConfig::none();
    config.timeout = Some(ms(100));
    let short = Policy::new("search", config)?;
    let seen = asked(ms(60_000), short.run(async || Ok(left(clock)))).await.0?;
    println!("search has {seen:?} of 60 s left");
    anyhow::ensure!(seen.is_some_and(|left| left <= ms(100)));

    println!("-- a spawned task has no context unless the context is handed over");
    let spawned = async { tokio::spawn(async { left(&Clock::system()) }).await };
    let (alone, _) = asked(ms(500), spawned).await;
    println!("spawned: {:?} left", alone?);
    let spawned = async { tokio::spawn(Context::current().scope(async { left(&Clock::system()) })).await };
    let handed = asked(ms(500), spawned).await.0?;
    println!("spawned with the context: {handed:?} left");
    anyhow::ensure!(handed.is_some());
    Ok(())
}
