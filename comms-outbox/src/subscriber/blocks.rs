//! Which keys must not run on, and until when.
//!
//! When a message is hopeless, later ones of its key may already wait behind it, and the relay, which does not
//! know yet, may hand over more. All of them must be refused; what the relay hands over later is released, and
//! must run. The rule that needs no word between the two: what was taken before the relay was given the answer
//! is refused, what is taken afterwards runs.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::Lane;

/// Keys with messages in them, and which of these are blocked.
#[derive(Default)]
pub(super) struct Blocks(Mutex<State>);

#[derive(Default)]
struct State {
    /// Counts what was taken, of all keys.
    taken: u64,
    lanes: HashMap<Lane, LaneState>,
}

#[derive(Default)]
struct LaneState {
    /// Messages taken and not yet answered.
    waiting: usize,
    block: Option<Block>,
}

struct Block {
    reason: Arc<str>,
    /// Pages with a hopeless message of this key whose answers the relay does not have yet.
    unanswered: usize,
    /// Once it has them: what was taken before this is refused.
    until: u64,
}

impl Block {
    fn stops(&self, ticket: u64) -> bool {
        self.unanswered > 0 || ticket < self.until
    }
}

impl Blocks {
    /// A message of `lane` is taken; the ticket says when.
    pub(super) fn enter(&self, lane: Lane) -> (Lane, u64) {
        let mut state = self.lock();
        state.lanes.entry(lane.clone()).or_default().waiting += 1;
        state.taken += 1;
        (lane, state.taken - 1)
    }

    /// Why the message with this ticket must not run, if it must not.
    pub(super) fn refusal(&self, lane: &Lane, ticket: u64) -> Option<Arc<str>> {
        let state = self.lock();
        let block = state.lanes.get(lane)?.block.as_ref()?;
        block.stops(ticket).then(|| block.reason.clone())
    }

    /// A message of `lane` is about to be answered.
    pub(super) fn leave(&self, lane: &Lane) {
        self.change(lane.clone(), |lane, _| lane.waiting = lane.waiting.saturating_sub(1));
    }

    fn block(&self, lane: Lane, reason: &str) {
        self.change(lane, |lane, _| {
            let new = || Block { reason: reason.into(), unanswered: 0, until: 0 };
            lane.block.get_or_insert_with(new).unanswered += 1;
        });
    }

    fn answered(&self, lane: Lane) {
        self.change(lane, |lane, taken| {
            if let Some(block) = &mut lane.block {
                block.unanswered = block.unanswered.saturating_sub(1);
                block.until = taken;
            }
        });
    }

    /// Changes the state of `lane`, and forgets it where nothing is left to remember.
    fn change(&self, lane: Lane, change: impl FnOnce(&mut LaneState, u64)) {
        let mut state = self.lock();
        let taken = state.taken;
        let Entry::Occupied(mut entry) = state.lanes.entry(lane) else { return };
        change(entry.get_mut(), taken);
        let LaneState { waiting, block } = entry.get();
        if *waiting == 0 && block.as_ref().is_none_or(|block| block.unanswered == 0) {
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

/// Messages taken together. Held by each of them while it waits or runs, and by the acknowledgements until
/// the relay has them or drops them.
pub(super) struct Page {
    blocks: Arc<Blocks>,
    blocked: Mutex<Vec<Lane>>,
}

impl Page {
    pub(super) fn new(blocks: Arc<Blocks>) -> Self {
        Self { blocks, blocked: Mutex::default() }
    }

    /// Blocks `lane`, of which this page has a hopeless message, until the relay knows.
    pub(super) fn block(&self, lane: Lane, reason: &str) {
        self.blocks.block(lane.clone(), reason);
        self.blocked.lock().unwrap_or_else(PoisonError::into_inner).push(lane);
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        let blocked = std::mem::take(self.blocked.get_mut().unwrap_or_else(PoisonError::into_inner));
        for lane in blocked {
            self.blocks.answered(lane);
        }
    }
}
