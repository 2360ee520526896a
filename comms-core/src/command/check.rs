//! The layers that check a request before the service gets it: authorization and validation.

use pin_project_lite::pin_project;
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use tower_layer::Layer;
use tower_service::Service;

use super::{Caller, CommandRequest, FieldErrors};
use crate::Error;

/// Refuses a command unless `rule` returns `true` for its caller and the command.
///
/// A rule that depends on stored state, such as the owner of an account, belongs into the handler, where the transaction
/// protects what the rule reads.
///
/// # Errors
/// If the rule returns `false`, the service returns [`Unauthenticated`](crate::ErrorKind::Unauthenticated) for a caller
/// that is not [authenticated](Caller::is_authenticated), and [`PermissionDenied`](crate::ErrorKind::PermissionDenied)
/// for another one. Otherwise it returns the errors of the inner service.
pub fn authorize<C, F>(rule: F) -> CheckLayer<impl Fn(&CommandRequest<C>) -> Result<(), Error> + Clone>
where
    F: Fn(&Caller, &C) -> bool + Clone,
{
    CheckLayer::new(move |request: &CommandRequest<C>| {
        let CommandRequest { caller, command, .. } = request;
        match rule(caller, command) {
            true => Ok(()),
            false if caller.is_authenticated() => {
                Err(Error::permission_denied("the caller may not execute this command"))
            }
            false => Err(Error::unauthenticated("this command needs an authenticated caller")),
        }
    })
}

/// Refuses a command if `rules` adds an error of a field.
///
/// `rules` checks what the command alone decides, such as a range. What the stored state decides belongs into the
/// handler. A rule that becomes stricter also refuses the repetition of a command that was executed under the older rule.
///
/// # Errors
/// The service returns [`Invalid`](crate::ErrorKind::Invalid) with [`FieldErrors`] as its cause if a rule is violated.
/// Otherwise it returns the errors of the inner service.
pub fn validate<C, F>(rules: F) -> CheckLayer<impl Fn(&CommandRequest<C>) -> Result<(), Error> + Clone>
where
    F: Fn(&C, &mut FieldErrors) + Clone,
{
    CheckLayer::new(move |request: &CommandRequest<C>| {
        let mut errors = FieldErrors::default();
        rules(&request.command, &mut errors);
        errors.into_result()
    })
}

/// A tower layer that checks each request with a function before the inner service gets the request. [`authorize`] and
/// [`validate`] create it.
#[derive(Debug, Clone)]
pub struct CheckLayer<F> {
    check: F,
}

impl<F> CheckLayer<F> {
    /// Creates the layer. The service returns the error of `check`, without calling the inner service.
    pub const fn new(check: F) -> Self {
        Self { check }
    }
}

impl<S, F: Clone> Layer<S> for CheckLayer<F> {
    type Service = Check<S, F>;

    fn layer(&self, inner: S) -> Self::Service {
        Check { inner, check: self.check.clone() }
    }
}

/// A service whose requests are checked, created by a [`CheckLayer`].
#[derive(Debug, Clone)]
pub struct Check<S, F> {
    inner: S,
    check: F,
}

impl<S, C, F> Service<CommandRequest<C>> for Check<S, F>
where
    S: Service<CommandRequest<C>, Error = Error> + Clone,
    F: Fn(&CommandRequest<C>) -> Result<(), Error>,
{
    type Response = S::Response;
    type Error = Error;
    type Future = CheckCall<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: CommandRequest<C>) -> Self::Future {
        match (self.check)(&request) {
            Ok(()) => CheckCall { stage: Stage::Call { call: self.inner.call(request) } },
            Err(error) => {
                // Replace the ready service, so that a permit which `poll_ready` acquired is released.
                self.inner = self.inner.clone();
                CheckCall { stage: Stage::Refused { error: Some(error) } }
            }
        }
    }
}

pin_project! {
    /// The future of a [`Check`].
    #[must_use = "a call does nothing unless it is polled"]
    pub struct CheckCall<F> { #[pin] stage: Stage<F> }
}

pin_project! {
    #[project = StageProj]
    enum Stage<F> {
        Call { #[pin] call: F },
        Refused { error: Option<Error> },
    }
}

impl<F, T> Future for CheckCall<F>
where
    F: Future<Output = Result<T, Error>>,
{
    type Output = Result<T, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().stage.project() {
            StageProj::Call { call } => call.poll(cx),
            StageProj::Refused { error } => match error.take() {
                Some(error) => Poll::Ready(Err(error)),
                None => Poll::Pending,
            },
        }
    }
}
