//! The acknowledgements of one hand-over, completed by delivery reports in any order.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

use comms_core::{Error, transport::Receipt};

type Answer = Result<Receipt, Error>;

/// One hand-over. It completes when it is sealed and every message has its answer.
#[derive(Debug)]
pub(super) struct Batch(Mutex<State>);

#[derive(Debug)]
struct State {
    answers: Vec<Option<Answer>>,
    /// Messages without an answer, and one for the hand-over itself while it goes on.
    open: usize,
    done: Option<oneshot::Sender<()>>,
}

/// The place of a message in its batch.
#[derive(Debug)]
pub(super) struct Slot {
    batch: Arc<Batch>,
    index: usize,
    /// Bytes that the message takes of the publisher's bound.
    pub(super) size: usize,
}

impl Batch {
    /// An empty batch, and a receiver that resolves when the batch is complete.
    pub(super) fn new() -> (Arc<Self>, oneshot::Receiver<()>) {
        let (done, complete) = oneshot::channel();
        let state = State { answers: Vec::new(), open: 1, done: Some(done) };
        (Arc::new(Self(Mutex::new(state))), complete)
    }

    /// The next place.
    pub(super) fn slot(self: &Arc<Self>, size: usize) -> Slot {
        let mut state = self.lock();
        state.answers.push(None);
        state.open += 1;
        Slot { batch: self.clone(), index: state.answers.len() - 1, size }
    }

    /// Ends the hand-over: no message is added any more.
    pub(super) fn seal(&self) {
        self.lock().close_one();
    }

    /// Whether every message has its answer.
    pub(super) fn is_complete(&self) -> bool {
        self.lock().open == 0
    }

    /// The answers; `Indeterminate` where there is none.
    pub(super) fn answers(&self) -> Vec<Answer> {
        let answers = std::mem::take(&mut self.lock().answers);
        let gone = || Err(Error::indeterminate("the publisher was dropped before the broker answered"));
        answers.into_iter().map(|answer| answer.unwrap_or_else(gone)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    /// Gives the message its answer.
    pub(super) fn answer(self, answer: Answer) {
        let mut state = self.batch.lock();
        if let Some(place) = state.answers.get_mut(self.index) {
            *place = Some(answer);
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
            // Fails where the caller has dropped its acknowledgements.
            let _ = done.send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn completes_when_sealed_and_answered_in_any_order() {
        let (batch, mut complete) = Batch::new();
        let [first, second] = [batch.slot(1), batch.slot(1)];
        second.answer(Ok(Receipt::at(0, 2)));
        first.answer(Err(Error::invalid("too large")));
        assert!(complete.try_recv().is_err() && !batch.is_complete(), "not sealed yet");
        batch.seal();
        assert!(complete.try_recv().is_ok() && batch.is_complete());
        let answers = batch.answers();
        assert_eq!(answers.len(), 2);
        assert!(answers[0].is_err());
        assert_eq!(answers[1].as_ref().unwrap().offset, Some(2));
    }

    #[test]
    fn a_message_without_an_answer_is_indeterminate() {
        let (batch, _complete) = Batch::new();
        let _slot = batch.slot(1);
        assert_eq!(batch.answers()[0].as_ref().unwrap_err().kind, comms_core::ErrorKind::Indeterminate);
    }
}
