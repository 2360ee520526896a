//! Assertions on published messages.

use std::fmt::Debug;

use serde::{Serialize, de::DeserializeOwned};

use super::fail::{fail, numbered};
use crate::{
    Message, event,
    event::Event,
    testing::{MemoryPublisher, MemoryUnit},
};

/// The messages that were published up to now: by a [`MemoryPublisher`], in the outbox of a [`MemoryUnit`], or as dead
/// letters.
///
/// An assertion that fails panics with the expectation and the list of the messages.
#[derive(Debug, Clone)]
pub struct Published {
    place: String,
    messages: Vec<Message>,
}

impl MemoryPublisher {
    /// Returns the taken messages, for assertions.
    #[must_use]
    pub fn published(&self) -> Published {
        Published::new("the publisher".into(), self.messages())
    }
}

impl MemoryUnit {
    /// Returns the committed messages of the outbox, for assertions.
    #[must_use]
    pub fn published(&self) -> Published {
        Published::new("the outbox".into(), self.messages())
    }
}

impl Published {
    pub(super) const fn new(place: String, messages: Vec<Message>) -> Self {
        Self { place, messages }
    }

    /// Returns the messages.
    #[must_use]
    pub fn list(&self) -> &[Message] {
        &self.messages
    }

    /// Returns the messages to `topic`.
    #[must_use]
    pub fn to(&self, topic: &str) -> Self {
        let of_topic = |message: &&Message| message.topic() == topic;
        let messages = self.messages.iter().filter(of_topic).cloned().collect();
        Self { place: format!("{}, topic {topic}", self.place), messages }
    }

    /// Checks the number of messages.
    ///
    /// # Panics
    /// Panics if there are more or less messages.
    #[track_caller]
    pub fn assert_count(&self, count: usize) -> &Self {
        self.check(self.messages.len() == count, || format!("{count} messages"))
    }

    /// Checks that the messages are these events, in order.
    ///
    /// # Panics
    /// Panics if the events differ, or if a message does not announce an `E`.
    #[track_caller]
    pub fn assert_events<E>(&self, expected: &[E]) -> &Self
    where
        E: Event + Serialize + DeserializeOwned + PartialEq + Debug,
    {
        let event =
            |message: &Message| event::is::<E>(message).then(|| event::decode::<E>(message).ok()).flatten();
        let events: Vec<_> = self.messages.iter().map(event).collect();
        let equal = events.iter().map(Option::as_ref).eq(expected.iter().map(Some));
        self.check(equal, || format!("the events {expected:?}"))
    }

    #[track_caller]
    fn check(&self, holds: bool, expected: impl FnOnce() -> String) -> &Self {
        if !holds {
            let shown = |message: &Message| {
                let payload = message.payload().map(String::from_utf8_lossy);
                let event = message.event_type().unwrap_or("no event");
                format!(
                    "{} {} ({event}): {}",
                    message.topic(),
                    message.id(),
                    payload.unwrap_or("a tombstone".into())
                )
            };
            let messages = numbered(self.messages.iter().map(shown));
            fail(&format!("{}: expected {}\nthe messages:\n{messages}", self.place, expected()));
        }
        self
    }
}
