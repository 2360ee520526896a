//! The retry of commands that lost against a concurrent change.

use std::time::Duration;

use super::CommandRequest;
use crate::{
    Error, ErrorKind,
    clock::Clock,
    resilience::{
        Backoff, Class, Classify, Jitter, Policy, PolicyConfig, PolicyLayer, Rejection, RetryConfig,
    },
};

/// Returns a layer that executes a command again after a [`Conflict`](ErrorKind::Conflict), at most 5 times in all.
///
/// The layer is a [`Policy`] named `name`, which should be the name of the command. Between attempts it waits up to 10 ms,
/// doubled after each conflict up to 200 ms, with full jitter. It ends at the deadline of the current
/// [`Context`](crate::context::Context). It records `comms_call_duration_seconds` by `name` and the kind of the error.
///
/// Each attempt calls the inner service with a clone of the request. A service of [`command_fn`](super::command_fn) then
/// opens a new transaction, so that the handler reads the changed state. For other settings, use [`ConflictsOnly`] with
/// a policy of your own.
///
/// # Errors
/// The service returns the error of the last attempt. It returns [`Rejected`](ErrorKind::Rejected) if the deadline has
/// passed before an attempt, and [`Indeterminate`](ErrorKind::Indeterminate) if it passes during an attempt. An error of
/// another kind, and a conflict with a [`retry_after`](Error::retry_after), end the call at once. So a command that may have
/// been committed is never executed again here.
#[must_use]
pub fn retry_conflicts(name: &str, clock: &Clock) -> PolicyLayer<ConflictsOnly> {
    let backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(200))
        .and_then(|backoff| backoff.with_jitter(Jitter::Full))
        .unwrap_or_default();
    let retry = RetryConfig::default()
        .conflicts(true)
        .backoff(backoff)
        // The attempts bound the retries, and a conflict is no sign of an outage.
        .budget(None)
        .max_pushback(Duration::ZERO);
    let config = PolicyConfig::none().retry(retry).metrics(true);
    Policy::builder(name, config).clock(clock.clone()).build_unchecked().layer_with(ConflictsOnly)
}

/// Classifies the results of commands for [`Policy::layer_with`]: only a [`Conflict`](ErrorKind::Conflict) is retried.
///
/// The policy needs [`RetryConfig::conflicts`]. No other setting makes it retry another kind.
///
/// ```
/// use comms_core::{command::ConflictsOnly, resilience::{Policy, PolicyConfig, RetryConfig}};
/// let retry = RetryConfig::default().conflicts(true).max_attempts(10);
/// let policy = Policy::new("withdraw", PolicyConfig::interactive().retry(retry))?;
/// let layer = policy.layer_with(ConflictsOnly);
/// # drop(layer);
/// # Ok::<(), comms_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct ConflictsOnly;

impl<C: Clone, T> Classify<CommandRequest<C>, T, Error> for ConflictsOnly {
    fn classify(&self, result: &Result<T, Error>) -> Class {
        match result {
            Ok(_) => Class::Success,
            Err(error) if error.kind == ErrorKind::Conflict => {
                Class::Failure { kind: error.kind, retry_after: error.retry_after }
            }
            // The longest wait is above the `max_pushback` of every policy, so no attempt follows.
            Err(error) => Class::Failure { kind: error.kind, retry_after: Some(Duration::MAX) },
        }
    }

    fn reject(&self, rejection: Rejection) -> Error {
        rejection.into()
    }

    fn clone_request(&self, request: &CommandRequest<C>) -> Option<CommandRequest<C>> {
        Some(request.clone())
    }
}
