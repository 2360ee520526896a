//! The budget that hedges are withdrawn from.

use super::{Hedge, HedgeConfig, Shared};
use crate::{
    Error,
    resilience::{Policy, PolicyOverrides, RetryBudget},
    sync::Arc,
};

/// The budget of the attempts.
impl Hedge {
    /// Creates a hedge for calls whose attempts run under `policy`. Hedges are withdrawn from the retry budget of the
    /// policy, and only the policy deposits. If [`Policy::configure`] removes the budget, nothing is hedged.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if `policy` has no retry budget, or
    /// [`HedgeConfig::validate`] fails.
    pub fn for_policy(name: &str, config: HedgeConfig, policy: &Policy) -> Result<Self, Error> {
        Self::for_overrides(name, config, policy, &PolicyOverrides::default())
    }

    /// Creates a hedge as [`for_policy`](Self::for_policy) does, for attempts with `overrides`. If they have a retry budget,
    /// hedges are withdrawn from it instead of that of the policy.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if neither has a retry budget, or
    /// [`HedgeConfig::validate`] fails.
    pub fn for_overrides(
        name: &str,
        config: HedgeConfig,
        policy: &Policy,
        overrides: &PolicyOverrides,
    ) -> Result<Self, Error> {
        Self::with_budget(name, config, Budget::of(policy, overrides)?, policy.clock().clone())
    }

    /// Returns this hedge, with its settings and measurements, for attempts with other `overrides`: they pay as those of
    /// [`for_overrides`](Self::for_overrides) do.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if neither `policy` nor `overrides` has a retry budget.
    pub fn with_overrides(&self, policy: &Policy, overrides: &PolicyOverrides) -> Result<Self, Error> {
        let (measured, budget) = (self.0.measured.clone(), Budget::of(policy, overrides)?);
        Ok(Self(Arc::new(Shared { measured, budget })))
    }
}

pub(super) enum Budget {
    Own(RetryBudget),
    /// The budget of the policy around each attempt, in its current version. The policy deposits the successes.
    OfPolicy(Policy),
    /// The budget of the overrides of that policy. The policy deposits the successes.
    OfOverrides(RetryBudget),
}

impl Budget {
    /// Returns the budget of the attempts that run under `policy` with `overrides`.
    ///
    /// # Errors
    /// Returns `Invalid` if neither has a budget.
    pub(super) fn of(policy: &Policy, overrides: &PolicyOverrides) -> Result<Self, Error> {
        if let Some(budget) = overrides.budget() {
            return Ok(Self::OfOverrides(budget.clone()));
        }
        if policy.retry_budget().is_some() {
            return Ok(Self::OfPolicy(policy.clone()));
        }
        let name = policy.name();
        Err(Error::invalid(format!(
            "hedge: the policy {name} needs a retry budget, which pays for the hedges"
        )))
    }

    /// Withdraws the token of one hedge. A policy without a budget grants none.
    pub(super) fn try_withdraw(&self) -> bool {
        match self {
            Self::Own(budget) | Self::OfOverrides(budget) => budget.try_withdraw(),
            Self::OfPolicy(policy) => policy.retry_budget().is_some_and(|budget| budget.try_withdraw()),
        }
    }

    /// Returns the token of a hedge that was not sent.
    pub(super) fn put_back(&self) {
        match self {
            Self::Own(budget) | Self::OfOverrides(budget) => budget.put_back(),
            Self::OfPolicy(policy) => policy.retry_budget().iter().for_each(RetryBudget::put_back),
        }
    }

    /// Deposits the share of a successful call.
    pub(super) fn deposit(&self) {
        if let Self::Own(budget) = self {
            budget.deposit();
        }
    }
}
