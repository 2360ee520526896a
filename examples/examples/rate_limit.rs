//! A rate for each user: what one uses up is not missing to another, and no flood of keys fills the memory.
//!
//! `cargo run -p examples --example rate_limit`: nothing else is needed, the clock is moved by hand.

use std::time::Duration;

use anyhow::Context as _;
use comms_core::{
    Clock, Error, ErrorKind, Policy, PolicyConfig,
    resilience::{
        Guard,
        rate_limit::{KeyedRateLimiter, RateLimitConfig},
    },
};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

#[derive(Debug, Clone)]
struct Request {
    user: &'static str,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let clock = Clock::manual(Duration::ZERO);

    // Two in a second for each user, after a pause three at once.
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
    anyhow::ensure!(passed == [true, true, true, false, true, false], "bob pays nothing for ann");

    println!("-- half a second later there is one call more, as the refusal said");
    clock.advance(Duration::from_millis(500));
    for expected in [true, false] {
        let answer = orders.ready().await?.call(Request { user: "ann" }).await;
        anyhow::ensure!(show("ann", answer) == expected);
    }

    println!("-- what a refusal says");
    let refused = Error::from(limiter.check(&"ann").err().context("used up")?);
    let rejection = refused.rejection().context("a guard said no")?;
    println!("guard {:?} of {:?}, again in {:?}", rejection.guard, rejection.name, rejection.retry_after);
    // A Retry-After is in whole seconds: rounded up, or the client comes too early.
    let seconds = rejection.retry_after.map_or(1, |wait| wait.as_millis().div_ceil(1_000));
    println!("to an HTTP client: {}, Retry-After: {seconds}", refused.kind.http_status());
    anyhow::ensure!((refused.kind, rejection.guard) == (ErrorKind::Rejected, Guard::RateLimit));

    println!("-- a flood of made-up users, in a limiter that remembers 1,000");
    let logins = KeyedRateLimiter::new(
        "logins",
        &RateLimitConfig::new(1, Duration::from_secs(60)),
        1_000,
        clock.clone(),
    )?;
    let user = |number: u32| format!("user {number}");
    anyhow::ensure!(logins.check(&user(0)).is_ok() && logins.check(&user(0)).is_err());
    let flood = (1..=100_000).filter(|number| logins.check(&user(*number)).is_ok()).count();
    println!("{flood} keys came and went; who is forgotten begins anew: {:?}", logins.check(&user(0)));
    anyhow::ensure!(logins.check(&user(100_000)).is_err(), "who came last is remembered");

    println!("-- one rate for all calls to a peer that allows us no more: a guard of its policy");
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

/// Prints an answer; whether it was one.
fn show(who: &str, answer: Result<String, Error>) -> bool {
    match &answer {
        Ok(answer) => println!("{who}: {answer}"),
        Err(error) => println!("{who}: {}", error.chain()),
    }
    answer.is_ok()
}
