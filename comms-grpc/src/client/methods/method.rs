//! One method of the peer, with the settings of its calls.

use std::{sync::Arc, time::Duration};

use comms_core::{
    clock::Clock,
    resilience::{Hedge, HedgeConfig, HedgeService, Policy, PolicyOverrides, PolicyService, RetryBudget},
};
use tower_layer::Layer;

use super::meter::CallMeter;
use crate::client::{
    attempt::Attempts,
    retry::{ByEvidence, HedgedAttempts, hedged},
    service_config::MethodConfig,
};
use crate::method_meter::MethodMeter;

/// The settings of one method in the builder.
#[derive(Debug, Clone, Default)]
pub(in crate::client) struct MethodSettings {
    pub(in crate::client) idempotent: bool,
    pub(in crate::client) policy: Option<Policy>,
    pub(in crate::client) hedge: Option<HedgeConfig>,
}

/// Where the settings of one method come from.
#[derive(Clone, Copy)]
pub(super) struct Settings<'a> {
    pub(super) explicit: Option<&'a MethodSettings>,
    pub(super) hedge: Option<&'a Hedge>,
    pub(super) config: Option<&'a MethodConfig>,
    /// The budget of the service config.
    pub(super) budget: Option<&'a RetryBudget>,
}

/// What the methods of a channel have in common.
#[derive(Debug)]
pub(in crate::client) struct Defaults {
    pub(in crate::client) attempts: Attempts,
    pub(in crate::client) classify: ByEvidence,
    pub(in crate::client) policy: Policy,
    /// Whether the time limit of the policy is `timeout`.
    pub(in crate::client) policy_has_timeout: bool,
    pub(in crate::client) timeout: Duration,
    /// `None`: a service config may set it.
    pub(in crate::client) wait_for_ready: Option<bool>,
    pub(in crate::client) clock: Clock,
}

/// The settings of the calls of a method.
#[derive(Debug, Clone, Copy)]
pub(in crate::client) struct CallSettings {
    pub(in crate::client) timeout: Duration,
    /// Whether the time limit of the policy is `timeout`.
    pub(in crate::client) policy_has_timeout: bool,
    /// Whether executing a call twice is harmless.
    pub(in crate::client) idempotent: bool,
    pub(in crate::client) wait_for_ready: bool,
    /// The longest message in bytes.
    pub(in crate::client) max_request: Option<usize>,
    pub(in crate::client) max_response: Option<usize>,
}

/// A method of the peer.
pub(in crate::client) struct Method {
    meter: Arc<MethodMeter>,
    /// Makes the attempts of a call under the policy.
    pub(in crate::client) service: PolicyService<Attempts, ByEvidence>,
    /// Makes the attempts of a call that can be hedged.
    pub(in crate::client) hedge: Option<HedgeService<HedgedAttempts, ByEvidence>>,
    pub(in crate::client) settings: CallSettings,
}

impl Method {
    /// Derives the settings of a method. A policy that the builder sets for the method replaces the retries of `config` and
    /// the budget of the service config.
    pub(super) fn new(defaults: &Defaults, settings: Settings<'_>, meter: Arc<MethodMeter>) -> Self {
        let Settings { explicit, hedge, config, budget } = settings;
        let Defaults { attempts, classify, .. } = defaults;
        let policy = explicit.and_then(|explicit| explicit.policy.as_ref());
        let service = match policy {
            Some(policy) => policy.layer_with(classify.clone()).layer(attempts.clone()),
            None => defaults.service(config, budget),
        };
        let of_builder = explicit.is_some_and(|explicit| explicit.hedge.is_some());
        let retryable = config.filter(|_| !of_builder).and_then(|config| config.non_fatal);
        let hedging = ByEvidence { retryable, ..classify.clone() };
        let hedge = hedge.map(|hedge| match policy {
            Some(policy) => hedged(hedge, policy, None, attempts, &hedging),
            None => hedged(hedge, &defaults.policy, overrides(config, budget), attempts, &hedging),
        });
        let shorter = config.and_then(|config| config.timeout).filter(|timeout| *timeout <= defaults.timeout);
        let wait_for_ready =
            defaults.wait_for_ready.or_else(|| config.and_then(|config| config.wait_for_ready));
        let settings = CallSettings {
            timeout: shorter.unwrap_or(defaults.timeout),
            policy_has_timeout: policy.is_none() && (defaults.policy_has_timeout || shorter.is_some()),
            idempotent: explicit.is_some_and(|explicit| explicit.idempotent),
            wait_for_ready: wait_for_ready.unwrap_or(false),
            max_request: config.and_then(|config| config.max_request),
            max_response: config.and_then(|config| config.max_response),
        };
        Self { meter, service, hedge, settings }
    }

    pub(super) fn meter(&self) -> Arc<MethodMeter> {
        self.meter.clone()
    }

    /// Starts the measurement of a call.
    pub(in crate::client) fn start(&self, clock: &Clock) -> CallMeter {
        CallMeter::start(self.meter.clone(), clock)
    }
}

impl Defaults {
    /// Returns the service under the policy of the channel, with the overrides of `config`.
    fn service(
        &self,
        config: Option<&MethodConfig>,
        budget: Option<&RetryBudget>,
    ) -> PolicyService<Attempts, ByEvidence> {
        let retryable = config.and_then(|config| config.retryable);
        let layer = self.policy.layer_with(ByEvidence { retryable, ..self.classify.clone() });
        let layer = match overrides(config, budget) {
            Some(overrides) => layer.overrides(overrides),
            None => layer,
        };
        layer.layer(self.attempts.clone())
    }
}

/// Returns what a service config sets in place of the settings of the policy.
pub(super) fn overrides(
    config: Option<&MethodConfig>,
    budget: Option<&RetryBudget>,
) -> Option<PolicyOverrides> {
    if config.is_none() && budget.is_none() {
        return None;
    }
    let overrides = config.map(|config| config.overrides.clone()).unwrap_or_default();
    Some(match budget {
        Some(budget) => overrides.retry_budget(budget.clone()),
        None => overrides,
    })
}
