//! A response stream that is polled in the context, the span and the panic guard of its call.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use comms_core::{BoxError, Error, ErrorKind, context::Context as CallContext};
use futures::FutureExt;
use http_body::{Body, Frame};
use tonic::Status;
use tracing::Span;

use crate::status::{fixed_text, to_status};

/// The response stream of a handler that has returned.
///
/// The connection polls and drops the stream, outside the future of the handler. Without this wrapper the stream would run
/// without a context and a span, and a panic in it would reach the peer as a broken stream or end the connection.
#[pin_project::pin_project(PinnedDrop)]
pub(super) struct ContextBody<B> {
    /// `None` after the drop has begun.
    #[pin]
    inner: Option<B>,
    context: CallContext,
    span: Span,
}

impl<B> ContextBody<B> {
    pub(super) const fn new(inner: B, context: CallContext, span: Span) -> Self {
        Self { inner: Some(inner), context, span }
    }
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
        let Some(inner) = this.inner.as_mut().as_pin_mut() else { return Poll::Ready(None) };
        match run(this.context, this.span, || inner.poll_frame(cx)) {
            Ok(Some(poll)) => poll.map_err(|e| status_of_error(e.into())),
            Ok(None) => Poll::Pending,
            Err(panic) => Poll::Ready(Some(Err(status_of_panic(&*panic)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }
}

#[pin_project::pinned_drop]
impl<B> PinnedDrop for ContextBody<B> {
    fn drop(self: Pin<&mut Self>) {
        let mut this = self.project();
        if let Err(panic) = run(this.context, this.span, || this.inner.set(None)) {
            status_of_panic(&*panic);
        }
    }
}

/// Runs `work` in the context and the span of a call. The result is never `Ok(None)`, because `work` does not wait.
///
/// # Errors
/// Returns the panic of `work`.
fn run<T>(context: &CallContext, span: &Span, work: impl FnOnce() -> T) -> std::thread::Result<Option<T>> {
    let _entered = span.enter();
    // The scope covers a single poll.
    catch_unwind(AssertUnwindSafe(|| context.clone().scope(async { work() }).now_or_never()))
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::SeqCst},
    };
    use tracing::{Metadata, Subscriber, span};

    /// Counts how many spans are entered.
    #[derive(Clone, Default)]
    struct Entered(Arc<AtomicU32>);

    impl Subscriber for Entered {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }

        fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }

        fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

        fn event(&self, _: &tracing::Event<'_>) {}

        fn enter(&self, _: &span::Id) {
            self.0.fetch_add(1, SeqCst);
        }

        fn exit(&self, _: &span::Id) {
            self.0.fetch_sub(1, SeqCst);
        }
    }

    /// The correlation ids of the contexts, and the numbers of entered spans.
    type Dropped = Arc<Mutex<Vec<(Option<String>, u32)>>>;

    /// A stream whose drop notes where it happens, and panics.
    struct Stream(Entered, Dropped);

    impl Body for Stream {
        type Data = Bytes;
        type Error = BoxError;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
            Poll::Pending
        }
    }

    impl Drop for Stream {
        fn drop(&mut self) {
            let correlation = CallContext::current().correlation_id.map(|id| id.to_string());
            self.1.lock().unwrap().push((correlation, self.0.0.load(SeqCst)));
            panic!("requested by the test");
        }
    }

    #[test]
    fn a_stream_is_dropped_in_its_context_and_its_span() {
        let (entered, dropped) = (Entered::default(), Arc::default());
        // With one dispatcher alone, tracing decides once for all threads by that of the current thread.
        let _second = tracing::Dispatch::new(Entered::default());
        let _guard = tracing::subscriber::set_default(entered.clone());
        let mut context = CallContext::default();
        context.correlation_id = Some("order-7".into());
        let stream = Stream(entered, Arc::clone(&dropped));
        drop(ContextBody::new(stream, context, tracing::info_span!("serve")));
        assert_eq!(*dropped.lock().unwrap(), [(Some("order-7".to_owned()), 1)]);
    }
}
