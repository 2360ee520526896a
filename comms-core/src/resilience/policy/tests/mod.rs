//! A policy as a whole, under tokio's paused time: a wait costs none.

mod guards;
mod limits;
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

/// The system clock stands still with tokio's.
fn now() -> Instant {
    Clock::system().now()
}

/// Everything under tokio's paused time: a wait costs none.
fn policy(change: impl FnOnce(&mut PolicyConfig)) -> Policy {
    let mut config = PolicyConfig::none();
    change(&mut config);
    Policy::new("p", config).unwrap()
}

fn retry(attempts: u32) -> RetryConfig {
    let backoff = Backoff::new(millis(100), millis(1_000)).unwrap();
    RetryConfig { max_attempts: attempts, backoff, budget: None, ..RetryConfig::default() }
}

async fn failing<T>() -> Result<T, Error> {
    Err(Error::not_executed("away"))
}

fn policy_of_three() -> Policy {
    policy(|c| c.retry = Some(retry(3)))
}
