//! Batch handlers with a name.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use tower_service::Service;

use super::{BatchHandler, BatchResults};
use crate::{Delivery, Error};

/// Returns `handler` with a name, which the inbox rows of the handler contain instead of the topic, as
/// [`named`](crate::named) does for a handler of single deliveries.
///
/// ```
/// use comms_core::{Delivery, Outcome, batch_fn, named_batch};
/// let handler = named_batch("search", batch_fn(|batch: Vec<Delivery>| async move {
///     Ok(batch.iter().map(|delivery| {
///         assert_eq!(&*delivery.handler, "search");
///         Ok(Outcome::Done)
///     }).collect())
/// }));
/// # fn check(_: impl comms_core::BatchHandler) {}
/// # check(handler);
/// ```
pub fn named_batch(name: impl Into<Arc<str>>, handler: impl BatchHandler) -> impl BatchHandler {
    Named { name: name.into(), handler }
}

#[derive(Clone)]
struct Named<H> {
    name: Arc<str>,
    handler: H,
}

impl<H: BatchHandler> Service<Vec<Delivery>> for Named<H> {
    type Response = BatchResults;
    type Error = Error;
    type Future = H::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.handler.poll_ready(cx)
    }

    fn call(&mut self, mut deliveries: Vec<Delivery>) -> H::Future {
        deliveries.iter_mut().for_each(|delivery| delivery.handler = self.name.clone());
        self.handler.call(deliveries)
    }
}
