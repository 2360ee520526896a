//! Keys whose messages must not run until the relay has processed a refusal.
//!
//! When a message is refused, later messages of its key may already wait behind it, and the relay, which has not
//! received the refusal yet, may hand over more of them. All of these must be refused. Messages of the key that the
//! relay hands over after it has received the refusal are released, and must run. So a message that was accepted before
//! the relay received the result is refused, and a message that was accepted afterwards runs.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;

/// The unit of order: a topic and a key.
pub(super) type Lane = (Arc<str>, Bytes);

/// Keys with accepted messages, and which of these keys are blocked.
#[derive(Default)]
pub(super) struct BlockedKeys(Mutex<State>);

#[derive(Default)]
struct State {
    /// The number of messages accepted so far, over all keys.
    accepted: u64,
    lanes: HashMap<Lane, LaneState>,
}

#[derive(Default)]
struct LaneState {
    /// Messages that were accepted and have no result yet.
    waiting: usize,
    block: Option<Block>,
}

struct Block {
    reason: Arc<str>,
    /// Batches with a refused message of this key whose results the relay has not received yet.
    undelivered: usize,
    /// Messages that were accepted before this number are refused, after the relay has received all results.
    until: u64,
}

impl Block {
    fn stops(&self, ticket: u64) -> bool {
        self.undelivered > 0 || ticket < self.until
    }
}

impl BlockedKeys {
    /// Records that a message of `lane` is accepted. Returns the lane with a ticket, the number of the message.
    pub(super) fn enter(&self, lane: Lane) -> (Lane, u64) {
        let mut state = self.lock();
        state.lanes.entry(lane.clone()).or_default().waiting += 1;
        state.accepted += 1;
        (lane, state.accepted - 1)
    }

    /// Returns the reason if the message with this ticket must not run.
    pub(super) fn refusal(&self, lane: &Lane, ticket: u64) -> Option<Arc<str>> {
        let state = self.lock();
        let block = state.lanes.get(lane)?.block.as_ref()?;
        block.stops(ticket).then(|| block.reason.clone())
    }

    /// Records that a message of `lane` has a result.
    pub(super) fn leave(&self, lane: &Lane) {
        self.change(lane.clone(), |lane, _| lane.waiting = lane.waiting.saturating_sub(1));
    }

    fn block(&self, lane: Lane, reason: &str) {
        self.change(lane, |lane, _| {
            let new = || Block { reason: reason.into(), undelivered: 0, until: 0 };
            lane.block.get_or_insert_with(new).undelivered += 1;
        });
    }

    fn delivered(&self, lane: Lane) {
        self.change(lane, |lane, accepted| {
            if let Some(block) = &mut lane.block {
                block.undelivered = block.undelivered.saturating_sub(1);
                block.until = accepted;
            }
        });
    }

    /// Changes the state of `lane`, and removes it if it has no waiting message and no undelivered result.
    fn change(&self, lane: Lane, change: impl FnOnce(&mut LaneState, u64)) {
        let mut state = self.lock();
        let accepted = state.accepted;
        let Entry::Occupied(mut entry) = state.lanes.entry(lane) else { return };
        change(entry.get_mut(), accepted);
        let LaneState { waiting, block } = entry.get();
        if *waiting == 0 && block.as_ref().is_none_or(|block| block.undelivered == 0) {
            entry.remove();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.lock().lanes.is_empty()
    }
}

/// The keys that a batch has blocked. Shared by its messages while they wait or run, and by its acknowledgements until
/// the relay has received or dropped them. When the last of them is dropped, the results count as delivered.
pub(super) struct BatchBlocks {
    keys: Arc<BlockedKeys>,
    blocked: Mutex<Vec<Lane>>,
}

impl BatchBlocks {
    pub(super) fn new(keys: Arc<BlockedKeys>) -> Self {
        Self { keys, blocked: Mutex::default() }
    }

    /// Blocks `lane`, of which this batch has a refused message, until the relay has received the results.
    pub(super) fn block(&self, lane: Lane, reason: &str) {
        self.keys.block(lane.clone(), reason);
        self.blocked.lock().unwrap_or_else(PoisonError::into_inner).push(lane);
    }
}

impl Drop for BatchBlocks {
    fn drop(&mut self) {
        let blocked = std::mem::take(self.blocked.get_mut().unwrap_or_else(PoisonError::into_inner));
        for lane in blocked {
            self.keys.delivered(lane);
        }
    }
}
