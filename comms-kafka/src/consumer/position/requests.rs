//! The seeks that are requested from a running member.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use super::Start;
use comms_core::Error;

pub(in crate::consumer) type Answer = oneshot::Sender<Result<(), Error>>;

/// The seeks that the poll thread has not carried out yet.
#[derive(Default)]
pub(in crate::consumer) struct Seeks(Mutex<Requests>);

#[derive(Default)]
struct Requests {
    waiting: VecDeque<(Arc<str>, Start, Answer)>,
    /// The consumer has ended.
    closed: bool,
}

impl Seeks {
    /// Requests a seek of `topic`. The receiver gets an error if the consumer ends first, or has ended.
    pub(in crate::consumer) fn request(
        &self,
        topic: Arc<str>,
        start: Start,
    ) -> oneshot::Receiver<Result<(), Error>> {
        let (answer, answered) = oneshot::channel();
        let mut requests = self.lock();
        if !requests.closed {
            requests.waiting.push_back((topic, start, answer));
        }
        answered
    }

    /// Takes the next requested seek, and where to send its result.
    pub(in crate::consumer) fn take(&self) -> Option<(Arc<str>, Start, Answer)> {
        self.lock().waiting.pop_front()
    }

    fn lock(&self) -> MutexGuard<'_, Requests> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Refuses all seeks when it is dropped, with the consumer or at the end of the poll thread.
#[derive(Default)]
pub(in crate::consumer) struct SeekOwner(pub(in crate::consumer) Arc<Seeks>);

impl Drop for SeekOwner {
    fn drop(&mut self) {
        let mut requests = self.0.lock();
        requests.closed = true;
        requests.waiting.clear();
    }
}
