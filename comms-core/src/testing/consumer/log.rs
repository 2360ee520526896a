//! What the handler of a check has observed.

use std::{
    collections::BTreeMap,
    fmt::Write,
    panic::resume_unwind,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::watch;

use crate::{Delivery, Error, ErrorKind, Handler, Outcome, clock::Clock, handler_fn, testing::Broken};

/// What an attempt does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reaction {
    Done,
    Fail(ErrorKind),
    Panic,
    /// Succeeds when the gate of the log is open.
    Wait,
}

/// One call of the handler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) id: String,
    pub(super) attempt: u32,
    pub(super) is_done: bool,
}

#[derive(Debug, Default)]
pub(super) struct Calls {
    pub(super) all: Vec<Call>,
    /// The number of running calls, by key.
    running: BTreeMap<Vec<u8>, usize>,
    pub(super) most_running: usize,
    /// Two calls of one key have run at the same time.
    pub(super) has_overlapped: bool,
}

impl Calls {
    /// Returns the number of calls with the message `id`.
    pub(super) fn of(&self, id: &str) -> usize {
        self.all.iter().filter(|call| call.id == id).count()
    }

    pub(super) fn is_done(&self, id: &str) -> bool {
        self.all.iter().any(|call| call.id == id && call.is_done)
    }

    /// Returns the ids of the finished messages of `key`, each once, in the order of their ends.
    pub(super) fn done_of(&self, key: &str) -> Vec<String> {
        let mut done = Vec::new();
        for call in self.all.iter().filter(|call| call.is_done && is_of(&call.id, key)) {
            if !done.contains(&call.id) {
                done.push(call.id.clone());
            }
        }
        done
    }

    pub(super) fn running(&self) -> usize {
        self.running.values().sum()
    }
}

/// Returns whether the message `id` has `key`: the ids of a check are `<key>-<number>`.
pub(super) fn is_of(id: &str, key: &str) -> bool {
    id.rsplit_once('-').is_some_and(|(of, _)| of == key)
}

#[derive(Debug, Default)]
pub(super) struct Log {
    calls: Mutex<Calls>,
    changed: watch::Sender<()>,
    gate: watch::Sender<bool>,
}

impl Log {
    pub(super) fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn open(&self) {
        self.gate.send_replace(true);
    }

    /// Waits until `holds`, for at most `limit`.
    pub(super) async fn until(
        &self,
        what: &str,
        limit: Duration,
        holds: impl Fn(&Calls) -> bool,
    ) -> Result<(), Broken> {
        let mut changed = self.changed.subscribe();
        let wait = async {
            while !holds(&self.calls()) {
                // The sender lives as long as this log.
                let _ = changed.changed().await;
            }
        };
        Clock::system().timeout(limit, wait).await.map_err(|_| {
            let mut text = format!("not within {limit:?}; the calls (message, attempt):");
            for call in &self.calls().all {
                let end = if call.is_done { "done" } else { "not done" };
                let _ = write!(text, " ({}, {}, {end})", call.id, call.attempt);
            }
            Broken::new(what, text)
        })
    }

    /// Returns a handler whose nth call with a message (from 1) does what `react` returns.
    pub(super) fn handler(
        self: &Arc<Self>,
        react: impl Fn(&str, usize) -> Reaction + Clone + Send + Sync + 'static,
    ) -> impl Handler {
        let log = self.clone();
        handler_fn(move |delivery: Delivery| {
            let id = delivery.message.id().to_owned();
            let (index, nth) = log.begin(&delivery, &id);
            let running =
                Running { log: log.clone(), key: delivery.message.key().unwrap_or_default().to_vec() };
            let (reaction, log) = (react(&id, nth), log.clone());
            async move {
                let _running = running;
                // Other handlers may begin meanwhile.
                tokio::task::yield_now().await;
                match reaction {
                    Reaction::Done => {}
                    Reaction::Fail(kind) => return Err(Error::new(kind, "the check wants it")),
                    Reaction::Panic => resume_unwind(Box::new("the check wants it")),
                    Reaction::Wait => {
                        let _ = log.gate.subscribe().wait_for(|open| *open).await;
                    }
                }
                if let Some(call) = log.calls().all.get_mut(index) {
                    call.is_done = true;
                }
                Ok(Outcome::Done)
            }
        })
    }

    fn begin(&self, delivery: &Delivery, id: &str) -> (usize, usize) {
        let mut calls = self.calls();
        calls.all.push(Call { id: id.to_owned(), attempt: delivery.attempt, is_done: false });
        let key = delivery.message.key();
        let running = calls.running.entry(key.unwrap_or_default().to_vec()).or_default();
        *running += 1;
        let overlaps = *running > 1 && key.is_some();
        calls.has_overlapped |= overlaps;
        calls.most_running = calls.most_running.max(calls.running());
        let nth = (calls.all.len() - 1, calls.of(id));
        drop(calls);
        self.changed.send_replace(());
        nth
    }
}

/// A running call. Dropping it ends the call.
struct Running {
    log: Arc<Log>,
    key: Vec<u8>,
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(running) = self.log.calls().running.get_mut(&self.key) {
            *running -= 1;
        }
        self.log.changed.send_replace(());
    }
}
