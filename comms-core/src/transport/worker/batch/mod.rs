//! Gathers deliveries for a batch handler, and runs one batch at a time.
//!
//! One batch in flight keeps the order of all keys without a look-up of them. Only the keys of failed deliveries are in
//! [`Keys`](super::keys::Keys): no delivery of a busy or blocked key is gathered.

mod begin;
mod config;
mod ended;
mod poll;

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
    current: Current,
}

/// The batch that the next ones wait for.
enum Current {
    None,
    /// The batch failed for a cause outside the messages, and is attempted again.
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
        Self { limits, gathered: VecDeque::new(), gathered_bytes: 0, current: Current::None }
    }

    /// Returns the number of deliveries that are gathered or in the current batch.
    pub(super) fn len(&self) -> usize {
        let current = match &self.current {
            Current::None => 0,
            Current::Waiting(waiting) => waiting.batch.len(),
            Current::Running(running) => running.batch.len(),
        };
        self.gathered.len() + current
    }

    /// Returns whether a batch would begin if there was a permit.
    pub(super) fn waits_for_permit(&self) -> bool {
        match &self.current {
            Current::None => !self.gathered.is_empty(),
            Current::Waiting(waiting) => waiting.timer.is_none(),
            Current::Running(_) => false,
        }
    }

    /// Adds a delivery to the next batch. Returns whether that batch may begin and is full.
    pub(super) fn gather(&mut self, mut queued: Queued) -> bool {
        if matches!(self.current, Current::Waiting(_)) {
            // It may wait for long, and must not keep the memory of other messages alive.
            queued.compact();
        }
        self.gathered_bytes += queued.place.bytes;
        self.gathered.push_back(queued);
        matches!(self.current, Current::None)
            && (self.gathered.len() >= self.limits.max_records
                || self.gathered_bytes >= self.limits.max_bytes)
    }

    /// Takes the next batch: deliveries of one topic, as many as the limits allow, and at least one.
    fn take(&mut self) -> Vec<Queued> {
        let Some(first) = self.gathered.front() else { return Vec::new() };
        let (topic, mut bytes) = (first.delivery.message.topic_bytes(), first.place.bytes);
        let fits = |queued: &&Queued| {
            bytes = bytes.saturating_add(queued.place.bytes);
            bytes <= self.limits.max_bytes && queued.delivery.message.topic_bytes() == topic
        };
        let others = self.gathered.iter().take(self.limits.max_records.max(1)).skip(1);
        let count = 1 + others.take_while(fits).count();
        let batch: Vec<_> = self.gathered.drain(..count).collect();
        self.gathered_bytes -= batch.iter().map(|queued| queued.place.bytes).sum::<u64>();
        batch
    }

    /// Takes the gathered deliveries that `leaves` returns `true` for.
    fn take_if(&mut self, mut leaves: impl FnMut(&Queued) -> bool) -> Vec<Queued> {
        let (mut taken, mut kept) = (Vec::new(), VecDeque::with_capacity(self.gathered.len()));
        for queued in self.gathered.drain(..) {
            match leaves(&queued) {
                true => taken.push(queued),
                false => kept.push_back(queued),
            }
        }
        self.gathered = kept;
        self.gathered_bytes -= taken.iter().map(|queued| queued.place.bytes).sum::<u64>();
        taken
    }

    /// Takes every delivery that is not in a running batch.
    pub(super) fn take_waiting(&mut self) -> Vec<Queued> {
        let mut waiting = match std::mem::replace(&mut self.current, Current::None) {
            Current::Waiting(waiting) => waiting.batch,
            current => {
                self.current = current;
                Vec::new()
            }
        };
        self.gathered_bytes = 0;
        waiting.extend(self.gathered.drain(..));
        waiting
    }

    /// Makes the batch wait for `timer`.
    fn wait(&mut self, mut batch: Vec<Queued>, held: Held, timer: Pin<Box<Sleep>>) {
        batch.iter_mut().chain(&mut self.gathered).for_each(Queued::compact);
        self.current = Current::Waiting(Waiting { batch, held, timer: Some(timer) });
    }

    /// Ends the running attempt at its next poll if its time limit has passed. Returns its time limit otherwise.
    pub(super) fn expire(&mut self, now: Instant) -> Option<Instant> {
        match &mut self.current {
            Current::Running(Running { work: Work::Attempt(pending), .. }) => {
                pending.expire(now);
                pending.deadline()
            }
            _ => None,
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
