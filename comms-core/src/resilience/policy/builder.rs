//! How a policy is made.

use std::sync::{Arc, RwLock, atomic::AtomicU64};

use super::{
    Policy, PolicyConfig, Shared,
    parts::{Guards, Parts},
};
use crate::{
    Error,
    clock::Clock,
    resilience::{Breaker, Bulkhead, RetryBudget},
};

/// Makes a [`Policy`] that shares guards with others, or has a clock of its own.
#[derive(Debug)]
pub struct PolicyBuilder {
    name: &'static str,
    config: PolicyConfig,
    clock: Clock,
    given: Guards,
}

impl PolicyBuilder {
    pub(super) fn new(name: &'static str, config: PolicyConfig) -> Self {
        Self { name, config, clock: Clock::system(), given: Guards::default() }
    }

    /// Time and randomness from here. Default the system's.
    #[must_use]
    pub fn clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// Pays retries from this budget, whatever the configuration says: one budget per destination.
    #[must_use]
    pub fn retry_budget(mut self, budget: RetryBudget) -> Self {
        self.given.budget = Some(budget);
        self
    }

    /// Asks this breaker, whatever the configuration says: one breaker for several methods of a destination.
    #[must_use]
    pub fn breaker(mut self, breaker: Breaker) -> Self {
        self.given.breaker = Some(breaker);
        self
    }

    /// Takes seats here, whatever the configuration says: one of the [`BulkheadRegistry`](crate::resilience::BulkheadRegistry).
    #[must_use]
    pub fn bulkhead(mut self, bulkhead: Bulkhead) -> Self {
        self.given.bulkhead = Some(bulkhead);
        self
    }

    /// The policy.
    ///
    /// # Errors
    /// `Invalid` for settings that make no sense, naming the policy.
    pub fn build(self) -> Result<Policy, Error> {
        let Self { name, config, clock, given } = self;
        config.validate().map_err(|error| error.context(format_args!("policy {name}")))?;
        Ok(Self { name, config, clock, given }.build_unchecked())
    }

    /// The policy of settings that are known to be valid.
    pub(super) fn build_unchecked(self) -> Policy {
        let Self { name, config, clock, given } = self;
        let parts = RwLock::new(Arc::new(Parts::new(name, config, &clock, &given, None)));
        Policy(Arc::new(Shared { name, clock, given, parts, version: AtomicU64::new(0) }))
    }
}
