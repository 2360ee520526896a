//! A topic that the application wants, with its filter.

use comms_core::Error;

use super::frame::{ClientFrame, FilterFrame};

/// A topic to subscribe to, and the part of it that the server sends.
///
/// ```
/// use comms_ws::client::Subscription;
/// let all = Subscription::new("news");
/// let some = Subscription::new("orders").event("order.paid.v1").key("order/7");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    pub(super) topic: String,
    events: Vec<String>,
    keys: Vec<String>,
}

impl Subscription {
    /// Subscribes to all events of `topic`.
    pub fn new(topic: impl Into<String>) -> Self {
        Self { topic: topic.into(), events: Vec::new(), keys: Vec::new() }
    }

    /// Selects one more type of events. Without this call, all types pass.
    #[must_use]
    pub fn event(mut self, event: impl Into<String>) -> Self {
        self.events.push(event.into());
        self
    }

    /// Selects the events of one more key. Without this call, all events pass, also those without a key.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.keys.push(key.into());
        self
    }

    pub(super) fn validate(&self) -> Result<(), Error> {
        match self.topic.is_empty() {
            true => Err(Error::invalid("client: a topic is empty")),
            false => Ok(()),
        }
    }

    pub(super) fn has_filter(&self) -> bool {
        !self.events.is_empty() || !self.keys.is_empty()
    }

    /// Returns the frame that subscribes from the position of `cursor` on.
    pub(super) fn frame(&self, cursor: Option<String>) -> String {
        let filter = self.has_filter().then_some(FilterFrame { events: &self.events, keys: &self.keys });
        ClientFrame::Subscribe { topic: &self.topic, cursor, filter }.encode()
    }
}

impl<T: Into<String>> From<T> for Subscription {
    fn from(topic: T) -> Self {
        Self::new(topic)
    }
}
