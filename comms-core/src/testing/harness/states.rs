//! Assertions on the states of deliveries.

use super::{
    call::Call,
    consumer::TestConsumer,
    fail::{fail, numbered},
    ledger::Delivered,
    state::{DeliveryState, Failure},
};
use crate::{ErrorKind, Message};

/// Assertions. One that fails panics with the expectation and the list of the deliveries with their calls.
impl TestConsumer {
    /// Returns the state of each delivery, in the order of publication. A redelivery after a restart follows at the end.
    #[must_use]
    pub fn states(&self) -> Vec<DeliveryState> {
        self.delivered().iter().map(|one| one.state).collect()
    }

    /// Returns the state of each delivery of `message`, in their order.
    #[must_use]
    pub fn states_of(&self, message: &Message) -> Vec<DeliveryState> {
        self.delivered_of(message).iter().map(|one| one.state).collect()
    }

    /// Checks the states of all deliveries ([`states`](Self::states)).
    ///
    /// # Panics
    /// Panics if the states differ.
    #[track_caller]
    pub fn assert_states(&self, expected: &[DeliveryState]) {
        if self.states() != expected {
            self.fail("expected the states", expected, &self.delivered());
        }
    }

    /// Checks the states of the deliveries of `message` ([`states_of`](Self::states_of)).
    ///
    /// # Panics
    /// Panics if the states differ.
    #[track_caller]
    pub fn assert_states_of(&self, message: &Message, expected: &[DeliveryState]) {
        if self.states_of(message) != expected {
            let text = format!("message {} {}: expected the states", message.topic(), message.id());
            self.fail(&text, expected, &self.delivered_of(message));
        }
    }

    /// Checks that the last delivery of `message` became a dead letter because of an error of `kind` whose text
    /// contains `text`.
    ///
    /// # Panics
    /// Panics if the delivery has another state, or another error.
    #[track_caller]
    pub fn assert_dead_lettered(&self, message: &Message, kind: ErrorKind, text: &str) {
        let delivered = self.delivered_of(message);
        let expected = DeliveryState::DeadLettered(kind);
        let matches = |one: &Delivered| {
            one.state == expected && one.error.as_ref().is_some_and(|error| error.contains(text))
        };
        if !delivered.last().is_some_and(matches) {
            let text = format!("message {}: expected an error with the text {text:?}, and", message.id());
            self.fail(&text, &[expected], &delivered);
        }
    }

    /// Returns the error that ended the consumer.
    #[must_use]
    pub fn failure(&self) -> Option<Failure> {
        self.broker.ledger.failure(&self.group)
    }

    fn delivered(&self) -> Vec<Delivered> {
        self.broker.ledger.delivered(&self.group)
    }

    fn delivered_of(&self, message: &Message) -> Vec<Delivered> {
        let same = |one: &Delivered| {
            let parts = |message: &Message| {
                (message.topic().to_owned(), message.source().to_owned(), message.id().to_owned())
            };
            parts(&one.message) == parts(message)
        };
        self.delivered().into_iter().filter(same).collect()
    }

    #[track_caller]
    fn fail(&self, text: &str, expected: &[DeliveryState], delivered: &[Delivered]) -> ! {
        let shown = |one: &Delivered| {
            let calls: String = one.calls.iter().map(|call: &Call| format!("\n       {call}")).collect();
            let error = one.error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
            format!("{} {}: {}{error}{calls}", one.message.topic(), one.message.id(), one.state)
        };
        let expected = numbered(expected.iter().map(DeliveryState::to_string));
        let delivered = numbered(delivered.iter().map(shown));
        fail(&format!("group {}: {text}\n{expected}\nthe deliveries:\n{delivered}", self.group))
    }
}
