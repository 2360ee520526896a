//! A peer that breaks and mends: the breaker stops asking it, and a lesser answer takes its place meanwhile.
//!
//! `cargo run -p examples --example circuit_breaker`: the peer is a flag, the clock is moved by hand.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use comms_core::{
    Clock, Error, Policy, PolicyConfig,
    resilience::{BreakerConfig, FallbackLayer, breaker::State},
};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

/// Where a price comes from, and so how much it is worth.
#[derive(Debug, PartialEq)]
enum Price {
    Live(u32),
    Yesterdays(u32),
}

/// The other side: whether it is well, and how often it was asked.
#[derive(Clone, Default)]
struct Peer {
    broken: Arc<AtomicBool>,
    asked: Arc<AtomicU32>,
}

impl Peer {
    async fn price(self) -> Result<Price, Error> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        match self.broken.load(Ordering::Relaxed) {
            true => Err(Error::not_executed("connection refused")),
            false => Ok(Price::Live(42)),
        }
    }

    fn asked(&self) -> u32 {
        self.asked.swap(0, Ordering::Relaxed)
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // As it is by default: it rejects for 60 s, 10 % more or less; but three failures in a row suffice.
    let mut settings = BreakerConfig::default();
    settings.failures = 3;
    let mut config = PolicyConfig::none();
    config.breaker = Some(settings);
    let clock = Clock::manual(Duration::ZERO);
    let policy = Policy::builder("prices", config).clock(clock.clone()).build()?;
    let breaker = policy.breaker().context("configured above")?;
    breaker.on_transition(|change| println!("  -- {} -> {}", change.from.as_str(), change.to.as_str()));

    // The fallback is outside: it answers for the peer's failures and for the breaker's refusals alike.
    let peer = Peer::default();
    let called = peer.clone();
    let mut prices = ServiceBuilder::new()
        .layer(FallbackLayer::new("prices", |_book: &'static str, cause: Error| async move {
            println!("  {cause}");
            // A request that is wrong stays wrong: no old price may hide that.
            if cause.kind.is_retryable() { Ok(Price::Yesterdays(40)) } else { Err(cause) }
        }))
        .layer(policy.layer())
        .service(service_fn(move |_book: &'static str| called.clone().price()));

    println!("the peer is well");
    show(&mut prices, 2).await?;

    println!("it breaks: three failures, then it is left alone");
    peer.broken.store(true, Ordering::Relaxed);
    peer.asked();
    show(&mut prices, 6).await?;
    let attempts = peer.asked();
    println!("six callers answered, the peer was asked {attempts} times");
    anyhow::ensure!(attempts == 3);
    println!("{}", serde_json::to_string(&policy.snapshot().breaker)?);

    println!("still broken a minute later: one probe, and open again");
    clock.advance(Duration::from_secs(67));
    show(&mut prices, 3).await?;
    anyhow::ensure!(peer.asked() == 1, "one probe while it is broken");

    println!("it mends: another minute later two probes succeed, and it is closed");
    peer.broken.store(false, Ordering::Relaxed);
    clock.advance(Duration::from_secs(67));
    show(&mut prices, 3).await?;
    anyhow::ensure!(breaker.state() == State::Closed);

    println!("by hand, for a planned outage of the peer");
    peer.asked();
    breaker.force_open();
    show(&mut prices, 2).await?;
    anyhow::ensure!(peer.asked() == 0, "forced open, nothing is sent");

    println!("by hand, where the breaker is wrong: everything passes, whatever comes back");
    peer.broken.store(true, Ordering::Relaxed);
    breaker.force_closed();
    show(&mut prices, 4).await?;
    anyhow::ensure!(peer.asked() == 4, "forced closed, everything is sent");

    println!("back to its own judgement");
    peer.broken.store(false, Ordering::Relaxed);
    breaker.reset();
    show(&mut prices, 1).await
}

async fn show<S>(prices: &mut S, calls: u32) -> anyhow::Result<()>
where
    S: Service<&'static str, Response = Price, Error = Error>,
{
    for _ in 0..calls {
        println!("  {:?}", prices.ready().await?.call("a book").await?);
    }
    Ok(())
}
