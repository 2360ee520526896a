//! The wrapper of a handler: it records each call in the ledger, and gives the handler the names of the test.

use std::{future::pending, panic::AssertUnwindSafe, panic::resume_unwind, sync::Arc};

use futures_util::FutureExt;

use super::{
    ledger::{EntryId, Ledger},
    state::Failure,
};
use crate::{Delivery, Error, ErrorKind, Outcome, handler_fn, panic::panic_text, transport::BoxHandler};

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
        let delivery = self.with_names_of_the_test(delivery);
        let mut call =
            RunningCall { id: self.ledger.begin(&delivery), ledger: self.ledger.clone(), runs: true };
        let result = AssertUnwindSafe(self.handler.handle(delivery)).catch_unwind().await;
        let recorded = match &result {
            Ok(result) => result.as_ref().copied().map_err(Failure::of),
            Err(panic) => {
                let text = format!("internal: the handler panicked: {}", panic_text(&**panic));
                Err(Failure { kind: ErrorKind::Internal, text, retry_after: None })
            }
        };
        if call.end(recorded) {
            return pending().await;
        }
        result.unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// Replaces the names of the transport. A handler with a name of its own has it inside of this wrapper.
    fn with_names_of_the_test(&self, mut delivery: Delivery) -> Delivery {
        if *self.topic != *delivery.message.topic() {
            delivery.message = delivery.message.to(&*self.topic);
        }
        Delivery { group: self.group.clone(), handler: self.topic.clone(), ..delivery }
    }
}

/// A call that ends when it returns, or when its future is dropped.
struct RunningCall {
    ledger: Arc<Ledger>,
    id: EntryId,
    runs: bool,
}

impl RunningCall {
    /// Returns whether the process of the test crashes now.
    fn end(&mut self, result: Result<Outcome, Failure>) -> bool {
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
