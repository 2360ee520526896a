//! A topic that the application wants, with its filter.

use comms_core::Error;

use super::frame::ClientFrame;
use crate::{Filter, session::MAX_WINDOW};

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
    pub(super) window: Option<usize>,
}

impl Subscription {
    /// Subscribes to all events of `topic`.
    pub fn new(topic: impl Into<String>) -> Self {
        Self { topic: topic.into(), filter: Filter::default(), window: None }
    }

    /// Selects the events that the server sends. Default: all.
    #[must_use]
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filter = filter;
        self
    }

    /// Limits the events that the server sends beyond the last one that the application has handled, 1 to 1,000. The others
    /// wait in the history of the topic, and the server learns what was handled. Default: no limit.
    ///
    /// An event is handled when the application asks for the item after it. The client acknowledges what was handled at half
    /// of the window, and after 200 ms. The topic must have history, or [`Item::Refused`](super::Item::Refused) follows with
    /// the code `no_history`.
    ///
    /// An application that handles events more slowly than they are published gets [`Item::Missed`](super::Item::Missed) if
    /// the history is too short for what waits.
    ///
    /// ```
    /// use comms_ws::client::Subscription;
    /// let orders = Subscription::new("orders").window(20);
    /// ```
    #[must_use]
    pub fn window(mut self, events: usize) -> Self {
        self.window = Some(events);
        self
    }

    pub(super) fn has_filter(&self) -> bool {
        !self.filter.is_empty()
    }

    pub(super) fn passes(&self, event: &str, key: Option<&str>) -> bool {
        self.filter.passes(event, key)
    }

    /// Returns whether a frame has to subscribe: the query of the handshake names topics alone.
    pub(super) fn needs_frame(&self) -> bool {
        self.has_filter() || self.window.is_some()
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
        if self.window.is_some_and(|window| window == 0 || window > MAX_WINDOW) {
            return Err(Error::invalid(format!(
                "client: the window of {:?} is not from 1 to {MAX_WINDOW}",
                self.topic
            )));
        }
        Ok(())
    }

    /// Returns the frame that subscribes from the position of `cursor` on.
    pub(super) fn frame(&self, cursor: Option<String>) -> String {
        let filter = self.has_filter().then_some(&self.filter);
        ClientFrame::Subscribe { topic: &self.topic, cursor, filter, window: self.window }.encode()
    }
}

impl<T: Into<String>> From<T> for Subscription {
    fn from(topic: T) -> Self {
        Self::new(topic)
    }
}
