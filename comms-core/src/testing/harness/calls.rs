//! Assertions on the calls of a handler.

use std::fmt::Debug;

use serde::{Serialize, de::DeserializeOwned};

use super::{
    call::{Call, CallResult},
    fail::{fail, numbered},
};
use crate::{ErrorKind, Outcome, event, event::Event};

/// The calls of a handler up to now, returned by [`TestConsumer::calls`](super::TestConsumer::calls).
///
/// The calls are in the order in which their messages were published, and the attempts of one delivery are in their
/// order. An assertion that fails panics with the expectation and the list of the calls.
#[derive(Debug, Clone)]
pub struct Calls {
    handler: String,
    calls: Vec<Call>,
}

impl Calls {
    pub(super) const fn new(handler: String, calls: Vec<Call>) -> Self {
        Self { handler, calls }
    }

    /// Returns the calls.
    #[must_use]
    pub fn list(&self) -> &[Call] {
        &self.calls
    }

    /// Checks that the handler was called `times` times. Each attempt is a call.
    ///
    /// # Panics
    /// Panics if it was called more or less often.
    #[track_caller]
    pub fn assert_called(&self, times: usize) -> &Self {
        self.check(self.calls.len() == times, || format!("{times} calls"))
    }

    /// Checks that the handler was called once.
    ///
    /// # Panics
    /// Panics if it was called more often, or not at all.
    #[track_caller]
    pub fn assert_called_once(&self) -> &Self {
        self.check(self.calls.len() == 1, || "one call".into())
    }

    /// Checks that the handler was not called.
    ///
    /// # Panics
    /// Panics if it was called.
    #[track_caller]
    pub fn assert_not_called(&self) -> &Self {
        self.check(self.calls.is_empty(), || "no call".into())
    }

    /// Checks the event of each call, in order.
    ///
    /// # Panics
    /// Panics if the events differ, or if one cannot be decoded.
    #[track_caller]
    pub fn assert_events<E>(&self, expected: &[E]) -> &Self
    where
        E: Event + Serialize + DeserializeOwned + PartialEq + Debug,
    {
        let events: Vec<_> =
            self.calls.iter().map(|call| event::decode::<E>(&call.delivery.message)).collect();
        let equal = events.len() == expected.len()
            && events
                .iter()
                .zip(expected)
                .all(|(event, expected)| event.as_ref().is_ok_and(|event| event == expected));
        self.check(equal, || {
            let seen = events.iter().map(|event| match event {
                Ok(event) => format!("{event:?}"),
                Err(error) => error.chain().to_string(),
            });
            format!("the events {expected:?}, and not\n{}", numbered(seen))
        })
    }

    /// Checks the result of each call, in order: the outcome, or the kind of the error.
    ///
    /// A panic of the handler is [`Internal`](ErrorKind::Internal), and an exceeded time limit is
    /// [`Indeterminate`](ErrorKind::Indeterminate).
    ///
    /// # Panics
    /// Panics if the results differ, or if a call runs or was dropped.
    #[track_caller]
    pub fn assert_results(&self, expected: &[Result<Outcome, ErrorKind>]) -> &Self {
        let result = |call: &Call| match &call.result {
            CallResult::Returned(outcome) => Some(Ok(*outcome)),
            CallResult::Failed(failure) => Some(Err(failure.kind)),
            CallResult::Running | CallResult::Dropped => None,
        };
        let equal = self.calls.iter().map(result).eq(expected.iter().copied().map(Some));
        self.check(equal, || {
            let shown = expected.iter().map(|result| match result {
                Ok(outcome) => format!("returned {}", outcome.as_str()),
                Err(kind) => format!("failed with {kind}"),
            });
            format!("the results\n{}", numbered(shown))
        })
    }

    #[track_caller]
    fn check(&self, holds: bool, expected: impl FnOnce() -> String) -> &Self {
        if !holds {
            let calls = numbered(self.calls.iter().map(Call::to_string));
            fail(&format!("{}: expected {}\nthe calls:\n{calls}", self.handler, expected()));
        }
        self
    }
}
