//! The trait of an application's handlers: tower services that a consumer calls with each delivery.

mod attempt;
mod batch;
mod topic;

use std::{
    future::Future,
    sync::Arc,
    task::{Context, Poll},
};

use tower_service::Service;

use crate::{
    Delivery, Error,
    clock::Clock,
    context::{Source, TraceContext},
    telemetry as names,
};
pub use attempt::Attempt;
pub(crate) use attempt::Limited;
use attempt::Opened;
pub(crate) use batch::BatchAttempt;
pub use batch::{BatchFn, BatchHandler, BatchResults, BoxBatchHandler, batch_fn, named_batch};
pub use topic::TopicHandler;

/// The result of a delivery that a handler processed without an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The effect is committed.
    Done,
    /// An earlier delivery of the same message committed the effect; this delivery changed nothing.
    Duplicate,
    /// The message does not concern this handler, for example because it announces another event.
    Skipped,
}

impl Outcome {
    /// Returns the value of the metric label `outcome`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Duplicate => "duplicate",
            Self::Skipped => "skipped",
        }
    }
}

/// A tower service that takes a [`Delivery`] and returns an [`Outcome`].
///
/// An application passes its handlers to a consumer. [`handler_fn`] makes a handler from a function, and
/// [`transactional`](crate::transactional) makes a handler that applies each event once. The trait has no methods:
/// every `Service<Delivery, Response = Outcome, Error = Error>` that is `Clone + Send + Sync` and has a `Send` future
/// implements it.
///
/// A consumer calls the handler at least once for each message. The [kind](crate::ErrorKind) of a returned error
/// decides whether the consumer attempts the delivery again, holds the delivery, dead-letters the message, or stops the
/// process.
pub trait Handler:
    Service<Delivery, Response = Outcome, Error = Error, Future: Send + 'static> + Clone + Send + Sync + 'static
{
}

impl<S> Handler for S where
    S: Service<Delivery, Response = Outcome, Error = Error, Future: Send + 'static>
        + Clone
        + Send
        + Sync
        + 'static
{
}

/// A handler made from a function, returned by [`handler_fn`].
#[derive(Clone, Debug)]
pub struct HandlerFn<F>(F);

/// Makes a [`Handler`] from an async function that takes a delivery.
///
/// The function runs again for a redelivery of a message that it has handled, so its effect must be harmless to repeat.
/// [`transactional`](crate::transactional) makes a handler whose writes are not repeated.
///
/// ```
/// use comms_core::{Delivery, Outcome, event::{self, Event}, handler_fn};
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Paid { order: String }
/// impl Event for Paid {
///     const TYPE: &'static str = "paid";
///     const VERSION: u32 = 1;
///     fn key(&self) -> String { self.order.clone() }
/// }
///
/// let handler = handler_fn(|delivery: Delivery| async move {
///     // An unreadable payload is an `Invalid` error: the consumer dead-letters the message.
///     let Some(paid) = event::read::<Paid>(&delivery.message)? else {
///         return Ok(Outcome::Skipped); // the message announces another event
///     };
///     println!("order {} is paid (attempt {}, {})", paid.order, delivery.attempt, delivery.origin());
///     Ok(Outcome::Done)
/// });
/// # fn check(_: impl comms_core::Handler) {}
/// # check(handler);
/// ```
pub fn handler_fn<F, Fut>(function: F) -> HandlerFn<F>
where
    F: Fn(Delivery) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<Outcome, Error>> + Send + 'static,
{
    HandlerFn(function)
}

/// Returns `handler` with a name, which the inbox rows of the handler contain instead of the topic.
///
/// Name a handler before it moves to another topic, and if it is subscribed to several topics with the same messages.
/// Two handlers with the same name share their inbox rows: a message that one of them has applied is a duplicate for
/// the other. Two handlers with different names apply each message once each. A handler with a new name has applied no
/// message yet, so keep a name for as long as messages may be delivered again.
///
/// ```
/// use comms_core::{Delivery, Outcome, handler_fn, named};
/// let handler = named("stock", handler_fn(|delivery: Delivery| async move {
///     assert_eq!(&*delivery.handler, "stock");
///     Ok(Outcome::Done)
/// }));
/// # fn check(_: impl comms_core::Handler) {}
/// # check(handler);
/// ```
pub fn named(name: impl Into<Arc<str>>, handler: impl Handler) -> impl Handler {
    Named { name: name.into(), handler }
}

