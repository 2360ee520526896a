//! A join with a window: how it takes over from the flusher, and waits for its client.
//!
//! While the client acknowledges in time, the join sleeps and the flusher sends. While the window is full, the join sleeps
//! as well, and the messages wait in the history of the topic alone.

use super::join::Join;
use crate::{
    backplane::Position,
    feed::{KeepRecent, PAGE_BYTES},
};

/// The largest window of a subscription, in events.
pub(crate) const MAX_WINDOW: usize = 1_000;
/// The size of a page of the history for each event that the window has room for, in bytes. What a page has beyond the room
/// is read again.
const EVENT_BYTES: usize = 1024;
/// The minimum size of such a page, for a filter that passes few messages.
const MIN_PAGE: usize = 16 * 1024;

/// Returns the size of a page of the history, in bytes, for a window with `room`.
pub(super) fn page_bytes(room: usize) -> usize {
    room.saturating_mul(EVENT_BYTES).clamp(MIN_PAGE, PAGE_BYTES)
}

impl Join {
    /// Waits until the flusher leaves the session to this join. Returns `false` if the session has left the topic before.
    pub(super) async fn has_left_live(&mut self) -> bool {
        self.recent = None;
        let Some(window) = self.window.clone() else { return false };
        while self.is_wanted() && !window.is_catching_up() {
            window.changed().await;
        }
        self.reached = window.reached();
        self.is_wanted()
    }

    /// Waits while the window is full. Keeps nothing of the topic meanwhile.
    pub(super) async fn wait_for_window(&mut self) {
        let Some(window) = self.window.clone() else { return };
        if window.room() == 0 {
            self.recent = None;
            // Ends also if the task is aborted.
            let _full = self.hub.env.meters.full_window();
            while self.is_wanted() && window.room() == 0 {
                window.changed().await;
            }
        }
        self.recent.get_or_insert_with(|| KeepRecent::new(&self.feed));
    }

    /// Notes that the session was sent what it gets of the messages up to `position`.
    pub(super) fn reach(&mut self, position: Position) {
        self.reached = Some(position);
        if let Some(window) = &self.window {
            window.reach(position);
        }
    }

    /// Returns the size of the next page of the history, in bytes.
    pub(super) fn next_page(&self) -> usize {
        self.window.as_ref().map_or(PAGE_BYTES, |window| page_bytes(window.room()))
    }
}
