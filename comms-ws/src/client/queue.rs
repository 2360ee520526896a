//! The queue between the connection and the application, bounded in items and bytes.

use std::{collections::VecDeque, sync::Arc};

use comms_core::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::{cursor::Place, handled::Window, item::Item};

/// The bytes that an item without content counts as.
const SMALL: usize = 64;

/// An item with the position that it sets.
pub(super) struct Entry {
    pub(super) item: Item,
    /// The new position of the item's topic. An event has none: its offset is the position.
    pub(super) place: Option<Place>,
    pub(super) bytes: usize,
    /// The window that the item counts in. `None`: the client does not acknowledge it.
    pub(super) window: Option<Window>,
}

impl Entry {
    pub(super) const fn new(item: Item) -> Self {
        Self { item, place: None, bytes: SMALL, window: None }
    }

    pub(super) const fn at(item: Item, place: Place) -> Self {
        Self { item, place: Some(place), bytes: SMALL, window: None }
    }
}

type Queued = (Result<Entry, Error>, Option<OwnedSemaphorePermit>);

pub(super) struct Sender {
    items: mpsc::Sender<Queued>,
    bytes: Arc<Semaphore>,
    max_bytes: u32,
}

pub(super) struct Receiver(mpsc::Receiver<Queued>);

/// Creates a queue of at most `max_items` items and `max_bytes` bytes. One item may be longer than `max_bytes`.
pub(super) fn bounded(max_items: usize, max_bytes: u32) -> (Sender, Receiver) {
    let (items, receiver) = mpsc::channel(max_items);
    let bytes = Arc::new(Semaphore::new(max_bytes as usize));
    (Sender { items, bytes, max_bytes }, Receiver(receiver))
}

impl Sender {
    /// Moves `pending` to the queue, and waits for room where there is none. Cancel-safe: what was not moved stays.
    pub(super) async fn send(&self, pending: &mut VecDeque<Entry>) {
        while let Some(entry) = pending.front() {
            let bytes = u32::try_from(entry.bytes).unwrap_or(u32::MAX).min(self.max_bytes);
            let permit = self.bytes.clone().acquire_many_owned(bytes).await.ok();
            let Ok(slot) = self.items.reserve().await else { return pending.clear() };
            if let Some(entry) = pending.pop_front() {
                slot.send((Ok(entry), permit));
            }
        }
    }

    /// Queues the error that ends the client, when there is room for it.
    pub(super) async fn end(&self, error: Error) {
        // A receiver that was dropped reads no error.
        let _ = self.items.send((Err(error), None)).await;
    }

    /// Resolves when the receiver is dropped.
    pub(super) async fn closed(&self) {
        self.items.closed().await;
    }
}

impl Receiver {
    /// Removes the first item, and frees its bytes.
    pub(super) fn poll(
        &mut self,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Entry, Error>>> {
        self.0.poll_recv(cx).map(|queued| queued.map(|(entry, _permit)| entry))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{FutureExt, future::poll_fn};

    fn entries(lens: &[usize]) -> VecDeque<Entry> {
        let item = || Item::Connected { session: String::new() };
        lens.iter().map(|bytes| Entry { item: item(), place: None, bytes: *bytes, window: None }).collect()
    }

    /// Returns how many items fit into the queue before it is full.
    fn fitting(max_items: usize, max_bytes: u32, lens: &[usize]) -> usize {
        let (sender, _receiver) = bounded(max_items, max_bytes);
        let mut pending = entries(lens);
        let _ = sender.send(&mut pending).now_or_never();
        lens.len() - pending.len()
    }

    #[test]
    fn the_queue_is_bounded_in_items_and_bytes() {
        assert_eq!(fitting(3, 1_000, &[1, 1, 1, 1]), 3);
        assert_eq!(fitting(10, 100, &[60, 40, 1]), 2);
        assert_eq!(fitting(10, 100, &[60, 60]), 1);
        assert_eq!(fitting(10, 100, &[usize::MAX, 1]), 1, "one item may be longer than the limit");
    }

    #[tokio::test]
    async fn an_item_that_was_read_makes_room() {
        let (sender, mut receiver) = bounded(10, 100);
        let mut pending = entries(&[60, 60]);
        assert!(sender.send(&mut pending).now_or_never().is_none());
        assert!(poll_fn(|cx| receiver.poll(cx)).await.is_some_and(|entry| entry.is_ok()));
        assert!(sender.send(&mut pending).now_or_never().is_some());
        assert!(pending.is_empty());
    }
}
