//! The results of the messages of one `enqueue` call, completed by delivery reports in any order.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

use comms_core::{Error, transport::Receipt};

type AckResult = Result<Receipt, Error>;

/// The results of one `enqueue` call. Complete when the call has ended and every message has a result.
#[derive(Debug)]
pub(super) struct PendingAcks(Mutex<State>);

#[derive(Debug)]
struct State {
    results: Vec<Option<AckResult>>,
    /// The number of messages without a result, plus one until the call has ended.
    open: usize,
    done: Option<oneshot::Sender<()>>,
}

/// The place for the result of one message.
#[derive(Debug)]
pub(super) struct AckSlot {
    acks: Arc<PendingAcks>,
    index: usize,
    /// The bytes that the message takes of the publisher's capacity.
    pub(super) size: usize,
}

impl PendingAcks {
    /// Returns an empty list of results, and a receiver that resolves when the list is complete.
    pub(super) fn new() -> (Arc<Self>, oneshot::Receiver<()>) {
        let (done, complete) = oneshot::channel();
        let state = State { results: Vec::new(), open: 1, done: Some(done) };
        (Arc::new(Self(Mutex::new(state))), complete)
    }

    /// Adds the place for the result of the next message.
    pub(super) fn slot(self: &Arc<Self>, size: usize) -> AckSlot {
        let mut state = self.lock();
        state.results.push(None);
        state.open += 1;
        AckSlot { acks: self.clone(), index: state.results.len() - 1, size }
    }

    /// Marks the end of the call: no slot is added after this.
    pub(super) fn seal(&self) {
        self.lock().close_one();
    }

    /// Returns whether the call has ended and every message has a result.
    pub(super) fn is_complete(&self) -> bool {
        self.lock().open == 0
    }

    /// Takes the results out. A message without a result gets `Indeterminate`.
    pub(super) fn take_results(&self) -> Vec<AckResult> {
        let results = std::mem::take(&mut self.lock().results);
        let missing = || {
            Err(Error::indeterminate("the publisher was dropped before the broker acknowledged the message"))
        };
        results.into_iter().map(|result| result.unwrap_or_else(missing)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AckSlot {
    /// Stores the final result of the message.
    pub(super) fn complete(self, result: AckResult) {
        let mut state = self.acks.lock();
        if let Some(slot) = state.results.get_mut(self.index) {
            *slot = Some(result);
        }
        state.close_one();
    }
}

impl State {
    fn close_one(&mut self) {
        self.open -= 1;
        if self.open == 0
            && let Some(done) = self.done.take()
        {
            // The send fails if the caller has dropped its acknowledgements.
            let _ = done.send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn completes_when_sealed_and_every_slot_has_a_result() {
        let (acks, mut complete) = PendingAcks::new();
        let [first, second] = [acks.slot(1), acks.slot(1)];
        second.complete(Ok(Receipt::at(0, 2)));
        first.complete(Err(Error::invalid("too large")));
        assert!(complete.try_recv().is_err() && !acks.is_complete(), "not sealed yet");
        acks.seal();
        assert!(complete.try_recv().is_ok() && acks.is_complete());
        let results = acks.take_results();
        assert_eq!(results.len(), 2);
        assert!(results[0].is_err());
        assert_eq!(results[1].as_ref().unwrap().offset, Some(2));
    }

    #[test]
    fn a_message_without_a_result_is_indeterminate() {
        let (acks, _complete) = PendingAcks::new();
        let _slot = acks.slot(1);
        assert_eq!(acks.take_results()[0].as_ref().unwrap_err().kind, comms_core::ErrorKind::Indeterminate);
    }
}
