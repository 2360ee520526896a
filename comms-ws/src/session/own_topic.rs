//! The topic of a session itself, see [`Session::addressable`].

use super::Session;
use crate::topic::Filter;

/// How the topics of sessions begin.
const PREFIX: &str = "session/";

/// Returns the topic of a session with [`Session::addressable`]. `session` is the id of its frame `welcome`.
///
/// ```
/// assert_eq!(comms_ws::session_topic("0193"), "session/0193");
/// ```
#[must_use]
pub fn session_topic(session: &str) -> String {
    format!("{PREFIX}{session}")
}

impl Session {
    /// Adds the topic of the session itself, if the application wants it.
    pub(super) fn with_own_topic(mut self, id: &str) -> Self {
        if self.is_addressable {
            self.topics.push((session_topic(id), Filter::default()));
        }
        self
    }

    /// Returns whether `topic`, which stands in the cursor of the client, is that of an earlier session. It ended with that
    /// session, and the client has a new one.
    pub(super) fn is_of_earlier_session(&self, topic: &str) -> bool {
        self.is_addressable && topic.starts_with(PREFIX) && !self.grants(topic)
    }
}
