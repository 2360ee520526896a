//! A whole policy around a service that does nothing.

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

/// Calls the service as a client does: `poll_ready`, then `call`.
pub(crate) fn drive<S>(mut service: S) -> impl FnMut(u64) -> Duration
where
    S: Service<u64, Response = u64>,
    S::Error: std::fmt::Debug,
{
    let runtime = runtime();
    move |times| {
        runtime.block_on(async {
            let started = std::time::Instant::now();
            for n in 0..times {
                black_box(service.ready().await.unwrap().call(n).await.unwrap());
            }
            started.elapsed()
        })
    }
}

fn peer_bulkhead() -> BulkheadLayer {
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
    // Each layer maps its errors to those of the application, as users of tower-resilience do.
    let without_rate_limit = ServiceBuilder::new()
        .layer(limiter())
        .layer(retry())
        .map_err(|e| format!("{e:?}"))
        .layer(breaker())
        .map_err(|e| format!("{e:?}"))
        .layer(peer_bulkhead())
        .service(plain());
    let with_rate_limit = ServiceBuilder::new()
        .layer(limiter())
        .layer(rate())
        .layer(retry())
        .map_err(|e| format!("{e:?}"))
        .layer(breaker())
        .map_err(|e| format!("{e:?}"))
        .layer(peer_bulkhead())
        .service(plain());
    Group::new("stack: deadline, retry, breaker, bulkhead, metrics; one call")
        .add_timed("tower-resilience: the same five as layers", drive(without_rate_limit))
        .add_timed("tower-resilience: these and its rate limiter", drive(with_rate_limit))
        .add_timed("comms: policy as a layer", drive(policy.layer().layer(echo())))
        .add_timed("comms: policy around a function", move |times| {
            rt.block_on(async {
                let started = std::time::Instant::now();
                for n in 0..times {
                    black_box(function.run(|| std::future::ready(Ok(n))).await.unwrap());
                }
                started.elapsed()
            })
        })
        .add_timed("no guard", drive(echo()))
}
