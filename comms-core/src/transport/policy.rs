//! What becomes of a delivery that failed for good.

use std::{fmt, sync::Arc};

use crate::{Delivery, Error, panic::caught};

/// What becomes of a delivery that failed for good: the error has the disposition
/// [`DeadLetter`](crate::transport::Disposition::DeadLetter), the attempts are used up, or the hold has reached its
/// limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum FailurePolicy {
    /// The delivery is written as a dead letter. Without a writer of dead letters it is
    /// [`Refused`](crate::transport::Settlement::Refused).
    #[default]
    DeadLetter,
    /// The delivery is held: it is attempted again with growing waits until it succeeds, and its key waits. Like any
    /// held delivery it is [returned](crate::transport::Settlement::Held) after
    /// [`AttemptConfig::hold_in_place`](crate::transport::AttemptConfig::hold_in_place).
    Hold,
    /// The worker stops with the error.
    Stop,
}

/// Chooses the [`FailurePolicy`] of each delivery that failed for good: one policy, or a function of the error and the
/// delivery. The default is [`FailurePolicy::DeadLetter`]. Clones share the function.
///
/// The builders of consumers make it of `failure_policy` and `failure_policy_with`.
///
/// ```
/// use comms_core::{ErrorKind, transport::{FailureDecision, FailurePolicy}};
/// // Dead-letters unreadable messages, and stops at all other failures.
/// let decision = FailureDecision::new(|error, _| match error.kind {
///     ErrorKind::Invalid => FailurePolicy::DeadLetter,
///     _ => FailurePolicy::Stop,
/// });
/// # drop(decision);
/// ```
#[derive(Clone)]
pub struct FailureDecision(Decision);

type Decide = dyn Fn(&Error, &Delivery) -> FailurePolicy + Send + Sync;

#[derive(Clone)]
enum Decision {
    Always(FailurePolicy),
    Function(Arc<Decide>),
}

impl FailureDecision {
    /// Creates a decision from a function, which is called at each final failure.
    #[must_use]
    pub fn new(decide: impl Fn(&Error, &Delivery) -> FailurePolicy + Send + Sync + 'static) -> Self {
        Self(Decision::Function(Arc::new(decide)))
    }

    /// Returns the policy for `delivery`, which failed for good with `error`.
    ///
    /// A function that panics holds the delivery, which loses nothing.
    #[must_use]
    pub fn decide(&self, error: &Error, delivery: &Delivery) -> FailurePolicy {
        let function = match &self.0 {
            Decision::Always(policy) => return *policy,
            Decision::Function(function) => function,
        };
        caught("the failure policy", || function(error, delivery)).unwrap_or_else(|panic| {
            tracing::error!(error = %panic.chain(), "the delivery is held, because the failure policy has no answer");
            FailurePolicy::Hold
        })
    }
}

/// Decides each failure in the same way.
impl From<FailurePolicy> for FailureDecision {
    fn from(policy: FailurePolicy) -> Self {
        Self(Decision::Always(policy))
    }
}

impl Default for FailureDecision {
    fn default() -> Self {
        FailurePolicy::default().into()
    }
}

impl fmt::Debug for FailureDecision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Decision::Always(policy) => policy.fmt(f),
            Decision::Function(_) => f.write_str("function"),
        }
    }
}
