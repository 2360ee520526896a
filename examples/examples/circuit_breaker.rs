//! A circuit breaker that stops calls to a failing peer, and a fallback that answers meanwhile.
//!
//! The problem: calls to a peer that is down cost each caller its time limit, and keep the peer from recovering.
//!
//! The solution: after some failures the breaker opens, and rejects calls without sending them. A minute later it lets a
//! probe through (half-open), and closes when probes succeed. A `FallbackLayer` outside of the policy answers with an
//! older price for failures and rejections alike.
//!
//! `cargo run -p examples --example circuit_breaker`: needs nothing else, the peer is a flag and the clock is manual.

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

/// A price, by its source.
#[derive(Debug, PartialEq)]
enum Price {
    Live(u32),
    Yesterdays(u32),
}

/// The peer: whether it fails, and how many calls it received.
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
    // The default settings, which reject for 60 s (10 % more or less), but three failures in a row open the breaker.
    let mut settings = BreakerConfig::default();
    settings.failure_threshold = 3;
    let mut config = PolicyConfig::none();
    config.breaker = Some(settings);
    let clock = Clock::manual(Duration::ZERO);
    let policy = Policy::builder("prices", config).clock(clock.clone()).build()?;
    let breaker = policy.breaker().context("configured above")?;
    breaker.on_transition(|change| println!("  -- {} -> {}", change.from.as_str(), change.to.as_str()));

    // The fallback is the outer layer: it answers for failures of the peer and for rejections of the breaker.
    let peer = Peer::default();
    let called = peer.clone();
    let mut prices = ServiceBuilder::new()
        .layer(FallbackLayer::new("prices", |_book: &'static str, cause: Error| async move {
            println!("  {cause}");
            // An invalid request stays invalid: an old price would hide that.
            if cause.kind.is_retryable() { Ok(Price::Yesterdays(40)) } else { Err(cause) }
        }))
        .layer(policy.layer())
        .service(service_fn(move |_book: &'static str| called.clone().price()));

    println!("the peer answers");
    show(&mut prices, 2).await?;

    println!("the peer fails: after three failures no call is sent");
    peer.broken.store(true, Ordering::Relaxed);
    peer.asked();
    show(&mut prices, 6).await?;
    let attempts = peer.asked();
    println!("six callers were answered, the peer received {attempts} calls");
    anyhow::ensure!(attempts == 3);
    println!("{}", serde_json::to_string(&policy.snapshot().breaker)?);

    println!("a minute later the peer still fails: one probe, and the breaker is open again");
    clock.advance(Duration::from_secs(67));
    show(&mut prices, 3).await?;
    anyhow::ensure!(peer.asked() == 1, "one probe while it is broken");

    println!("another minute later the peer answers: two probes succeed, and the breaker is closed");
    peer.broken.store(false, Ordering::Relaxed);
    clock.advance(Duration::from_secs(67));
    show(&mut prices, 3).await?;
    anyhow::ensure!(breaker.state() == BreakerState::Closed);

    println!("forced open by an operator, for a planned outage of the peer");
    peer.asked();
    breaker.force_open();
    show(&mut prices, 2).await?;
    anyhow::ensure!(peer.asked() == 0, "forced open, nothing is sent");

    println!("forced closed by an operator: every call is sent, whatever its result");
    peer.broken.store(true, Ordering::Relaxed);
    breaker.force_closed();
    show(&mut prices, 4).await?;
    anyhow::ensure!(peer.asked() == 4, "forced closed, everything is sent");

    println!("reset: the breaker decides again");
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
