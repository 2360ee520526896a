//! A policy as a whole, under tokio's paused time, in which waits take no real time.
#![allow(clippy::disallowed_methods, reason = "the tests wait for real time or for tokio's paused time")]

mod guards;
mod limits;
mod overrides;
mod retries;
mod settings;

use std::{
    cell::Cell,
    convert::Infallible,
    sync::atomic::AtomicU32,
    task::{Context as TaskContext, Poll},
    time::{Duration, Instant},
};

use futures_util::{FutureExt, future::join_all};
use tower::{Layer, Service, ServiceExt, limit::ConcurrencyLimitLayer, service_fn};

use super::*;
use crate::{
    ErrorKind,
    context::{Context, Deadline},
    resilience::{
        Backoff, BreakerConfig, BreakerState, BulkheadConfig, Class, Classify, Guard, Rejection,
        RetryBudgetConfig, RetryConfig,
    },
};

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Returns the time of the system clock, which is tokio's paused time.
fn now() -> Instant {
    Clock::system().now()
}

/// Returns a policy with only the guards that `change` sets.
fn policy(change: impl FnOnce(&mut PolicyConfig)) -> Policy {
    let mut config = PolicyConfig::none();
    change(&mut config);
    Policy::new("p", config).unwrap()
}

fn retry(max_attempts: u32) -> RetryConfig {
    let backoff = Backoff::new(millis(100), millis(1_000)).unwrap();
    RetryConfig { max_attempts, backoff, budget: None, ..RetryConfig::default() }
}

async fn failing<T>() -> Result<T, Error> {
    Err(Error::not_executed("away"))
}

fn policy_of_three() -> Policy {
    policy(|c| c.retry = Some(retry(3)))
}
