//! One deadline through everything that a request sets off: attempts, the waits between them, calls within calls.
//!
//! `cargo run -p examples --example deadline`: nothing else is needed, the peer is a sleep.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::Context as _;
use comms_core::{
    Backoff, Clock, Context, Deadline, Error, ErrorKind, Policy, PolicyConfig,
    resilience::{Guard, RetryConfig},
};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// What the asker leaves to whoever runs now; on the wire it is the `grpc-timeout`.
fn left(clock: &Clock) -> Option<Duration> {
    Context::current().deadline.and_then(|deadline| deadline.remaining(clock))
}

/// Up to five attempts for a call that may be made twice, each within `attempt`, `backoff` apart.
fn policy(name: &str, attempt: Duration, backoff: Duration) -> Result<Policy, Error> {
    let mut retry = RetryConfig::default();
    (retry.backoff, retry.idempotent) = (Backoff::new(backoff, backoff)?, true);
    let mut config = PolicyConfig::none();
    (config.attempt_timeout, config.retry) = (Some(attempt), Some(retry));
    Policy::new(name, config)
}

/// Runs `work` as a request whose asker waits for so long; how long it took.
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

    println!("-- somebody waits 500 ms; orders asks stock, which hangs");
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
    anyhow::ensure!(took < ms(5_000), "nobody works for an asker who has gone");

    println!("-- 300 ms, and a back-off of 2 s: the wait is not begun");
    let patient = policy("mail", ms(200), ms(2_000))?;
    let (answer, took) =
        asked(ms(300), patient.run(async || Err::<(), _>(Error::not_executed("away")))).await;
    let error = answer.err().context("it is away")?;
    println!("after {} ms: {}", took.as_millis(), error.chain());
    anyhow::ensure!(took < ms(300), "an error now is worth more than the same error later");

    println!("-- a request that has stood in a queue for longer than its asker waits");
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

    println!("-- the earlier one holds: a policy's own time limit, inside a longer wait");
    let mut config = PolicyConfig::none();
    config.timeout = Some(ms(100));
    let short = Policy::new("search", config)?;
    let seen = asked(ms(60_000), short.run(async || Ok(left(clock)))).await.0?;
    println!("search has {seen:?} of 60 s left");
    anyhow::ensure!(seen.is_some_and(|left| left <= ms(100)));

    println!("-- a task of its own has no asker, unless it is told");
    let spawned = async { tokio::spawn(async { left(&Clock::system()) }).await };
    let (alone, _) = asked(ms(500), spawned).await;
    println!("spawned: {:?} left", alone?);
    let spawned = async { tokio::spawn(Context::current().scope(async { left(&Clock::system()) })).await };
    let handed = asked(ms(500), spawned).await.0?;
    println!("spawned in the context that was handed over: {handed:?} left");
    anyhow::ensure!(handed.is_some());
    Ok(())
}
