//! A topic that the application wants, with its filter.

use comms_core::Error;

use super::frame::ClientFrame;
use crate::Filter;

/// A topic to subscribe to, and the part of it that the server sends.
///
/// ```
/// use comms_ws::{Filter, client::Subscription};
/// let all = Subscription::new("news");
/// let some = Subscription::new("orders").filter(Filter::default().event("order.paid.v1").key("order/7"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    pub(super) topic: String,
    filter: Filter,
}

impl Subscription {
    /// Subscribes to all events of `topic`.
    pub fn new(topic: impl Into<String>) -> Self {
        Self { topic: topic.into(), filter: Filter::default() }
    }

    /// Selects the events that the server sends. Default: all.
    #[must_use]
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filter = filter;
        self
    }

    pub(super) fn has_filter(&self) -> bool {
        !self.filter.is_empty()
    }

    pub(super) fn validate(&self) -> Result<(), Error> {
        if self.topic.is_empty() {
            return Err(Error::invalid("client: a topic is empty"));
        }
        if self.filter.is_too_long() {
            return Err(Error::invalid(format!(
                "client: the filter of {:?} has a list of too many values",
                self.topic
            )));
        }
        Ok(())
    }

    /// Returns the frame that subscribes from the position of `cursor` on.
    pub(super) fn frame(&self, cursor: Option<String>) -> String {
        let filter = self.has_filter().then_some(&self.filter);
        ClientFrame::Subscribe { topic: &self.topic, cursor, filter }.encode()
    }
}

impl<T: Into<String>> From<T> for Subscription {
    fn from(topic: T) -> Self {
        Self::new(topic)
    }
}
