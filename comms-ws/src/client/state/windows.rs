//! The topics with a window, which the server begins anew with each `subscribe`.

use super::State;
use crate::client::{cursor::Place, handled::Window};

impl State {
    /// Returns the number of the current session.
    pub(in crate::client) const fn session(&self) -> u64 {
        self.session
    }

    /// Returns the window of a topic in the current session, if the server has confirmed one.
    pub(super) fn window(&self, topic: &str) -> Option<Window> {
        self.windows.get(topic).map(|size| Window { session: self.session, size: *size })
    }

    /// Returns whether the server has confirmed a window for `topic`, which the client has not left since then.
    pub(in crate::client) fn has_window(&self, topic: &str) -> bool {
        self.windows.contains_key(topic)
    }

    pub(super) fn wants_window(&self, topic: &str) -> bool {
        self.wanted.get(topic).is_some_and(|wanted| wanted.window.is_some())
    }

    /// Returns whether frames of `topic` belong to an earlier subscription. The server begins one with a window anew, after
    /// the position of its frame.
    pub(super) fn is_outdated(&self, topic: &str) -> bool {
        self.wants_window(topic) && !self.joined.contains(topic)
    }

    /// Subscribes once more if the server has begun a topic with a window before the position of the client, as two calls of
    /// `subscribe` in a row can make it: the window would fill with events that the client discards and never acknowledges.
    pub(super) fn check_begin(&mut self, topic: &str, begin: Option<u64>, place: &Place) {
        let is_behind = begin.is_some_and(|begin| begin < place.reached);
        if is_behind && self.wants_window(topic) {
            self.joined.remove(topic);
            self.unavailable.insert(topic.to_owned());
        }
    }
}
