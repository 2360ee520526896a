//! The seam to the application: a consumer drives a tower service of deliveries.

use std::{
    future::Future,
    sync::Arc,
    task::{Context, Poll},
};

use tower_service::Service;

use crate::{Delivery, Error};

/// How a delivery ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Its effect is committed.
    Done,
    /// Its effect had been committed by an earlier delivery; nothing was done again.
    Duplicate,
    /// It does not concern this handler.
    Skipped,
}

impl Outcome {
    /// The value of the `outcome` label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Duplicate => "duplicate",
            Self::Skipped => "skipped",
        }
    }
}

/// What a consumer drives: any tower service of deliveries. Implemented for all that fit.
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

/// A handler made of a function, see [`handler_fn`].
#[derive(Clone, Debug)]
pub struct HandlerFn<F>(F);

/// Makes a [`Handler`] of an async function of a delivery.
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

/// Gives `handler` a name of its own, which its inbox rows carry instead of the topic.
///
/// Name a handler before it is subscribed to another topic than before, or to several topics that carry the same
/// messages: under one name a message is applied once, under two names once each. A name is kept for as long as
/// messages may come again; a new name begins with an empty inbox.
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
        // A clone is fresh: it is driven to readiness before it is called, as tower demands.
        let mut service = self.clone();
        Box::pin(async move {
            std::future::poll_fn(|cx| service.poll_ready(cx)).await?;
            service.call(delivery).await
        })
    }
}

/// Any handler behind one type: what a map from topic to handler holds.
#[derive(Clone)]
pub struct BoxHandler(Arc<dyn Erased>);

impl BoxHandler {
    /// Erases the type of `handler`.
    pub fn new(handler: impl Handler) -> Self {
        Self(Arc::new(handler))
    }

    /// Waits until the handler is ready and runs it.
    ///
    /// # Errors
    /// The handler's.
    pub async fn handle(&self, delivery: Delivery) -> Result<Outcome, Error> {
        self.0.run(delivery).await
    }
}

impl Service<Delivery> for BoxHandler {
    type Response = Outcome;
    type Error = Error;
    type Future = BoxFuture;

    /// Readiness is waited for inside the call: each call drives a clone of its own.
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
