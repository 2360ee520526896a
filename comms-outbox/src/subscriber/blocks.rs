//! Which keys must not run on, and until when.
//!
//! When a message is hopeless, later ones of its key may already wait behind it, and the relay, which does not
//! know yet, may hand over more. All of them must be refused, and the key must run again once the relay
//! releases it. The rule that needs no word between the two: a key is blocked as long as the relay has not
//! been given the answers of every page in which a message of that key was refused. From then on the relay
//! knows, and what it hands over of this key is released.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::Lane;

/// Blocked keys.
#[derive(Default)]
pub(super) struct Blocks(Mutex<HashMap<Lane, Block>>);

struct Block {
    /// Pages that hold it.
    pages: usize,
    reason: Arc<str>,
}

impl Blocks {
    /// Why `lane` is blocked, if it is.
    pub(super) fn reason(&self, lane: &Lane) -> Option<Arc<str>> {
        self.lock().get(lane).map(|block| block.reason.clone())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Lane, Block>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Blocks `lane` for as long as this page lives. A message without key blocks nothing.
    pub(super) fn block(&self, lane: Option<Lane>, reason: &str) {
        let Some(lane) = lane else { return };
        let mut blocked = self.blocked.lock().unwrap_or_else(PoisonError::into_inner);
        if blocked.contains(&lane) {
            return;
        }
        blocked.push(lane.clone());
        let mut blocks = self.blocks.lock();
        blocks.entry(lane).or_insert_with(|| Block { pages: 0, reason: reason.into() }).pages += 1;
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        let blocked = std::mem::take(self.blocked.get_mut().unwrap_or_else(PoisonError::into_inner));
        let mut blocks = self.blocks.lock();
        for lane in blocked {
            if let Some(block) = blocks.get_mut(&lane) {
                block.pages -= 1;
                if block.pages == 0 {
                    blocks.remove(&lane);
                }
            }
        }
    }
}
