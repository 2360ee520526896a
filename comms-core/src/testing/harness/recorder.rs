//! The wrapper of a handler: it records each call in the ledger, and gives the handler the names of the test.

use std::{
    future::{Future, pending},
    panic::AssertUnwindSafe,
    panic::resume_unwind,
    sync::Arc,
};

use futures_util::FutureExt;

use super::ledger::{EntryId, Ledger};
use crate::{
    BatchResults, Delivery, Error, batch_fn, handler_fn,
    panic::panic_text,
    transport::{BoxBatchHandler, BoxHandler, TopicHandler},
};

/// Records the calls of the handler of a topic, with the names of the test.
#[derive(Clone)]
pub(super) struct Recorder {
    pub(super) ledger: Arc<Ledger>,
    pub(super) group: Arc<str>,
    pub(super) topic: Arc<str>,
}

impl Recorder {
    /// Returns `handler` with its calls recorded.
    pub(super) fn wrap(self, handler: TopicHandler) -> TopicHandler {
        match handler {
            TopicHandler::Single(handler) => BoxHandler::new(handler_fn(move |delivery| {
                let (recorder, handler) = (self.clone(), handler.clone());
                async move {
                    let delivery = renamed(delivery, &recorder.group, &recorder.topic);
                    let call = async { Ok(vec![handler.handle(delivery.clone()).await]) };
                    let result = recorder.record(std::slice::from_ref(&delivery), call).await?.pop();
                    result.unwrap_or_else(|| Err(Error::internal("a call without a result")))
                }
            }))
            .into(),
            TopicHandler::Batch(handler) => BoxBatchHandler::new(batch_fn(move |batch: Vec<Delivery>| {
                let (recorder, handler) = (self.clone(), handler.clone());
                async move {
                    let names = |delivery| renamed(delivery, &recorder.group, &recorder.topic);
                    let batch: Vec<_> = batch.into_iter().map(names).collect();
                    recorder.record(&batch, handler.handle(batch.clone())).await
                }
            }))
            .into(),
        }
    }

    async fn record(
        &self,
        deliveries: &[Delivery],
        call: impl Future<Output = Result<BatchResults, Error>>,
    ) -> Result<BatchResults, Error> {
        let ids = self.ledger.begin(deliveries);
        let mut running = RunningCall { ids, ledger: self.ledger.clone(), runs: true };
        let result = AssertUnwindSafe(call).catch_unwind().await;
        let panicked;
        let recorded = match &result {
            Ok(Ok(results)) => Ok(results),
            Ok(Err(error)) => Err(error),
            Err(panic) => {
                panicked = Error::internal(format!("the handler panicked: {}", panic_text(&**panic)));
                Err(&panicked)
            }
        };
        if running.end(recorded) {
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
    ids: Vec<EntryId>,
    runs: bool,
}

impl RunningCall {
    /// Returns whether the process of the test crashes now.
    fn end(&mut self, result: Result<&BatchResults, &Error>) -> bool {
        self.runs = false;
        self.ledger.end(&self.ids, result)
    }
}

impl Drop for RunningCall {
    fn drop(&mut self) {
        if self.runs {
            self.ledger.dropped(&self.ids);
        }
    }
}
