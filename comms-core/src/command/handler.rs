//! The innermost service: a function of a command and a transaction.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use tower_service::Service;

use super::CommandRequest;
use crate::{Error, Scoped, UnitOfWork, in_transaction};

/// The future of a command service.
pub type CommandFuture<R> = Pin<Box<dyn Future<Output = Result<R, Error>> + Send>>;

/// Makes a tower service that executes a command with a function, in one transaction of `unit`.
///
/// The transaction commits if the function returns `Ok`, and rolls back otherwise. The function loads what it decides on
/// in the transaction that it gets, and makes no call to another service.
///
/// The service ignores an idempotency key. `CommandFn::idempotent` (feature `fingerprint`) executes each key once.
///
/// # Errors
/// The service returns the errors of [`in_transaction`].
pub const fn command_fn<U, C, F, Fut, R>(unit: U, function: F) -> CommandFn<U, F>
where
    U: UnitOfWork,
    F: Fn(CommandRequest<C>, Scoped<U::Tx>) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Result<R, Error>> + Send + 'static,
{
    CommandFn { unit, function }
}

/// A function as a command service, created by [`command_fn`]. Always ready.
#[derive(Clone)]
pub struct CommandFn<U, F> {
    pub(super) unit: U,
    pub(super) function: F,
}

impl<U, C, F, Fut, R> Service<CommandRequest<C>> for CommandFn<U, F>
where
    U: UnitOfWork,
    C: Send + 'static,
    F: Fn(CommandRequest<C>, Scoped<U::Tx>) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Result<R, Error>> + Send + 'static,
    R: Send + 'static,
{
    type Response = R;
    type Error = Error;
    type Future = CommandFuture<R>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: CommandRequest<C>) -> CommandFuture<R> {
        let Self { unit, function } = self.clone();
        Box::pin(async move { in_transaction(&unit, move |tx| function(request, tx)).await })
    }
}

impl<U: fmt::Debug, F> fmt::Debug for CommandFn<U, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommandFn").field("unit", &self.unit).finish_non_exhaustive()
    }
}
