//! The trait of an application's handlers: tower services that a consumer calls with each delivery.

use std::{
    future::Future,
    sync::Arc,
    task::{Context, Poll},
};

use tower_service::Service;

use crate::{Delivery, Error};

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

/// A tower service that takes a [`Delivery`] and returns an [`Outcome`]. An application passes its handlers to a
/// consumer.
///
/// Every service of this shape implements the trait. [`handler_fn`] makes a handler of a function, and
/// [`transactional`](crate::transactional) makes one that applies each event once. The kind of an error decides whether
/// the consumer attempts the delivery again, holds it, or dead-letters it.
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

/// A handler made of a function, returned by [`handler_fn`].
#[derive(Clone, Debug)]
pub struct HandlerFn<F>(F);

/// Makes a [`Handler`] of an async function that takes a delivery.
///
/// ```
/// use comms_core::{Delivery, Outcome, handler_fn};
/// let handler = handler_fn(|delivery: Delivery| async move {
///     println!("{}", delivery.origin);
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

/// Returns `handler` with a name, which its inbox rows contain instead of the topic.
///
/// Name a handler before it moves to another topic, and if it is subscribed to several topics with the same messages.
/// Two handlers with one name apply a message once together; two handlers with different names apply it once each. A
/// new name starts with an empty inbox. Therefore keep a name for as long as messages may be delivered again.
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
    let (name, handler) = (name.into(), BoxHandler::new(handler));
    handler_fn(move |delivery: Delivery| {
        let (name, handler) = (name.clone(), handler.clone());
        async move { handler.handle(delivery.to_handler(name)).await }
    })
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
