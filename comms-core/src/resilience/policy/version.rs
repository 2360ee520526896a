//! One version of a policy: its settings and the guards that they describe.

use std::sync::Arc;

#[cfg(feature = "rate-limit")]
use crate::resilience::rate_limit::RateLimiter;
use crate::{
    clock::Clock,
    resilience::{Breaker, Bulkhead, RetryBudget},
};

use super::{PolicyConfig, PolicyOverrides, meter::Meter};

/// One version of a policy. Its clones share the guards. [`Policy::configure`](super::Policy::configure) creates a new version; a call keeps the
/// version under which it started.
#[derive(Clone)]
pub(super) struct PolicyVersion {
    pub(super) config: PolicyConfig,
    pub(super) budget: Option<RetryBudget>,
    pub(super) breaker: Option<Breaker>,
    pub(super) bulkhead: Option<Bulkhead>,
    #[cfg(feature = "rate-limit")]
    pub(super) rate_limit: Option<RateLimiter>,
    pub(super) meter: Option<Arc<Meter>>,
    pub(super) name: &'static str,
    pub(super) clock: Clock,
}

/// Guards that the policy shares with other policies. They replace those of the configuration.
#[derive(Debug, Default)]
pub(super) struct SharedGuards {
    pub(super) budget: Option<RetryBudget>,
    pub(super) breaker: Option<Breaker>,
    pub(super) bulkhead: Option<Bulkhead>,
}

impl PolicyVersion {
    /// Creates the version that follows `previous`, from validated settings. A guard that both versions have keeps its
    /// state and is reconfigured; a budget or rate limit whose settings changed is created anew.
    pub(super) fn new(
        name: &'static str,
        config: PolicyConfig,
        clock: &Clock,
        shared: &SharedGuards,
        previous: Option<&Self>,
    ) -> Self {
        let budget_config =
            |config: &PolicyConfig| config.retry.as_ref().and_then(|retry| retry.budget.clone());
        let budget = match (shared.budget.clone(), budget_config(&config)) {
            (None, Some(settings)) => {
                let unchanged = previous.filter(|p| budget_config(&p.config).as_ref() == Some(&settings));
                match unchanged.and_then(|p| p.budget.clone()) {
                    Some(budget) => Some(budget),
                    None => Some(RetryBudget::unchecked(&settings, clock.clone())),
                }
            }
            (shared, _) => shared,
        };
        let breaker = match (shared.breaker.clone(), &config.breaker) {
            (None, Some(settings)) => Some(match previous.and_then(|p| p.breaker.clone()) {
                Some(breaker) => {
                    breaker.configure_unchecked(settings.clone());
                    breaker
                }
                None => Breaker::unchecked(name, settings.clone(), clock.clone()),
            }),
            (shared, _) => shared,
        };
        let bulkhead = match (shared.bulkhead.clone(), &config.bulkhead) {
            (None, Some(settings)) => Some(match previous.and_then(|p| p.bulkhead.clone()) {
                Some(bulkhead) => {
                    bulkhead.configure_unchecked(settings);
                    bulkhead
                }
                None => Bulkhead::unchecked(name, settings),
            }),
            (shared, _) => shared,
        };
        #[cfg(feature = "rate-limit")]
        let rate_limit = config.rate_limit.as_ref().map(|settings| {
            let unchanged = previous.filter(|p| p.config.rate_limit.as_ref() == Some(settings));
            match unchanged.and_then(|p| p.rate_limit.clone()) {
                Some(rate_limit) => rate_limit,
                None => RateLimiter::unchecked(name, settings, clock.clone()),
            }
        });
        let (meter, clock) = (config.metrics.then(|| Arc::new(Meter::new(name))), clock.clone());
        Self {
            config,
            budget,
            breaker,
            bulkhead,
            #[cfg(feature = "rate-limit")]
            rate_limit,
            meter,
            name,
            clock,
        }
    }

    /// Returns this version with other limits and retries, and the same guards.
    pub(super) fn overridden(&self, overrides: &PolicyOverrides) -> Self {
        let mut version = self.clone();
        overrides.apply(&mut version.config);
        if let Some(budget) = overrides.budget() {
            version.budget = Some(budget.clone());
        }
        version
    }

    /// Returns whether the duration of attempts must be measured.
    pub(super) fn measures_duration(&self) -> bool {
        self.meter.is_some() || self.breaker.as_ref().is_some_and(Breaker::measures_duration)
    }
}
