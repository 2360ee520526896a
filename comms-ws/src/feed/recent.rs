//! A bounded list of messages, and the messages that a topic keeps for sessions that join.

use std::{collections::VecDeque, sync::Arc};

use super::Feed;

/// The maximum number of messages that are held during a repair, or kept for sessions that join.
const MAX_MESSAGES: usize = 1_000;
/// The same in bytes.
const MAX_BYTES: usize = 1024 * 1024;

/// A bounded list in the order of arrival.
pub(crate) struct Recent<T> {
    items: VecDeque<(T, usize)>,
    bytes: usize,
}

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self { items: VecDeque::new(), bytes: 0 }
    }
}

impl<T> Recent<T> {
    fn is_full(&self) -> bool {
        self.items.len() >= MAX_MESSAGES || self.bytes >= MAX_BYTES
    }

    /// Appends an item, or discards it if the list is full.
    pub(super) fn push(&mut self, item: T, bytes: usize) {
        if !self.is_full() {
            self.bytes += bytes;
            self.items.push_back((item, bytes));
        }
    }

    /// Appends an item, and discards the first ones if the list is full.
    pub(super) fn push_last(&mut self, item: T, bytes: usize) {
        while self.is_full()
            && let Some((_, freed)) = self.items.pop_front()
        {
            self.bytes -= freed;
        }
        self.push(item, bytes);
    }

    pub(super) fn take(&mut self) -> impl Iterator<Item = T> + use<T> {
        self.bytes = 0;
        std::mem::take(&mut self.items).into_iter().map(|(item, _)| item)
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &T> {
        self.items.iter().map(|(item, _)| item)
    }
}

/// Keeps the recent messages of a topic while it lives.
pub(crate) struct KeepRecent(Arc<Feed>);

impl KeepRecent {
    pub(crate) fn new(feed: &Arc<Feed>) -> Self {
        feed.lock().begin_join();
        Self(feed.clone())
    }
}

impl Drop for KeepRecent {
    fn drop(&mut self) {
        self.0.lock().end_join();
    }
}
