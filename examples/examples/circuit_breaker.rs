//! Circuit breaker: no calls to a failing peer, and a fallback that answers instead.
//!
//! The problem: each call to a peer that is down waits for its timeout, and the calls keep the peer from recovering.
//!
//! The solution: after some failures the breaker opens and rejects calls without sending them. A minute later it admits
//! a probe (half-open), and it closes when probes succeed. A `FallbackLayer` around the policy answers failures and
//! rejections with an older price.
//!
//! Prints the answer of each call, the transitions of the breaker, and the number of calls that reached the peer.
//!
//! Run: `cargo run -p examples --example circuit_breaker`. Nothing else is needed; the clock is manual.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use comms_core::{
    Error,
    clock::Clock,
    resilience::{BreakerConfig, BreakerState, FallbackLayer, Policy, PolicyConfig},
};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

/// A price and its source.
#[derive(Debug, PartialEq)]
enum Price {
    Live(u32),
    Yesterdays(u32),
}

/// A peer that fails on demand and counts its calls.
#[derive(Clone, Default)]
struct Peer {
    failing: Arc<AtomicBool>,
    calls: Arc<AtomicU32>,
}

impl Peer {
    async fn price(self) -> Result<Price, Error> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        match self.failing.load(Ordering::Relaxed) {
            true => Err(Error::not_executed("connection refused")),
            false => Ok(Price::Live(42)),
        }
    }

    /// Returns the number of calls since the last reset, and resets it.
    fn take_calls(&self) -> u32 {
        self.calls.swap(0, Ordering::Relaxed)
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // The default settings, except that three consecutive failures open the breaker. It stays open for 60 s ± 10 %.
    let mut settings = BreakerConfig::default();
    settings.failure_threshold = 3;
    let mut config = PolicyConfig::none();
    config.breaker = Some(settings);
    let clock = Clock::manual(Duration::ZERO);
    let policy = Policy::builder("prices", config).clock(clock.clone()).build()?;
    let breaker = policy.breaker().context("configured above")?;
    breaker.on_transition(|change| println!("  -- {} -> {}", change.from.as_str(), change.to.as_str()));

    // The fallback is the outer layer, so it sees failures of the peer and rejections of the breaker.
    let peer = Peer::default();
    let called = peer.clone();
    let mut prices = ServiceBuilder::new()
        .layer(FallbackLayer::new("prices", |_book: &'static str, cause: Error| async move {
            println!("  {cause}");
            // An invalid request stays an error: an old price would hide it.
            if cause.kind.is_retryable() { Ok(Price::Yesterdays(40)) } else { Err(cause) }
        }))
        .layer(policy.layer())
        .service(service_fn(move |_book: &'static str| called.clone().price()));

    println!("the peer answers");
    show(&mut prices, 2).await?;

    println!("the peer fails: after three failures no call is sent");
    peer.failing.store(true, Ordering::Relaxed);
    peer.take_calls();
    show(&mut prices, 6).await?;
    let calls = peer.take_calls();
    println!("six callers got an answer, the peer received {calls} calls");
    anyhow::ensure!(calls == 3);
    println!("{}", serde_json::to_string(&policy.snapshot().breaker)?);

    println!("a minute later the peer still fails: a probe fails and the breaker opens again");
    clock.advance(Duration::from_secs(67));
    show(&mut prices, 3).await?;
    anyhow::ensure!(peer.take_calls() == 1, "one probe while the peer fails");

    println!("another minute later the peer answers: two probes succeed and the breaker closes");
    peer.failing.store(false, Ordering::Relaxed);
    clock.advance(Duration::from_secs(67));
    show(&mut prices, 3).await?;
    anyhow::ensure!(breaker.state() == BreakerState::Closed);

    println!("an operator forces the breaker open, for a planned outage of the peer");
    peer.take_calls();
    breaker.force_open();
    show(&mut prices, 2).await?;
    anyhow::ensure!(peer.take_calls() == 0, "no call is sent");

    println!("an operator forces the breaker closed: every call is sent, whatever the results are");
    peer.failing.store(true, Ordering::Relaxed);
    breaker.force_closed();
    show(&mut prices, 4).await?;
    anyhow::ensure!(peer.take_calls() == 4, "every call is sent");

    println!("an operator resets the breaker: results decide again");
    peer.failing.store(false, Ordering::Relaxed);
    breaker.reset();
    show(&mut prices, 1).await
}

/// Makes `calls` calls and prints the answers.
async fn show<S>(prices: &mut S, calls: u32) -> anyhow::Result<()>
where
    S: Service<&'static str, Response = Price, Error = Error>,
{
    for _ in 0..calls {
        println!("  {:?}", prices.ready().await?.call("a book").await?);
    }
    Ok(())
}
