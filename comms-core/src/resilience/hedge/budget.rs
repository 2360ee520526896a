//! The budget that hedges are withdrawn from.

use crate::resilience::{Policy, RetryBudget};

pub(super) enum Budget {
    Own(RetryBudget),
    /// The budget of the policy around each attempt, in its current version. The policy deposits the successes.
    OfPolicy(Policy),
    /// The budget of the overrides of that policy. The policy deposits the successes.
    OfOverrides(RetryBudget),
}

impl Budget {
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
