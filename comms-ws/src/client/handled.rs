//! What the application has handled in topics with a window, until the client acknowledges it.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::Notify;

use super::cursor::Place;

/// The time after which the client acknowledges what was handled.
pub(super) const DELAY: Duration = Duration::from_millis(200);
/// The maximum length of the cursor of a frame. Servers accept frames of 4 KiB.
const MAX_CURSOR: usize = 3 * 1024;

/// The window that an item counts in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    /// The session of the item. Another session has another window.
    pub(super) session: u64,
    pub(super) size: usize,
}

/// The positions that the application has reached, which the client has not acknowledged.
#[derive(Default)]
pub(super) struct Handled {
    topics: Mutex<HashMap<String, Progress>>,
    changed: Notify,
}

struct Progress {
    place: Place,
    window: Window,
    /// The number of items that were handled since the last acknowledgement.
    items: usize,
}

impl Progress {
    fn is_due(&self) -> bool {
        self.items >= self.window.size.div_ceil(2)
    }
}

impl Handled {
    /// Notes that the application has handled an item of `topic`, and stands at `place`.
    pub(super) fn note(&self, topic: &str, place: &Place, window: Window) {
        let mut topics = self.lock();
        let items =
            topics.get(topic).filter(|before| before.window == window).map_or(0, |before| before.items);
        let progress = Progress { place: place.clone(), window, items: items + 1 };
        let is_news = items == 0 || progress.is_due();
        match topics.get_mut(topic) {
            Some(before) => *before = progress,
            None => drop(topics.insert(topic.to_owned(), progress)),
        }
        if is_news {
            self.changed.notify_one();
        }
    }

    /// Resolves when there is something to acknowledge, or half of a window was handled. Cancel-safe.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Returns whether half of a window was handled.
    pub(super) fn is_due(&self) -> bool {
        self.lock().values().any(Progress::is_due)
    }

    /// Takes the cursors that acknowledge what was handled. What belongs to another session than `session` is discarded, and
    /// so are topics that `has_window` does not return `true` for: the client has left them, and the server reads a limited
    /// number of tokens.
    pub(super) fn take(&self, session: u64, has_window: impl Fn(&str) -> bool) -> Vec<String> {
        let topics = std::mem::take(&mut *self.lock());
        let current = topics
            .into_iter()
            .filter(|(topic, progress)| progress.window.session == session && has_window(topic));
        let mut cursors: Vec<String> = Vec::new();
        for token in current.filter_map(|(_, progress)| progress.place.cursor()) {
            match cursors.last_mut().filter(|last| last.len() + token.len() < MAX_CURSOR) {
                Some(last) => {
                    last.push(',');
                    last.push_str(&token);
                }
                None => cursors.push(token),
            }
        }
        cursors
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Progress>> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::cursor::Token;
    use futures_util::FutureExt;

    fn place(topic: &str, reached: u64) -> Place {
        Place { token: Some(Token::parse(&format!("{topic}:1:0:mac")).unwrap()), reached }
    }

    #[test]
    fn half_a_window_is_due_and_another_session_is_discarded() {
        let handled = Handled::default();
        let window = Window { session: 1, size: 5 };
        for (reached, is_news) in [(1, true), (2, false), (3, true)] {
            handled.note("a", &place("a", reached), window);
            assert_eq!(handled.changed().now_or_never().is_some(), is_news, "{reached}");
        }
        assert!(handled.is_due());
        assert_eq!(handled.take(1, |_| true), ["a:1:0:mac~3"]);
        assert!(!handled.is_due() && handled.take(1, |_| true).is_empty());
        handled.note("a", &place("a", 4), window);
        handled.note("b", &place("b", 1), Window { session: 2, size: 5 });
        assert_eq!(handled.take(2, |_| true), ["b:1:0:mac~1"]);
    }

    #[test]
    fn a_topic_that_was_left_is_not_acknowledged() {
        let handled = Handled::default();
        for topic in ["a", "b"] {
            handled.note(topic, &place(topic, 1), Window { session: 1, size: 5 });
        }
        assert_eq!(handled.take(1, |topic| topic == "b"), ["b:1:0:mac~1"]);
        assert!(handled.take(1, |_| true).is_empty());
    }

    #[test]
    fn a_cursor_of_many_topics_is_split() {
        let handled = Handled::default();
        for n in 0..100 {
            let topic = format!("{n:03}{}", "x".repeat(97));
            handled.note(&topic, &place(&topic, 1), Window { session: 1, size: 5 });
        }
        let cursors = handled.take(1, |_| true);
        assert!(cursors.len() > 1 && cursors.iter().all(|cursor| cursor.len() < MAX_CURSOR));
        assert_eq!(cursors.iter().map(|cursor| cursor.split(',').count()).sum::<usize>(), 100);
    }
}
