//! A response stream that is polled in the context, the span and the panic guard of its call.

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

use crate::status::{fixed_text, to_status};

/// The response stream of a handler that has returned.
///
/// The connection polls the stream, outside the future of the handler. Without this wrapper the stream would run
/// without a context, and a panic in it would reach the peer as a broken stream.
#[pin_project::pin_project]
pub(super) struct ContextBody<B> {
    #[pin]
    pub(super) inner: B,
    pub(super) context: CallContext,
    pub(super) span: Span,
}

impl<B> Body for ContextBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let mut this = self.project();
        let _entered = this.span.enter();
        // The scope covers a single poll. The future inside is therefore always ready, with the result of the poll.
        let poll = std::future::poll_fn(|cx| Poll::Ready(this.inner.as_mut().poll_frame(cx)));
        let scoped = pin!(this.context.clone().scope(poll));
        match catch_unwind(AssertUnwindSafe(|| scoped.poll(cx))) {
            Ok(Poll::Ready(poll)) => poll.map_err(|e| status_of_error(e.into())),
            Ok(Poll::Pending) => Poll::Pending,
            Err(panic) => Poll::Ready(Some(Err(status_of_panic(&*panic)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }
}

/// Returns the status of a handler that panicked. The message of the panic is only logged.
pub(super) fn status_of_panic(panic: &(dyn std::any::Any + Send)) -> Status {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
    tracing::error!(panic = text, "a gRPC handler panicked");
    Status::internal(fixed_text(ErrorKind::Internal))
}

/// Returns the status of an error of a response stream, or of a layer between the server layer and the handler.
pub(super) fn status_of_error(error: BoxError) -> Status {
    match error.downcast::<Error>() {
        Ok(error) => to_status(&error),
        Err(error) => status_of_foreign_error(error),
    }
}

/// Returns the status that tonic derives from the type of `error`. An error of a type that tonic does not support is
/// INTERNAL, and its text is only logged.
fn status_of_foreign_error(error: BoxError) -> Status {
    let text = error.to_string();
    match Status::try_from_error(error) {
        Ok(status) => status,
        Err(_) => {
            tracing::error!(
                error = text,
                "gRPC call failed with an error of an unknown type; the caller gets INTERNAL"
            );
            Status::internal(fixed_text(ErrorKind::Internal))
        }
    }
}
