//! The wrapper of a handler: it records each call in the ledger, and gives the handler the names of the test.

use std::{future::pending, panic::AssertUnwindSafe, panic::resume_unwind, sync::Arc};

use futures_util::FutureExt;

use super::ledger::{EntryId, Ledger};
use crate::{Delivery, Error, Outcome, handler_fn, panic::panic_text, transport::BoxHandler};

/// The handler of a topic, with the names of the test.
#[derive(Clone)]
pub(super) struct Recorder {
    pub(super) ledger: Arc<Ledger>,
    pub(super) group: Arc<str>,
    pub(super) topic: Arc<str>,
    pub(super) handler: BoxHandler,
}

impl Recorder {
    pub(super) fn into_handler(self) -> BoxHandler {
        BoxHandler::new(handler_fn(move |delivery| self.clone().call(delivery)))
    }

    async fn call(self, delivery: Delivery) -> Result<Outcome, Error> {
        let delivery = renamed(delivery, &self.group, &self.topic);
        let mut call =
            RunningCall { id: self.ledger.begin(&delivery), ledger: self.ledger.clone(), runs: true };
        let result = AssertUnwindSafe(self.handler.handle(delivery)).catch_unwind().await;
        let panicked;
        let recorded = match &result {
            Ok(Ok(outcome)) => Ok(*outcome),
            Ok(Err(error)) => Err(error),
            Err(panic) => {
                panicked = Error::internal(format!("the handler panicked: {}", panic_text(&**panic)));
                Err(&panicked)
            }
        };
        if call.end(recorded) {
            return pending().await;
        }
        result.unwrap_or_else(|panic| resume_unwind(panic))
    }
}

/// Replaces the names of the transport by those of the test. A handler with a name of its own has it inside of the
/// wrapper.
pub(super) fn renamed(mut delivery: Delivery, group: &Arc<str>, topic: &Arc<str>) -> Delivery {
    if **topic != *delivery.message.topic() {
        delivery.message = delivery.message.to(&**topic);
    }
    Delivery { group: group.clone(), handler: topic.clone(), ..delivery }
}

/// A call that ends when it returns, or when its future is dropped.
struct RunningCall {
    ledger: Arc<Ledger>,
    id: EntryId,
    runs: bool,
}

impl RunningCall {
    /// Returns whether the process of the test crashes now.
    fn end(&mut self, result: Result<Outcome, &Error>) -> bool {
        self.runs = false;
        self.ledger.end(self.id, result)
    }
}

impl Drop for RunningCall {
    fn drop(&mut self) {
        if self.runs {
            self.ledger.dropped(self.id);
        }
    }
}
