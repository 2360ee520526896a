//! A rate limit for each user, in bounded memory.
//!
//! The problem: one user's flood takes the capacity of all others, and a limiter that remembers every key can itself be
//! flooded until memory runs out.
//!
//! The solution: `KeyedRateLimiter` has a budget for each key and a bound on the keys that it remembers. A rejection
//! carries the wait, which becomes Retry-After.
//!
//! `cargo run -p examples --example rate_limit`: needs nothing else, the clock is manual.

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

    // Two calls a second for each user, and three at once after a pause.
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
    anyhow::ensure!(
        passed == [true, true, true, false, true, false],
        "ann's calls use nothing of bob's rate"
    );

    println!("-- half a second later one more call passes, as the rejection said");
    clock.advance(Duration::from_millis(500));
    for expected in [true, false] {
        let answer = orders.ready().await?.call(Request { user: "ann" }).await;
        anyhow::ensure!(show("ann", answer) == expected);
    }

    println!("-- what a rejection carries");
    let refused = Error::from(limiter.check(&"ann").err().context("used up")?);
    let rejection = refused.rejection().context("a guard rejected it")?;
    println!("guard {:?} of {:?}, again in {:?}", rejection.guard, rejection.name, rejection.retry_after);
    // Retry-After is in whole seconds, rounded up so that the client does not return too early.
    let seconds = rejection.retry_after.map_or(1, |wait| wait.as_millis().div_ceil(1_000));
    println!("to an HTTP client: {}, Retry-After: {seconds}", refused.kind.http_status());
    anyhow::ensure!((refused.kind, rejection.guard) == (ErrorKind::Rejected, Guard::RateLimit));

    println!("-- a flood of 100,000 keys in a limiter that remembers 1,000");
    let logins = KeyedRateLimiter::new(
        "logins",
        &RateLimitConfig::new(1, Duration::from_secs(60)),
        1_000,
        clock.clone(),
    )?;
    let user = |number: u32| format!("user {number}");
    anyhow::ensure!(logins.check(&user(0)).is_ok() && logins.check(&user(0)).is_err());
    let flood = (1..=100_000).filter(|number| logins.check(&user(*number)).is_ok()).count();
    println!("{flood} keys passed; a key that was evicted starts anew: {:?}", logins.check(&user(0)));
    anyhow::ensure!(logins.check(&user(100_000)).is_err(), "the latest key is remembered");

    println!("-- one rate for all calls to a peer: a guard of its policy");
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

/// Prints the result. Returns whether the call passed.
fn show(who: &str, answer: Result<String, Error>) -> bool {
    match &answer {
        Ok(answer) => println!("{who}: {answer}"),
        Err(error) => println!("{who}: {}", error.chain()),
    }
    answer.is_ok()
}
