//! What is committed, what is staged, and who holds what.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use tokio::sync::watch;

use crate::{
    Claim, Error, Message,
    idempotency::{Admission, CallKey, StoredReply},
};

type Name = (Arc<str>, Arc<str>);

/// What a transaction can hold until it ends.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Lock {
    Claim(Claim),
    Reply(Name),
    Row(String),
}

/// A request that was admitted; without a reply it was forgotten, or still runs.
pub(super) struct Request {
    pub(super) fingerprint: [u8; 32],
    pub(super) reply: Option<StoredReply>,
}

impl Request {
    pub(super) fn admit(&self, key: &CallKey) -> Result<Admission, Error> {
        if self.fingerprint != key.fingerprint {
            return Ok(Admission::Mismatch);
        }
        match &self.reply {
            Some(reply) => Ok(Admission::Replay(reply.clone())),
            None => Err(Error::invalid("a request of this key was admitted and not answered")),
        }
    }
}

#[derive(Default)]
pub(super) struct Staged {
    pub(super) claims: HashSet<Claim>,
    pub(super) replies: HashMap<Name, Request>,
    pub(super) messages: Vec<Message>,
    /// `None`: deleted.
    pub(super) rows: BTreeMap<String, Option<Bytes>>,
}

#[derive(Default)]
pub(super) struct Committed {
    pub(super) claims: HashSet<Claim>,
    pub(super) replies: HashMap<Name, Request>,
    pub(super) messages: Vec<Message>,
    pub(super) rows: BTreeMap<String, Bytes>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) committed: Committed,
    pub(super) refusals: VecDeque<Error>,
    holders: HashMap<Lock, u64>,
    transactions: u64,
}

#[derive(Default)]
pub(super) struct Database {
    state: Mutex<State>,
    /// Changes whenever a transaction ends.
    ends: watch::Sender<()>,
}

impl Database {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn begin(&self) -> u64 {
        let mut state = self.lock();
        state.transactions += 1;
        state.transactions
    }

    /// Waits until no other transaction holds `lock`, and holds it.
    pub(super) async fn hold(&self, lock: &Lock, number: u64) {
        // Before the look: an end after it is seen.
        let mut ends = self.ends.subscribe();
        loop {
            let holder = *self.lock().holders.entry(lock.clone()).or_insert(number);
            if holder == number {
                return;
            }
            // The sender is in `self`: it cannot close.
            let _ = ends.changed().await;
        }
    }

    pub(super) fn commit(&self, staged: Staged) -> Result<(), Error> {
        let mut state = self.lock();
        if let Some(error) = state.refusals.pop_front() {
            return Err(error);
        }
        let committed = &mut state.committed;
        committed.claims.extend(staged.claims);
        committed.replies.extend(staged.replies);
        committed.messages.extend(staged.messages);
        for (name, value) in staged.rows {
            match value {
                Some(value) => committed.rows.insert(name, value),
                None => committed.rows.remove(&name),
            };
        }
        Ok(())
    }

    pub(super) fn end(&self, number: u64) {
        self.lock().holders.retain(|_, holder| *holder != number);
        self.ends.send_replace(());
    }
}
