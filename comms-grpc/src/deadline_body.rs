//! A response body that ends at the deadline of its call.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use comms_core::clock::Sleep;
use http::HeaderMap;
use http_body::{Body, Frame};
use tonic::{Code, Status};

use crate::call_metrics::CallMetrics;

/// How a failure of the call reaches the code that reads the response body.
pub(crate) trait ReportFailure {
    /// Removes and returns the failure that `trailers` report, if the reader gets failures as errors of the body.
    /// Trailers that stay are limited in size and carry no proof that the call was not executed.
    fn take_failure(&self, trailers: &mut HeaderMap) -> Option<Status>;

    /// Returns the last item of the body, which reports `status`.
    fn last_item(&self, status: Status) -> Result<Frame<Bytes>, Status>;
}

/// Passes the frames of a response body through until its end, an error, or the deadline.
///
/// The inner body is then dropped, which ends the HTTP/2 stream or the handler behind it.
#[pin_project::pin_project]
pub(crate) struct DeadlineBody<B, R> {
    #[pin]
    inner: Option<B>,
    expiry: Pin<Box<Sleep>>,
    report: R,
    metrics: CallMetrics,
}

impl<B, R> DeadlineBody<B, R> {
    pub(crate) fn new(inner: B, expiry: Pin<Box<Sleep>>, report: R, metrics: CallMetrics) -> Self {
        Self { inner: Some(inner), expiry, report, metrics }
    }
}

impl<B, R> Body for DeadlineBody<B, R>
where
    B: Body<Data = Bytes, Error = Status>,
    R: ReportFailure,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let mut this = self.project();
        let Some(inner) = this.inner.as_mut().as_pin_mut() else { return Poll::Ready(None) };
        // The deadline is polled first, because a stream that always has a frame ready must end as well.
        let status = if this.expiry.as_mut().poll(cx).is_ready() {
            Status::deadline_exceeded("the deadline passed while the response was streamed")
        } else {
            match std::task::ready!(inner.poll_frame(cx)) {
                Some(Ok(mut frame)) => {
                    if let Some(trailers) = frame.trailers_mut() {
                        this.metrics.set_code_from(trailers);
                        if let Some(status) = this.report.take_failure(trailers) {
                            this.inner.set(None);
                            return Poll::Ready(Some(Err(status)));
                        }
                    }
                    return Poll::Ready(Some(Ok(frame)));
                }
                Some(Err(status)) => connection_failure(status),
                None => {
                    this.metrics.end_of_stream();
                    this.inner.set(None);
                    return Poll::Ready(None);
                }
            }
        };
        this.inner.set(None);
        this.metrics.set_code(status.code());
        Poll::Ready(Some(this.report.last_item(status)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }
}

/// Returns the status of a connection that failed in the middle of a response. tonic reports UNAVAILABLE, which servers
/// send for calls that they refuse, so UNKNOWN replaces it.
fn connection_failure(status: Status) -> Status {
    match status.code() {
        Code::Unavailable => Status::unknown(status.message()),
        _ => status,
    }
}
