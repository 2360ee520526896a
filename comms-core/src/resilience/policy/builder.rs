//! Builds a policy with shared guards or an injected clock.

use std::sync::{Arc, RwLock, atomic::AtomicU64};

use super::{
    Policy, PolicyConfig, Shared,
    version::{PolicyVersion, SharedGuards},
};
use crate::{
    Error,
    clock::Clock,
    resilience::{Breaker, Bulkhead, RetryBudget},
};

/// Builds a [`Policy`] that shares guards with other policies, or that uses a clock other than the system's.
///
/// A shared guard replaces the one of the configuration and keeps its own settings.
#[derive(Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct PolicyBuilder {
    name: &'static str,
    config: PolicyConfig,
    clock: Clock,
    shared_guards: SharedGuards,
}

impl PolicyBuilder {
    pub(super) fn new(name: &'static str, config: PolicyConfig) -> Self {
        Self { name, config, clock: Clock::system(), shared_guards: SharedGuards::default() }
    }

    /// Sets the source of time and randomness. Default [`Clock::system`].
    pub fn clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// Sets the budget that retries are withdrawn from, for one budget per peer.
    pub fn retry_budget(mut self, budget: RetryBudget) -> Self {
        self.shared_guards.budget = Some(budget);
        self
    }

    /// Sets the breaker, for one breaker over several methods of a peer.
    pub fn breaker(mut self, breaker: Breaker) -> Self {
        self.shared_guards.breaker = Some(breaker);
        self
    }

    /// Sets the bulkhead that attempts acquire permits from, for example one of a
    /// [`BulkheadRegistry`](crate::resilience::BulkheadRegistry).
    pub fn bulkhead(mut self, bulkhead: Bulkhead) -> Self {
        self.shared_guards.bulkhead = Some(bulkhead);
        self
    }

    /// Builds the policy.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid), naming the policy, if [`PolicyConfig::validate`]
    /// fails.
    pub fn build(self) -> Result<Policy, Error> {
        self.config.validate().map_err(|error| error.context(format_args!("policy {}", self.name)))?;
        Ok(self.build_unchecked())
    }

    /// Builds the policy from validated settings.
    pub(crate) fn build_unchecked(self) -> Policy {
        let Self { name, config, clock, shared_guards } = self;
        let version = PolicyVersion::new(name, config, &clock, &shared_guards, None);
        let (version, version_number) = (RwLock::new(Arc::new(version)), AtomicU64::new(0));
        Policy(Arc::new(Shared { name, clock, shared_guards, version, version_number }))
    }
}
