//! A response stream that runs in the context, the span and the panic guard of its call.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    task::{Context, Poll},
};

use bytes::Bytes;
use comms_core::{BoxError, Error, ErrorKind, context::Context as CallContext};
use http_body::{Body, Frame};
use tonic::Status;
use tracing::Span;

use crate::{status::fixed_text, to_status};

/// The stream behind a handler that has answered is polled by the connection, outside the handler's future:
/// without this it would see no context, and a panic in it would reach the peer as a broken stream.
#[pin_project::pin_project]
pub(super) struct ScopedBody<B> {
    #[pin]
    pub(super) inner: B,
    pub(super) context: CallContext,
    pub(super) span: Span,
}

impl<B> Body for ScopedBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let mut this = self.project();
        let _entered = this.span.enter();
        // One poll inside the scope, whatever its answer.
        let poll = std::future::poll_fn(|cx| Poll::Ready(this.inner.as_mut().poll_frame(cx)));
        let scoped = pin!(this.context.clone().scope(poll));
        match catch_unwind(AssertUnwindSafe(|| scoped.poll(cx))) {
            Ok(Poll::Ready(poll)) => poll.map_err(|e| failed(e.into())),
            Ok(Poll::Pending) => Poll::Pending,
            Err(panic) => Poll::Ready(Some(Err(panicked(&*panic)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }
}

/// The status of a handler that panicked. The text of the panic goes to the log only.
pub(super) fn panicked(panic: &(dyn std::any::Any + Send)) -> Status {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
    tracing::error!(panic = text, "a gRPC handler panicked");
    Status::internal(fixed_text(ErrorKind::Internal))
}

/// The status of an error that is not a response: of a layer between the server layer and the handler, or of a
/// response stream.
pub(super) fn failed(error: BoxError) -> Status {
    match error.downcast::<Error>() {
        Ok(error) => to_status(&error),
        Err(error) => anonymous(error),
    }
}

/// tonic knows some errors by their type. The text of the others is for the log.
fn anonymous(error: BoxError) -> Status {
    let text = error.to_string();
    match Status::try_from_error(error) {
        Ok(status) => status,
        Err(_) => {
            tracing::error!(error = text, "a gRPC call fails");
            Status::internal(fixed_text(ErrorKind::Internal))
        }
    }
}
