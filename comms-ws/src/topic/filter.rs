//! The part of a topic that a client wants.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The maximum number of values in a list of a filter.
const MAX_VALUES: usize = 100;

/// Selects messages of a topic on the server. A message passes if it passes both lists.
///
/// A client sends its filter in `subscribe`. The application gives one to a topic that it subscribes by
/// [`Session::topic_with`](crate::Session::topic_with).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Filter {
    /// The types of events that pass ([`Push::event`](crate::Push::event)). Empty: all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<String>,
    /// The keys that pass ([`Push::key`](crate::Push::key)). Empty: all, and messages without a key.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
    /// The filter of the application, which a client cannot widen.
    #[serde(skip)]
    granted: Option<Arc<Filter>>,
}

impl Filter {
    /// Lets the messages of one more event type pass.
    #[must_use]
    pub fn event(mut self, event: impl Into<String>) -> Self {
        self.events.push(event.into());
        self
    }

    /// Lets the messages of one more key pass.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.keys.push(key.into());
        self
    }

    /// Lets only those messages pass that also pass `granted`.
    pub(crate) fn within(mut self, granted: &Self) -> Self {
        self.granted = (!granted.is_empty()).then(|| Arc::new(granted.clone()));
        self
    }

    /// Returns the part of the client.
    pub(crate) fn without_grant(self) -> Self {
        Self { granted: None, ..self }
    }

    /// Returns whether every message passes.
    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty() && self.keys.is_empty() && self.granted.is_none()
    }

    /// Returns whether a list is longer than 100 values.
    pub(crate) fn is_too_long(&self) -> bool {
        self.events.len() > MAX_VALUES || self.keys.len() > MAX_VALUES
    }

    /// Returns whether a message with this type of event and this key passes.
    pub(crate) fn passes(&self, event: &str, key: Option<&str>) -> bool {
        let is_listed = |list: &[String], value: &str| list.iter().any(|listed| listed == value);
        let has_event = self.events.is_empty() || is_listed(&self.events, event);
        let has_key = self.keys.is_empty() || key.is_some_and(|key| is_listed(&self.keys, key));
        has_event && has_key && self.granted.as_ref().is_none_or(|granted| granted.passes(event, key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_passes_both_lists() {
        let filter = Filter::default().event("paid").event("sent").key("a");
        assert!(filter.passes("paid", Some("a")));
        assert!(!filter.passes("made", Some("a")));
        assert!(!filter.passes("paid", Some("b")));
        assert!(!filter.passes("paid", None));
        assert!(Filter::default().passes("made", None));
        let narrower = Filter::default().event("paid").event("made").within(&filter);
        assert!(narrower.passes("paid", Some("a")));
        assert!(!narrower.passes("made", Some("a")) && !narrower.passes("sent", Some("a")));
    }
}
