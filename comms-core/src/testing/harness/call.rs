//! One call of a handler.

use std::fmt;

use super::state::Failure;
use crate::{Delivery, Outcome};

/// One call of a handler: the delivery that it got, and how the call ended.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Call {
    /// The delivery that the handler got.
    pub delivery: Delivery,
    /// The number of deliveries in the call: 1, except in a batch of a batch handler.
    pub batch: usize,
    /// How the call ended.
    pub result: CallResult,
}

/// How a call of a handler ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallResult {
    /// The handler runs.
    Running,
    /// The handler returned an outcome.
    Returned(Outcome),
    /// The handler returned an error, panicked, or exceeded the time limit of an attempt.
    Failed(Failure),
    /// The consumer stopped, and dropped the handler's future.
    Dropped,
}

impl Call {
    pub(super) const fn begun(delivery: Delivery, batch: usize) -> Self {
        Self { delivery, batch, result: CallResult::Running }
    }

    /// Returns the error of the call, if it failed.
    #[must_use]
    pub const fn failure(&self) -> Option<&Failure> {
        match &self.result {
            CallResult::Failed(failure) => Some(failure),
            _ => None,
        }
    }
}

/// Prints the call in one line: `order.placed/0@3, attempt 1, key 7: returned done`.
impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, attempt {}", self.delivery.origin(), self.delivery.attempt)?;
        if let Some(key) = self.delivery.message.key() {
            write!(f, ", key {}", String::from_utf8_lossy(key))?;
        }
        if self.batch > 1 {
            write!(f, ", in a batch of {}", self.batch)?;
        }
        match &self.result {
            CallResult::Running => f.write_str(": still runs"),
            CallResult::Returned(outcome) => write!(f, ": returned {}", outcome.as_str()),
            CallResult::Failed(failure) => write!(f, ": failed with {}", failure.text),
            CallResult::Dropped => f.write_str(": dropped, because the consumer stopped"),
        }
    }
}
