//! The guards of a call, put together in the right order.
//!
//! Outer to inner: metrics, deadline, rate limit, retry with its budget; then for each attempt its time limit, the breaker
//! and the bulkhead. One future does all of it, so that the clock is read once at the start and once at
//! the end of an attempt, whatever is on. (Where the gRPC work puts hedging, it stands beside retry and pays
//! from the same budget; adaptive limits and load shedding by priority stand where the bulkhead does.)

mod builder;
mod call;
mod config;
mod held;
mod meter;
mod parts;
mod service;

pub use builder::PolicyBuilder;
pub use call::Call;
pub use config::PolicyConfig;
pub use service::{PolicyLayer, PolicyService};

use parts::{Guards, Parts};
use std::{
    fmt,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{Breaker, BreakerSnapshot, Bulkhead, BulkheadSnapshot, ByKind, RetryBudget, name::intern};
use crate::{Error, clock::Clock};

/// The guards of the calls to one destination, as a tower [layer](Self::layer) or around a [function](Self::run).
/// Clones share it: it is its own handle, for looking at its state, forcing its breaker, or giving it other
/// settings while calls run.
///
/// ```
/// use comms_core::{Error, ErrorKind, resilience::{Policy, PolicyConfig}};
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Error> {
/// let policy = Policy::interactive("payments");
/// let mut attempts = 0;
/// let answer = policy
///     .run(|| {
///         attempts += 1;
///         let answer = if attempts < 3 { Err(Error::not_executed("away")) } else { Ok("charged") };
///         async { answer }
///     })
///     .await?;
/// assert_eq!((answer, attempts), ("charged", 3));
///
/// policy.breaker().unwrap().force_open();
/// let refused = policy.run(|| async { Ok(()) }).await.unwrap_err();
/// assert_eq!(refused.kind, ErrorKind::Rejected);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Policy(Arc<Shared>);

struct Shared {
    name: &'static str,
    clock: Clock,
    /// Shared with other policies: never configured or dropped by this one.
    given: Guards,
    /// What calls that begin now go by; counted, so that a service sees without a lock that there is another.
    parts: RwLock<Arc<Parts>>,
    version: AtomicU64,
}

/// What a policy shows of itself.
#[derive(Debug, Clone, serde::Serialize)]
#[non_exhaustive]
pub struct PolicySnapshot {
    /// Its name.
    pub name: String,
    /// The settings now.
    pub config: PolicyConfig,
    /// Its breaker.
    pub breaker: Option<BreakerSnapshot>,
    /// Its compartment.
    pub bulkhead: Option<BulkheadSnapshot>,
    /// Retries that its budget still allows.
    pub budget: Option<u32>,
}

impl Policy {
    /// A policy with these settings.
    ///
    /// # Errors
    /// `Invalid` for settings that make no sense, naming the policy.
    pub fn new(name: &str, config: PolicyConfig) -> Result<Self, Error> {
        Self::builder(name, config).build()
    }

    /// Makes a policy of [`PolicyConfig::background`]: for background work without a waiting caller.
    #[must_use]
    pub fn background(name: &str) -> Self {
        Self::builder(name, PolicyConfig::background()).build_unchecked()
    }

    /// Makes a policy of [`PolicyConfig::interactive`]: for a call whose caller waits.
    #[must_use]
    pub fn interactive(name: &str) -> Self {
        Self::builder(name, PolicyConfig::interactive()).build_unchecked()
    }

    /// Begins a policy that shares guards with others.
    #[must_use]
    pub fn builder(name: &str, config: PolicyConfig) -> PolicyBuilder {
        PolicyBuilder::new(intern(name), config)
    }

    /// Guards a tower service whose error is [`Error`] and whose requests are `Clone`; they are cloned where another
    /// attempt may follow.
    #[must_use]
    pub fn layer(&self) -> PolicyLayer<ByKind> {
        self.layer_with(ByKind::default())
    }

    /// Guards a tower service whose requests and results `classify` knows.
    #[must_use]
    pub fn layer_with<C>(&self, classify: C) -> PolicyLayer<C> {
        PolicyLayer::new(self.clone(), classify)
    }

    /// Guards `attempt`, a function that makes one attempt each time it is called.
    ///
    /// # Errors
    /// The last attempt's, or a [`Rejection`](super::Rejection) of a guard.
    pub async fn run<F, Fut, T>(&self, attempt: F) -> Result<T, Error>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<T, Error>>,
    {
        Call::new(self.parts(), service::Function(attempt), (), ByKind::default()).await
    }

    /// As [`run`](Self::run), for a call that may be made twice though its answer was lost: it carries an idempotency
    /// key, or has the same effect however often it is made. So an `Indeterminate` failure is tried again, too.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub async fn run_idempotent<F, Fut, T>(&self, attempt: F) -> Result<T, Error>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<T, Error>>,
    {
        Call::new(self.parts(), service::Function(attempt), (), ByKind::idempotent()).await
    }

    /// Other settings, for the calls that begin after this. The guards that stay keep their state: an
    /// open breaker stays open, seats stay taken; a budget or a rate limit whose settings changed begins full.
    ///
    /// # Errors
    /// `Invalid` for settings that make no sense; the old ones stay.
    pub fn configure(&self, config: PolicyConfig) -> Result<(), Error> {
        config.validate().map_err(|error| error.context(format_args!("policy {}", self.0.name)))?;
        let mut current = self.0.parts.write().unwrap_or_else(PoisonError::into_inner);
        let next = Parts::new(self.0.name, config, &self.0.clock, &self.0.given, Some(&**current));
        *current = Arc::new(next);
        self.0.version.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// Its breaker, if it has one: the state, forcing it, listening to it.
    #[must_use]
    pub fn breaker(&self) -> Option<Breaker> {
        self.parts().breaker.clone()
    }

    /// Its compartment, if it has one.
    #[must_use]
    pub fn bulkhead(&self) -> Option<Bulkhead> {
        self.parts().bulkhead.clone()
    }

    /// Its retry budget, if it has one.
    #[must_use]
    pub fn retry_budget(&self) -> Option<RetryBudget> {
        self.parts().budget.clone()
    }

    /// The name it was made with.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.0.name
    }

    /// Settings and state of everything in it.
    #[must_use]
    pub fn snapshot(&self) -> PolicySnapshot {
        let parts = self.parts();
        PolicySnapshot {
            name: self.0.name.to_string(),
            config: parts.config.clone(),
            breaker: parts.breaker.as_ref().map(Breaker::snapshot),
            bulkhead: parts.bulkhead.as_ref().map(Bulkhead::snapshot),
            budget: parts.budget.as_ref().map(RetryBudget::available),
        }
    }

    fn parts(&self) -> Arc<Parts> {
        self.0.parts.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn version(&self) -> u64 {
        self.0.version.load(Ordering::Acquire)
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.snapshot().fmt(f)
    }
}

#[cfg(test)]
mod tests;
