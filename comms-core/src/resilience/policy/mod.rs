//! A policy: the guards of a call, composed in a fixed order.
//!
//! One future runs all guards, so that the clock is read once at the start of a
//! call and once at the end of an attempt, whichever guards are on.
//!
//! The files in the order of a call:
//! - `config.rs` and `builder.rs`: the settings, and the policy that is built from them;
//! - `overrides.rs`: the settings that some calls have in place of those of the policy;
//! - `version.rs`: the guards of one version of the settings;
//! - `service.rs`: the tower layer and service, which start a call;
//! - `call.rs`: the stages of a call;
//! - `call_state.rs`: the decisions at each stage, and the permits of a call;
//! - `meter.rs`: the metrics.

mod builder;
mod call;
mod call_state;
mod config;
mod meter;
mod overrides;
mod service;
mod version;

pub use builder::PolicyBuilder;
pub use call::Call;
pub use config::PolicyConfig;
pub use overrides::PolicyOverrides;
pub use service::{PolicyLayer, PolicyService};

use std::{
    fmt,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use version::{PolicyVersion, SharedGuards};

use super::{Breaker, BreakerSnapshot, Bulkhead, BulkheadSnapshot, ByKind, RetryBudget, name::intern};
use crate::{Error, clock::Clock};

/// The guards of the calls to one peer, as a tower [layer](Self::layer) or around a [function](Self::run).
///
/// The guards run in this order, from the outside in: metrics, deadline, rate limit, retry with its budget; then for
/// each attempt the time limit, the breaker and the bulkhead. So the rate limit counts a call once, and the breaker and
/// the bulkhead admit each attempt. A retry happens only if the kind of the failure permits it: see the table of
/// [`ErrorKind`](crate::ErrorKind).
///
/// Create one policy per peer and clone it. Clones share their state: any clone can inspect the state, force the
/// breaker, or replace the settings while calls are in flight.
///
/// ```
/// use comms_core::{Error, ErrorKind, resilience::{Policy, PolicyConfig}};
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Error> {
/// let policy = Policy::interactive("payments"); // 1 s for the whole call, at most five attempts
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
/// // An open breaker refuses the call before the function is called.
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
    /// Guards that other policies use as well: this policy never reconfigures or drops them.
    shared_guards: SharedGuards,
    /// The version under which new calls start.
    version: RwLock<Arc<PolicyVersion>>,
    /// Incremented with each new version, so that a service detects the change without the lock.
    version_number: AtomicU64,
}

/// The settings and the state of a policy at one moment, for an admin endpoint.
#[derive(Debug, Clone, serde::Serialize)]
#[non_exhaustive]
pub struct PolicySnapshot {
    /// The name of the policy.
    pub name: String,
    /// The settings.
    pub config: PolicyConfig,
    /// The state of the breaker, if there is one.
    pub breaker: Option<BreakerSnapshot>,
    /// The usage of the bulkhead, if there is one.
    pub bulkhead: Option<BulkheadSnapshot>,
    /// Retries that the retry budget allows now, if there is one.
    pub budget: Option<u32>,
}

impl Policy {
    /// Creates a policy. `name` identifies the policy in rejections and metrics, and is never freed.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid), naming the policy, if [`PolicyConfig::validate`]
    /// fails.
    pub fn new(name: &str, config: PolicyConfig) -> Result<Self, Error> {
        Self::builder(name, config).build()
    }

    /// Creates a policy from [`PolicyConfig::background`], for background work without a waiting caller.
    #[must_use]
    pub fn background(name: &str) -> Self {
        Self::builder(name, PolicyConfig::background()).build_unchecked()
    }

    /// Creates a policy from [`PolicyConfig::interactive`], for calls with a waiting caller.
    #[must_use]
    pub fn interactive(name: &str) -> Self {
        Self::builder(name, PolicyConfig::interactive()).build_unchecked()
    }

    /// Returns a builder for a policy that shares guards with other policies, or that uses another clock.
    pub fn builder(name: &str, config: PolicyConfig) -> PolicyBuilder {
        PolicyBuilder::new(intern(name), config)
    }

    /// Returns the tower layer for services whose error is [`Error`] and whose requests are `Clone`.
    ///
    /// A request is cloned only for an attempt after which another one may follow.
    ///
    /// ```
    /// use comms_core::{Error, resilience::Policy};
    /// use tower::{Layer, ServiceExt, service_fn};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Error> {
    /// let charge = service_fn(|cents: u32| async move { Ok::<_, Error>(format!("charged {cents}")) });
    /// let service = Policy::interactive("payments").layer().layer(charge);
    /// assert_eq!(service.oneshot(250).await?, "charged 250");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn layer(&self) -> PolicyLayer<ByKind> {
        self.layer_with(ByKind::default())
    }

    /// Returns the tower layer for services of another protocol, adapted by `classify`.
    #[must_use]
    pub fn layer_with<C>(&self, classify: C) -> PolicyLayer<C> {
        PolicyLayer::new(self.clone(), classify)
    }

    /// Runs one call under this policy. The function `attempt` makes one attempt each time it is called.
    ///
    /// # Errors
    /// Returns the error of the last attempt, or that of a guard ([`Error::rejection`] returns the guard):
    /// - [`ErrorKind::Rejected`](crate::ErrorKind::Rejected) if the deadline had passed, the rate was exhausted, the
    ///   breaker was open or the bulkhead was full;
    /// - [`ErrorKind::Indeterminate`](crate::ErrorKind::Indeterminate) if the time limit of an attempt, or the
    ///   deadline, passed during the attempt.
    ///
    /// If an attempt may have been executed and a later attempt was refused, or lost against a concurrent change, returns
    /// the `Indeterminate` error of the earlier attempt.
    pub async fn run<F, Fut, T>(&self, attempt: F) -> Result<T, Error>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<T, Error>>,
    {
        Call::new(self.version(), service::Function(attempt), (), ByKind::default()).await
    }

    /// Runs one call as [`run`](Self::run) does, and retries [`Indeterminate`](crate::ErrorKind::Indeterminate)
    /// failures as well.
    ///
    /// Use it only for a call that is harmless to execute twice: it has an idempotency key, or the same effect however
    /// often it is executed.
    ///
    /// # Errors
    /// Returns the errors that are listed at [`run`](Self::run).
    pub async fn run_idempotent<F, Fut, T>(&self, attempt: F) -> Result<T, Error>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<T, Error>>,
    {
        Call::new(self.version(), service::Function(attempt), (), ByKind::idempotent()).await
    }

    /// Replaces the settings for calls that start afterwards.
    ///
    /// Guards that are in the old and in the new settings keep their state: an open breaker stays open, and permits
    /// stay in use. A retry budget or rate limit whose settings changed starts full.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid), naming the policy, if [`PolicyConfig::validate`]
    /// fails; the old settings stay in effect.
    pub fn configure(&self, config: PolicyConfig) -> Result<(), Error> {
        config.validate().map_err(|error| error.context(format_args!("policy {}", self.0.name)))?;
        let shared = &*self.0;
        let mut version = shared.version.write().unwrap_or_else(PoisonError::into_inner);
        let next =
            PolicyVersion::new(shared.name, config, &shared.clock, &shared.shared_guards, Some(&**version));
        *version = Arc::new(next);
        shared.version_number.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// Returns the breaker, if there is one: for its state, to force it, or to listen to its transitions.
    #[must_use]
    pub fn breaker(&self) -> Option<Breaker> {
        self.version().breaker.clone()
    }

    /// Returns the bulkhead, if there is one.
    #[must_use]
    pub fn bulkhead(&self) -> Option<Bulkhead> {
        self.version().bulkhead.clone()
    }

    /// Returns the retry budget, if there is one.
    #[must_use]
    pub fn retry_budget(&self) -> Option<RetryBudget> {
        self.version().budget.clone()
    }

    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.0.name
    }

    /// Returns the settings, and the state of the guards.
    #[must_use]
    pub fn snapshot(&self) -> PolicySnapshot {
        let version = self.version();
        PolicySnapshot {
            name: self.0.name.to_string(),
            config: version.config.clone(),
            breaker: version.breaker.as_ref().map(Breaker::snapshot),
            bulkhead: version.bulkhead.as_ref().map(Bulkhead::snapshot),
            budget: version.budget.as_ref().map(RetryBudget::available),
        }
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.0.clock
    }

    fn version(&self) -> Arc<PolicyVersion> {
        self.0.version.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn version_number(&self) -> u64 {
        self.0.version_number.load(Ordering::Acquire)
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.snapshot().fmt(f)
    }
}

#[cfg(test)]
mod tests;
