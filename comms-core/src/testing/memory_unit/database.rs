//! The state of the database in memory: committed data, staged data, and locks.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use tokio::sync::watch;

use super::events::{Events, Identity};
use crate::{
    Claim, Error, Message,
    clock::Clock,
    event_sourcing::Stream,
    idempotency::{Admission, CallKey, StoredReply},
};

/// The scope and the key of a [`CallKey`].
type RequestId = (Arc<str>, Arc<str>);

/// A lock that a transaction holds until it ends.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Lock {
    Claim(Claim),
    Request(RequestId),
    Row(String),
    Stream(Stream),
    Event(Identity),
    Snapshot(Stream),
}

/// An admitted request, and its reply once the request is completed.
pub(super) struct Request {
    pub(super) fingerprint: [u8; 32],
    pub(super) reply: Option<StoredReply>,
}

impl Request {
    /// Returns the admission of another request with the same key.
    pub(super) fn admit(&self, key: &CallKey) -> Result<Admission, Error> {
        if self.fingerprint != key.fingerprint {
            return Ok(Admission::Mismatch);
        }
        match &self.reply {
            Some(reply) => Ok(Admission::Replay(reply.clone())),
            None => Err(Error::invalid(
                "the request of this key was admitted earlier and has no reply: call `complete` before the commit",
            )),
        }
    }
}

/// The writes of an open transaction.
#[derive(Default)]
pub(super) struct Staged {
    pub(super) claims: HashSet<Claim>,
    pub(super) replies: HashMap<RequestId, Request>,
    pub(super) messages: Vec<Message>,
    pub(super) events: Events,
    /// `None` deletes the row.
    pub(super) rows: BTreeMap<String, Option<Bytes>>,
}

#[derive(Default)]
pub(super) struct Committed {
    pub(super) claims: HashSet<Claim>,
    pub(super) replies: HashMap<RequestId, Request>,
    pub(super) messages: Vec<Message>,
    pub(super) events: Events,
    pub(super) rows: BTreeMap<String, Bytes>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) committed: Committed,
    /// The errors of the next commits.
    pub(super) commit_errors: VecDeque<Error>,
    /// The number of the transaction that holds each lock.
    holders: HashMap<Lock, u64>,
    last_number: u64,
}

#[derive(Default)]
pub(super) struct Database {
    state: Mutex<State>,
    /// The time of recorded events.
    pub(super) clock: Clock,
    /// Notifies of the end of each transaction.
    ended: watch::Sender<()>,
}

impl Database {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, ..Self::default() }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the number of a new transaction.
    pub(super) fn begin(&self) -> u64 {
        let mut state = self.lock();
        state.last_number += 1;
        state.last_number
    }

    /// Acquires `lock` for the transaction `number`. Waits while another transaction holds the lock.
    pub(super) async fn acquire(&self, lock: &Lock, number: u64) {
        // Subscribe before the check of the holder, so that no end of a transaction is missed.
        let mut ended = self.ended.subscribe();
        loop {
            let holder = *self.lock().holders.entry(lock.clone()).or_insert(number);
            if holder == number {
                return;
            }
            // This cannot fail, because `self` owns the sender.
            let _ = ended.changed().await;
        }
    }

    pub(super) fn commit(&self, staged: Staged) -> Result<(), Error> {
        let mut state = self.lock();
        if let Some(error) = state.commit_errors.pop_front() {
            return Err(error);
        }
        let committed = &mut state.committed;
        committed.claims.extend(staged.claims);
        committed.replies.extend(staged.replies);
        committed.messages.extend(staged.messages);
        committed.events.extend(staged.events);
        for (name, value) in staged.rows {
            match value {
                Some(value) => committed.rows.insert(name, value),
                None => committed.rows.remove(&name),
            };
        }
        Ok(())
    }

    /// Releases the locks of the transaction `number`.
    pub(super) fn end(&self, number: u64) {
        self.lock().holders.retain(|_, holder| *holder != number);
        self.ended.send_replace(());
    }
}
