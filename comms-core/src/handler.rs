//! The trait of an application's handlers: a consumer calls a tower service with each delivery.

use std::{
    future::Future,
    sync::Arc,
    task::{Context, Poll},
};

use tower_service::Service;

use crate::{Delivery, Error};

/// How a handler settled a delivery without an error.
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

/// A tower service that takes a [`Delivery`] and returns an [`Outcome`]: what an application gives to a consumer.
///
/// Every service of this shape implements it; [`handler_fn`] makes one of a function, and
/// [`transactional`](crate::transactional) one that applies each event once. An error tells the consumer by its kind
/// whether to attempt the delivery again, to hold it, or to write it to the dead letters.
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

/// A handler made of a function; returned by [`handler_fn`].
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

/// Names `handler`: its inbox rows carry the name instead of the topic.
///
/// Name a handler before it moves to another topic, and if it is subscribed to several topics that carry the same
/// messages. Under one name a message is applied once; under two names it is applied once by each. A new name begins with
/// an empty inbox, so keep a name for as long as messages may be delivered again.
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

trait Erased: Send + Sync {
    fn run(&self, delivery: Delivery) -> BoxFuture;
}

impl<H: Handler> Erased for H {
    fn run(&self, delivery: Delivery) -> BoxFuture {
        // tower demands that the clone which is called was polled to readiness itself.
        let mut service = self.clone();
        Box::pin(async move {
            std::future::poll_fn(|cx| service.poll_ready(cx)).await?;
            service.call(delivery).await
        })
    }
}

/// A handler behind a trait object, so that handlers of different types fit in one map.
#[derive(Clone)]
pub struct BoxHandler(Arc<dyn Erased>);

impl BoxHandler {
    /// Boxes `handler`.
    pub fn new(handler: impl Handler) -> Self {
        Self(Arc::new(handler))
    }

    /// Waits until the handler is ready and calls it with `delivery`.
    ///
    /// # Errors
    /// Returns the error of the handler.
    pub async fn handle(&self, delivery: Delivery) -> Result<Outcome, Error> {
        self.0.run(delivery).await
    }
}

impl Service<Delivery> for BoxHandler {
    type Response = Outcome;
    type Error = Error;
    type Future = BoxFuture;

    /// Always ready: the call waits for the readiness of its own clone of the handler.
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
