//! One version of a policy: its settings, and the guards that they make.

#[cfg(feature = "rate-limit")]
use crate::resilience::rate_limit::RateLimiter;
use crate::{
    clock::Clock,
    resilience::{Breaker, Bulkhead, RetryBudget},
};

use super::{PolicyConfig, meter::Meter};

/// One version of a policy. A call keeps the version it began with.
pub(super) struct Parts {
    pub(super) config: PolicyConfig,
    pub(super) budget: Option<RetryBudget>,
    pub(super) breaker: Option<Breaker>,
    pub(super) bulkhead: Option<Bulkhead>,
    #[cfg(feature = "rate-limit")]
    pub(super) rate_limit: Option<RateLimiter>,
    pub(super) meter: Option<Meter>,
    pub(super) name: &'static str,
    pub(super) clock: Clock,
}

/// Guards that a policy shares with others.
#[derive(Debug, Default)]
pub(super) struct Guards {
    pub(super) budget: Option<RetryBudget>,
    pub(super) breaker: Option<Breaker>,
    pub(super) bulkhead: Option<Bulkhead>,
}

impl Parts {
    /// The version after `before`, of valid settings: a guard that both have keeps its state, under the new settings.
    pub(super) fn new(
        name: &'static str,
        config: PolicyConfig,
        clock: &Clock,
        given: &Guards,
        before: Option<&Self>,
    ) -> Self {
        let prices = |config: &PolicyConfig| config.retry.as_ref().and_then(|retry| retry.budget.clone());
        let old_budget =
            before.filter(|b| prices(&b.config) == prices(&config)).and_then(|b| b.budget.clone());
        let budget = match (given.budget.clone(), prices(&config)) {
            (None, Some(prices)) => match old_budget {
                Some(budget) => Some(budget),
                None => Some(RetryBudget::unchecked(&prices, clock.clone())),
            },
            (given, _) => given,
        };
        let breaker = match (given.breaker.clone(), &config.breaker) {
            (None, Some(config)) => Some(match before.and_then(|b| b.breaker.clone()) {
                Some(breaker) => {
                    breaker.configure_unchecked(config.clone());
                    breaker
                }
                None => Breaker::unchecked(name, config.clone(), clock.clone()),
            }),
            (given, _) => given,
        };
        let bulkhead = match (given.bulkhead.clone(), &config.bulkhead) {
            (None, Some(config)) => Some(match before.and_then(|b| b.bulkhead.clone()) {
                Some(bulkhead) => {
                    bulkhead.configure_unchecked(config);
                    bulkhead
                }
                None => Bulkhead::unchecked(name, config),
            }),
            (given, _) => given,
        };
        #[cfg(feature = "rate-limit")]
        let rate_limit = match &config.rate_limit {
            Some(limit) => Some(match before.filter(|b| b.config.rate_limit == config.rate_limit) {
                Some(Self { rate_limit: Some(kept), .. }) => kept.clone(),
                _ => RateLimiter::unchecked(name, limit, clock.clone()),
            }),
            None => None,
        };
        let (meter, clock) = (config.metrics.then(|| Meter::new(name)), clock.clone());
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

    /// Whether something wants to know how long an attempt took.
    pub(super) fn reads_time(&self) -> bool {
        self.meter.is_some() || self.breaker.as_ref().is_some_and(Breaker::times_calls)
    }
}
