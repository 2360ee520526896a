//! How a policy is made.

use std::sync::{Arc, RwLock, atomic::AtomicU64};

use super::{
    Policy, PolicyConfig, Shared,
    parts::{Guards, Parts},
};
use crate::{
    Clock, Error,
    resilience::{Breaker, Budget, Bulkhead},
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
    pub fn budget(mut self, budget: Budget) -> Self {
        self.given.budget = Some(budget);
        self
    }

    /// Asks this breaker, whatever the configuration says: one breaker for several methods of a destination.
    #[must_use]
    pub fn breaker(mut self, breaker: Breaker) -> Self {
        self.given.breaker = Some(breaker);
        self
    }

    /// Takes seats here, whatever the configuration says: one of the [`Compartments`](crate::resilience::Compartments).
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
        let parts = RwLock::new(Arc::new(Parts::new(name, config, &clock, &given, None)?));
        Ok(Policy(Arc::new(Shared { name, clock, given, parts, version: AtomicU64::new(0) })))
    }
}