#[derive(Clone)]
struct Named<H> {
    name: Arc<str>,
    handler: H,
}

impl<H: Handler> Service<Delivery> for Named<H> {
    type Response = Outcome;
    type Error = Error;
    type Future = H::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.handler.poll_ready(cx)
    }

    fn call(&mut self, delivery: Delivery) -> H::Future {
        self.handler.call(delivery.to_handler(self.name.clone()))
    }
}

impl<F, Fut> Service<Delivery> for HandlerFn<F>
where
    F: Fn(Delivery) -> Fut,
    Fut: Future<Output = Result<Outcome, Error>> + Send + 'static,
{
    type Response = Outcome;
    type Error = Error;
    type Future = Fut;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, delivery: Delivery) -> Fut {
        (self.0)(delivery)
    }
}

type BoxFuture = futures_core::future::BoxFuture<'static, Result<Outcome, Error>>;

trait DynHandler: Send + Sync {
    fn run(&self, delivery: Delivery) -> BoxFuture;
    fn attempt(&self, received: Delivery, opened: Opened, clock: &Clock) -> Attempt;
}

impl<H: Handler> DynHandler for H {
    fn run(&self, delivery: Delivery) -> BoxFuture {
        // A tower service must be polled to readiness before its call, and readiness is not shared between clones.
        let mut service = self.clone();
        Box::pin(async move {
            std::future::poll_fn(|cx| service.poll_ready(cx)).await?;
            service.call(delivery).await
        })
    }

    fn attempt(&self, received: Delivery, opened: Opened, clock: &Clock) -> Attempt {
        let delivery = match opened.as_deref() {
            Some(Ok(opened)) => opened,
            _ => &received,
        };
        let source = Source::of_message(delivery.message.clone(), clock.clone());
        // With the feature `log` of tracing the macro makes the fields, and with them the context, although no subscriber
        // wants the span.
        let span = match tracing::span_enabled!(tracing::Level::INFO) {
            false => tracing::Span::none(),
            true => tracing::info_span!(
                names::PROCESS,
                { names::MESSAGING_DESTINATION_NAME } = %delivery.message.topic(),
                { names::MESSAGING_CONSUMER_GROUP_NAME } = %delivery.group,
                { names::MESSAGING_MESSAGE_ID } = %delivery.message.id(),
                { names::TRACE_ID } = source.context().and_then(|context| context.trace.as_ref()).map(TraceContext::trace_id),
            ),
        };
        Attempt::new(self, received, opened, source, span)
    }
}

/// A handler as a trait object, so that handlers of different types can be stored in one map.
#[derive(Clone)]
pub struct BoxHandler(Arc<dyn DynHandler>);

impl BoxHandler {
    /// Boxes `handler`.
    pub fn new(handler: impl Handler) -> Self {
        Self(Arc::new(handler))
    }

    /// Waits until the handler is ready and calls it with `delivery`.
    ///
    /// # Errors
    /// Returns the error of the handler, of any kind: of its readiness or of its call.
    pub async fn handle(&self, delivery: Delivery) -> Result<Outcome, Error> {
        self.0.run(delivery).await
    }

    /// Begins an attempt with the delivery `received`. The handler gets the delivery in `opened`, if there is one.
    #[inline]
    pub(crate) fn attempt(&self, received: Delivery, opened: Opened, clock: &Clock) -> Attempt {
        self.0.attempt(received, opened, clock)
    }
}

impl Service<Delivery> for BoxHandler {
    type Response = Outcome;
    type Error = Error;
    type Future = BoxFuture;

    /// Returns ready at once: each call waits for the readiness of its clone of the handler.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, delivery: Delivery) -> BoxFuture {
        self.0.run(delivery)
    }
}

impl std::fmt::Debug for BoxHandler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BoxHandler")
    }
}

#[cfg(test)]
mod tests;
