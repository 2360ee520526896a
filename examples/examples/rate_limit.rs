//! Rate limit: a rate for each user, in bounded memory.
//!
//! The problem: one user's flood takes the capacity of all others. A limiter that keeps every key can itself be flooded
//! with keys until memory runs out.
//!
//! The solution: `KeyedRateLimiter` limits the rate of each key and the number of keys that it keeps. A rejection has
//! the time until the next permitted call, which becomes Retry-After.
//!
//! Prints the calls of two users that pass and are rejected, the parts of a rejection, and a flood of 100,000 keys.
//!
//! Run: `cargo run -p examples --example rate_limit`. Nothing else is needed; the clock is manual.

use std::time::Duration;

use anyhow::Context as _;
use comms_core::{
    Error, ErrorKind,
    clock::Clock,
    resilience::{Guard, KeyedRateLimiter, Policy, PolicyConfig, RateLimitConfig},
};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

#[derive(Debug, Clone)]
struct Request {
    user: &'static str,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let clock = Clock::manual(Duration::ZERO);

    // Each user may make two calls per second, and bursts of three after a pause.
    let mut rate = RateLimitConfig::new(2, Duration::from_secs(1));
    rate.burst = Some(3);
    let limiter = KeyedRateLimiter::new("orders", &rate, 10_000, clock.clone())?;
    let mut orders = ServiceBuilder::new().layer(limiter.layer(|request: &Request| request.user)).service(
        service_fn(async |request: Request| Ok::<_, Error>(format!("an order of {}", request.user))),
    );

    println!("-- two users");
    let mut passed = Vec::new();
    for user in ["ann", "ann", "ann", "ann", "bob", "ann"] {
        passed.push(show(user, orders.ready().await?.call(Request { user }).await));
    }
    anyhow::ensure!(passed == [true, true, true, false, true, false], "ann's calls do not use bob's rate");

    println!("-- half a second later, the retry_after of the rejection, one more call passes");
    clock.advance(Duration::from_millis(500));
    for expected in [true, false] {
        let answer = orders.ready().await?.call(Request { user: "ann" }).await;
        anyhow::ensure!(show("ann", answer) == expected);
    }

    println!("-- the parts of a rejection");
    let rejected = Error::from(limiter.check(&"ann").err().context("the rate is used up")?);
    let rejection = rejected.rejection().context("a guard rejected the call")?;
    println!("guard {:?} of {:?}, retry after {:?}", rejection.guard, rejection.name, rejection.retry_after);
    // Retry-After is in whole seconds, rounded up so that the client does not retry too early.
    let seconds = rejection.retry_after.map_or(1, |wait| wait.as_millis().div_ceil(1_000));
    println!("to an HTTP client: {}, Retry-After: {seconds}", rejected.kind.http_status());
    anyhow::ensure!((rejected.kind, rejection.guard) == (ErrorKind::Rejected, Guard::RateLimit));

    println!("-- a flood of 100,000 keys in a limiter that keeps 1,000");
    let logins = KeyedRateLimiter::new(
        "logins",
        &RateLimitConfig::new(1, Duration::from_secs(60)),
        1_000,
        clock.clone(),
    )?;
    let user = |number: u32| format!("user {number}");
    anyhow::ensure!(logins.check(&user(0)).is_ok() && logins.check(&user(0)).is_err());
    let flood = (1..=100_000).filter(|number| logins.check(&user(*number)).is_ok()).count();
    println!(
        "{flood} keys passed; an evicted key starts again with a full rate: {:?}",
        logins.check(&user(0))
    );
    anyhow::ensure!(logins.check(&user(100_000)).is_err(), "the latest key is kept");

    println!("-- one rate for all calls to a peer, as a guard of a policy");
    let mut config = PolicyConfig::none();
    config.rate_limit = Some(RateLimitConfig::new(2, Duration::from_secs(1)));
    let mail = Policy::builder("mail", config).clock(clock.clone()).build()?;
    let mut sent = 0;
    for _ in 0..4 {
        sent += u32::from(show("mail", mail.run(async || Ok("sent".to_owned())).await));
    }
    anyhow::ensure!(sent == 2);
    Ok(())
}

/// Prints the result of a call and returns whether the call passed.
fn show(caller: &str, result: Result<String, Error>) -> bool {
    match &result {
        Ok(response) => println!("{caller}: {response}"),
        Err(error) => println!("{caller}: {}", error.chain()),
    }
    result.is_ok()
}
