//! A subscribed topic.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::{Position, Retention};

/// A subscribed topic: its subscription, and what the receiver has of it.
pub(super) struct Topic {
    pub(super) name: Arc<str>,
    pub(super) retention: Option<Retention>,
    /// Whether the server has confirmed the subscription on the current connection.
    pub(super) confirmed: bool,
    /// The number of the last call that subscribed the topic.
    pub(super) last_call: u64,
    /// The callers that wait for the confirmation.
    pub(super) waiting: Vec<oneshot::Sender<()>>,
    /// The last position that the receiver has.
    seen: Option<Position>,
    /// The last position of the topic in the server at the previous check.
    checked: Option<Position>,
}

impl Topic {
    pub(super) fn new(name: &str) -> Self {
        let (retention, waiting) = (None, Vec::new());
        Self {
            name: name.into(),
            retention,
            confirmed: false,
            last_call: 0,
            waiting,
            seen: None,
            checked: None,
        }
    }

    /// Records that the receiver has the messages up to `position`. A message may arrive while an older position is
    /// being read.
    pub(super) fn see(&mut self, position: Position) {
        if !self.has(position) {
            self.seen = Some(position);
        }
    }

    /// Compares the last position in the server with what arrived. Returns `true` if a message that was there at the
    /// previous check has not arrived since.
    pub(super) fn check(&mut self, top: Position) -> bool {
        let before = self.checked.replace(top);
        top.offset > 0 && before.is_some_and(|before| before.epoch == top.epoch && !self.has(before))
    }

    fn has(&self, position: Position) -> bool {
        self.seen.is_some_and(|seen| seen.epoch == position.epoch && seen.offset >= position.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(offset: u64) -> Position {
        Position { epoch: 1, offset }
    }

    #[test]
    fn only_a_message_that_stays_away_between_two_checks_is_lost() {
        let mut topic = Topic::new("t");
        topic.see(at(1));
        assert!(!topic.check(at(1)));
        assert!(!topic.check(at(2)), "the message may be on its way");
        topic.see(at(2));
        assert!(!topic.check(at(3)));
        assert!(topic.check(at(3)));
        assert!(!topic.check(Position { epoch: 2, offset: 1 }), "a new epoch begins anew");
    }

    #[test]
    fn an_older_position_takes_nothing_back() {
        let mut topic = Topic::new("t");
        topic.see(at(2));
        topic.see(at(1));
        assert!(topic.has(at(2)));
        topic.see(Position { epoch: 2, offset: 1 });
        assert!(!topic.has(at(1)));
    }
}
