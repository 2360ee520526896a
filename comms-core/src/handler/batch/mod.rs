//! Handlers that take several deliveries at once.

mod alone;
mod attempt;
mod named;

use std::{
    future::Future,
    sync::Arc,
    task::{Context, Poll},
};

use futures_core::future::BoxFuture;
use tower_service::Service;

use super::BoxHandler;
use crate::{Delivery, Error, Outcome, telemetry as names};
use alone::Alone;
pub(crate) use attempt::BatchAttempt;
use attempt::counted;
pub use named::named_batch;

/// A tower service that takes several [`Delivery`]s and returns a result for each.
///
/// An application passes a batch handler to a consumer instead of a [`Handler`](crate::Handler), to write the effects of
/// many messages with one statement or one call. [`batch_fn`] makes a batch handler from a function, and
/// [`transactional_batch`](crate::transactional_batch) makes one that applies each event once, in one transaction for
/// the whole batch. The trait has no methods: every matching service implements it.
///
/// The deliveries of a batch have one topic and one partition, and are in order. They may have different keys. The
/// handler is called in the context of no message; only a delivery that is attempted alone runs in its own context. The
/// response has one result for each delivery, in their order:
/// - `Ok` completes the delivery.
/// - `Err` is the failed attempt of this delivery. The consumer calls the handler again with this delivery alone, and
///   retries, holds or dead-letters it as it does for a [`Handler`](crate::Handler). Later deliveries of the same key
///   must be errors as well, or they would overtake this one: the consumer ignores their errors, and calls the handler
///   with them after this delivery.
///
/// If the service itself fails, panics or exceeds its time limit, the whole batch has failed. An error whose cause is
/// outside the messages ([`Hold`](crate::transport::Disposition::Hold)) repeats the whole batch. After any other error
/// the consumer calls the handler again with each delivery alone.
pub trait BatchHandler:
    Service<Vec<Delivery>, Response = BatchResults, Error = Error, Future: Send + 'static>
    + Clone
    + Send
    + Sync
    + 'static
{
}

/// The results of a batch: one for each delivery, in their order.
pub type BatchResults = Vec<Result<Outcome, Error>>;

impl<S> BatchHandler for S where
    S: Service<Vec<Delivery>, Response = BatchResults, Error = Error, Future: Send + 'static>
        + Clone
        + Send
        + Sync
        + 'static
{
}

/// A batch handler made from a function, returned by [`batch_fn`].
#[derive(Clone, Debug)]
pub struct BatchFn<F>(F);

/// Makes a [`BatchHandler`] from an async function that takes the deliveries of a batch.
///
/// ```
/// use comms_core::{Delivery, Outcome, batch_fn};
/// let handler = batch_fn(|batch: Vec<Delivery>| async move {
///     println!("index {} documents with one call", batch.len());
///     Ok(batch.iter().map(|_| Ok(Outcome::Done)).collect())
/// });
/// # fn check(_: impl comms_core::BatchHandler) {}
/// # check(handler);
/// ```
pub fn batch_fn<F, Fut>(function: F) -> BatchFn<F>
where
    F: Fn(Vec<Delivery>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<BatchResults, Error>> + Send + 'static,
{
    BatchFn(function)
}

impl<F, Fut> Service<Vec<Delivery>> for BatchFn<F>
where
    F: Fn(Vec<Delivery>) -> Fut,
    Fut: Future<Output = Result<BatchResults, Error>> + Send + 'static,
{
    type Response = BatchResults;
    type Error = Error;
    type Future = Fut;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, deliveries: Vec<Delivery>) -> Fut {
        (self.0)(deliveries)
    }
}

trait DynBatchHandler: Send + Sync {
    fn run(&self, deliveries: Vec<Delivery>) -> BoxFuture<'static, Result<BatchResults, Error>>;
    fn attempt(&self, deliveries: Vec<Delivery>) -> BatchAttempt;
    fn alone(&self) -> BoxHandler;
}

impl<H: BatchHandler> DynBatchHandler for H {
    fn run(&self, deliveries: Vec<Delivery>) -> BoxFuture<'static, Result<BatchResults, Error>> {
        // A tower service must be polled to readiness before its call, and readiness is not shared between clones.
        let mut service = self.clone();
        Box::pin(async move {
            std::future::poll_fn(|cx| service.poll_ready(cx)).await?;
            let sent = deliveries.len();
            counted(service.call(deliveries).await?, sent)
        })
    }

    fn attempt(&self, deliveries: Vec<Delivery>) -> BatchAttempt {
        let first = deliveries.first();
        let span = tracing::info_span!(
            names::PROCESS,
            { names::MESSAGING_DESTINATION_NAME } = first.map(|delivery| delivery.message.topic()),
            { names::MESSAGING_CONSUMER_GROUP_NAME } = first.map(|delivery| &*delivery.group),
            { names::MESSAGING_BATCH_MESSAGE_COUNT } = deliveries.len(),
        );
        BatchAttempt::new(self, deliveries, span)
    }

    fn alone(&self) -> BoxHandler {
        BoxHandler::new(Alone(self.clone()))
    }
}

/// A batch handler as a trait object, so that batch handlers of different types can be stored in one map.
#[derive(Clone)]
pub struct BoxBatchHandler(Arc<dyn DynBatchHandler>);

impl BoxBatchHandler {
    /// Boxes `handler`.
    pub fn new(handler: impl BatchHandler) -> Self {
        Self(Arc::new(handler))
    }

    /// Waits until the handler is ready and calls it with `deliveries`.
    ///
    /// # Errors
    /// Returns the error of the handler's readiness or of its call, and [`Internal`](crate::ErrorKind::Internal) if the
    /// handler did not return one result for each delivery.
    pub async fn handle(&self, deliveries: Vec<Delivery>) -> Result<BatchResults, Error> {
        self.0.run(deliveries).await
    }

    /// Begins a call with `deliveries`.
    pub(crate) fn attempt(&self, deliveries: Vec<Delivery>) -> BatchAttempt {
        self.0.attempt(deliveries)
    }

    /// Returns the handler that calls this one with each delivery alone.
    pub(crate) fn alone(&self) -> BoxHandler {
        self.0.alone()
    }
}

impl Service<Vec<Delivery>> for BoxBatchHandler {
    type Response = BatchResults;
    type Error = Error;
    type Future = BoxFuture<'static, Result<BatchResults, Error>>;

    /// Returns ready at once: each call waits for the readiness of its clone of the handler.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, deliveries: Vec<Delivery>) -> Self::Future {
        self.0.run(deliveries)
    }
}

impl std::fmt::Debug for BoxBatchHandler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BoxBatchHandler")
    }
}
