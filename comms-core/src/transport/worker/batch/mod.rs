//! Gathers deliveries for a batch handler, and runs their batches.
//!
//! A batch that runs alone keeps the order of all keys without a look-up of them. A further batch at the same time has no
//! key of those that run. The keys of failed deliveries are in [`Keys`](super::keys::Keys): no delivery of a busy or
//! blocked key is gathered.

mod begin;
mod config;
mod ended;
mod poll;
mod take;

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll},
    time::Instant,
};

use super::{
    keys::Queued,
    pending::{AttemptEnd, PendingAttempt},
    task::Task,
};
use crate::{clock::Sleep, handler::BatchAttempt, transport::HoldGuard};
pub use config::BatchConfig;

/// The deliveries of a worker with a batch handler, except those that failed.
pub(super) struct Batches {
    limits: BatchConfig,
    gathered: VecDeque<Queued>,
    gathered_bytes: u64,
    open: Vec<Open>,
    /// The gathered deliveries do not fill a further batch without the keys of the open ones.
    keys_are_busy: bool,
}

/// A batch that has begun.
enum Open {
    /// The batch failed for a cause outside the messages, and is attempted again. No further batch begins.
    Waiting(Waiting),
    Running(Running),
}

struct Waiting {
    batch: Vec<Queued>,
    held: Held,
    /// `None` when the wait is over.
    timer: Option<Pin<Box<Sleep>>>,
}

struct Running {
    batch: Vec<Queued>,
    held: Option<Held>,
    work: Work,
}

enum Work {
    Attempt(PendingAttempt<BatchAttempt>),
    Task(Task<BatchAttempt>),
}

/// The hold of a batch, listed as that of its first delivery.
struct Held {
    guard: HoldGuard,
    failures: u32,
}

impl Batches {
    pub(super) const fn new(limits: BatchConfig) -> Self {
        Self { limits, gathered: VecDeque::new(), gathered_bytes: 0, open: Vec::new(), keys_are_busy: false }
    }

    /// Returns the number of deliveries that are gathered or in an open batch.
    pub(super) fn len(&self) -> usize {
        self.gathered.len() + self.open.iter().map(|open| open.batch().len()).sum::<usize>()
    }

    /// Returns whether a batch would begin if there was a permit.
    pub(super) fn waits_for_permit(&self) -> bool {
        let waits = |open: &Open| matches!(open, Open::Waiting(waiting) if waiting.timer.is_none());
        self.open.iter().any(waits) || self.next_may_begin()
    }

    /// Returns whether a batch of gathered deliveries may begin.
    fn next_may_begin(&self) -> bool {
        match self.open.len() {
            0 => !self.gathered.is_empty(),
            open => {
                let limit = self.limits.concurrency.unwrap_or(1);
                open < limit && self.is_full() && !self.keys_are_busy && !self.is_held()
            }
        }
    }

    fn is_full(&self) -> bool {
        self.gathered.len() >= self.limits.max_records || self.gathered_bytes >= self.limits.max_bytes
    }

    fn is_held(&self) -> bool {
        self.open.iter().any(|open| matches!(open, Open::Waiting(_)))
    }

    /// Adds a delivery to the next batch. Returns whether that batch may begin and is full.
    pub(super) fn gather(&mut self, mut queued: Queued) -> bool {
        if self.is_held() {
            // It may wait for long, and must not keep the memory of other messages alive.
            queued.compact();
        }
        self.gathered_bytes += queued.place.bytes;
        self.gathered.push_back(queued);
        self.is_full() && self.next_may_begin()
    }

    /// Makes the batch wait for `timer`.
    fn wait(&mut self, mut batch: Vec<Queued>, held: Held, timer: Pin<Box<Sleep>>) {
        batch.iter_mut().chain(&mut self.gathered).for_each(Queued::compact);
        self.open.push(Open::Waiting(Waiting { batch, held, timer: Some(timer) }));
    }

    /// Ends the running attempts at their next poll whose time limits have passed. Returns the next time limit.
    pub(super) fn expire(&mut self, now: Instant) -> Option<Instant> {
        let deadline = |open: &mut Open| match open {
            Open::Running(Running { work: Work::Attempt(pending), .. }) => {
                pending.expire(now);
                pending.deadline()
            }
            _ => None,
        };
        self.open.iter_mut().filter_map(deadline).min()
    }
}

impl Open {
    fn batch(&self) -> &[Queued] {
        match self {
            Self::Waiting(waiting) => &waiting.batch,
            Self::Running(running) => &running.batch,
        }
    }
}

impl Running {
    /// Polls the attempt. Resolves to `None` if the runtime shuts down.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<AttemptEnd<BatchAttempt>>> {
        match &mut self.work {
            Work::Attempt(pending) => pending.poll(cx).map(Some),
            Work::Task(task) => task.poll(cx),
        }
    }
}
