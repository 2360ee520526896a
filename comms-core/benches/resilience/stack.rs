//! The whole stack around a service that does nothing.

use std::{hint::black_box, time::Duration};

use comms_core::{
    Error,
    resilience::{Policy, PolicyConfig},
};
use tokio::runtime::Runtime;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_resilience::{
    bulkhead::BulkheadLayer, circuitbreaker::CircuitBreakerLayer, ratelimiter::RateLimiterLayer,
    retry::RetryLayer, timelimiter::TimeLimiterLayer,
};

use crate::group::Group;

const LIMIT: Duration = Duration::from_secs(10);

pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
}

/// A service driven as a client drives it: readied, then called.
pub(crate) fn drive<S>(mut service: S) -> impl FnMut(u64) -> Duration
where
    S: Service<u64, Response = u64>,
    S::Error: std::fmt::Debug,
{
    let runtime = runtime();
    move |times| {
        runtime.block_on(async {
            let begun = std::time::Instant::now();
            for n in 0..times {
                black_box(service.ready().await.unwrap().call(n).await.unwrap());
            }
            begun.elapsed()
        })
    }
}

/// Each part of the peer's stack maps its errors to the application's, as its users do.
fn peer() -> BulkheadLayer {
    BulkheadLayer::builder().max_concurrent_calls(30).name("b").build().unwrap()
}

pub(crate) fn stack() -> Group {
    let echo = || service_fn(|n: u64| std::future::ready(Ok::<_, Error>(n)));
    let plain = || service_fn(|n: u64| std::future::ready(Ok::<_, String>(n)));
    let mut config = PolicyConfig::background();
    (config.timeout, config.attempt_timeout) = (Some(LIMIT), None);
    let policy = Policy::new("p", config.clone()).unwrap();
    let function = Policy::new("f", config).unwrap();
    let rt = runtime();

    let breaker = || CircuitBreakerLayer::builder().name("c").consecutive_failures(5).build().unwrap();
    let retry = || RetryLayer::<u64, u64, _>::builder().max_attempts(5).name("r").build();
    let limiter = || TimeLimiterLayer::builder().timeout_duration(LIMIT).name("t").build();
    let rate = || {
        let builder = RateLimiterLayer::builder().limit_for_period(1_000_000_000).name("l");
        builder.refresh_period(Duration::from_secs(1)).build().unwrap()
    };
    let four = ServiceBuilder::new()
        .layer(limiter())
        .layer(retry())
        .map_err(|e| format!("{e:?}"))
        .layer(breaker())
        .map_err(|e| format!("{e:?}"))
        .layer(peer())
        .service(plain());
    let five = ServiceBuilder::new()
        .layer(limiter())
        .layer(rate())
        .layer(retry())
        .map_err(|e| format!("{e:?}"))
        .layer(breaker())
        .map_err(|e| format!("{e:?}"))
        .layer(peer())
        .service(plain());
    Group::new("stack: deadline, retry, breaker, bulkhead, metrics; one call")
        .add_timed("tower-resilience: those five as layers", drive(four))
        .add_timed("tower-resilience: and its rate limiter", drive(five))
        .add_timed("comms: policy as a layer", drive(policy.layer().layer(echo())))
        .add_timed("comms: policy around a function", move |times| {
            rt.block_on(async {
                let begun = std::time::Instant::now();
                for n in 0..times {
                    black_box(function.run(|| std::future::ready(Ok(n))).await.unwrap());
                }
                begun.elapsed()
            })
        })
        .add_timed("no guard at all", drive(echo()))
}
