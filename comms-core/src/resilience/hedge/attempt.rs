//! One attempt: waits until a clone of the service is ready, then calls it.

use pin_project_lite::pin_project;
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tower_service::Service;

pin_project! {
    #[project = AttemptProj]
    pub(super) enum Attempt<S, R>
    where
        S: Service<R>,
    {
        Ready { service: S, request: Option<R> },
        Running { #[pin] future: S::Future },
    }
}

impl<S: Service<R>, R> Attempt<S, R> {
    pub(super) const fn new(service: S, request: R) -> Self {
        Self::Ready { service, request: Some(request) }
    }
}

impl<S: Service<R>, R> Future for Attempt<S, R> {
    type Output = Result<S::Response, S::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let future = match self.as_mut().project() {
                AttemptProj::Running { future } => return future.poll(cx),
                AttemptProj::Ready { service, request } => {
                    if let Err(error) = ready!(service.poll_ready(cx)) {
                        return Poll::Ready(Err(error));
                    }
                    // Always present: it is taken once.
                    let Some(request) = request.take() else { return Poll::Pending };
                    service.call(request)
                }
            };
            self.set(Self::Running { future });
        }
    }
}
