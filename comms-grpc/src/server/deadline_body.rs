//! A response body that ends at the deadline of its call.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};
use tonic::{Code, Status};

use super::{call_metrics::CallMetrics, response::remove_proof};
use crate::deadline_timer::DeadlineTimer;

/// Passes the frames of a response body through until its end, an error, or the deadline. A failure in the middle of a
/// response is sent in trailers, without a proof, because the handler has run.
///
/// The inner body is then dropped, which ends the handler behind it.
#[pin_project::pin_project]
pub(super) struct DeadlineBody<B> {
    #[pin]
    inner: Option<B>,
    timer: DeadlineTimer,
    metrics: CallMetrics,
}

impl<B> DeadlineBody<B> {
    pub(super) const fn new(inner: B, timer: DeadlineTimer, metrics: CallMetrics) -> Self {
        Self { inner: Some(inner), timer, metrics }
    }
}

impl<B> Body for DeadlineBody<B>
where
    B: Body<Data = Bytes, Error = Status>,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let mut this = self.project();
        let Some(inner) = this.inner.as_mut().as_pin_mut() else { return Poll::Ready(None) };
        // The deadline is checked first, because a stream that always has a frame ready must end as well.
        let frame = if this.timer.has_passed() {
            Some(Err(late()))
        } else {
            match inner.poll_frame(cx) {
                Poll::Ready(frame) => frame,
                Poll::Pending => {
                    ready!(this.timer.poll(cx));
                    Some(Err(late()))
                }
            }
        };
        match frame {
            Some(Ok(mut frame)) => {
                if let Some(trailers) = frame.trailers_mut() {
                    this.metrics.set_code_from(trailers);
                    remove_proof(trailers);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(status)) => {
                let status = connection_failure(status);
                this.inner.set(None);
                this.metrics.set_code(status.code());
                Poll::Ready(Some(trailers_of(&status)))
            }
            None => {
                this.metrics.end_of_stream();
                this.inner.set(None);
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }
}

fn late() -> Status {
    Status::deadline_exceeded("the deadline passed while the response was streamed")
}

/// Returns the trailers that report `status`.
fn trailers_of(status: &Status) -> Result<Frame<Bytes>, Status> {
    let mut trailers = HeaderMap::new();
    status.add_header(&mut trailers)?;
    remove_proof(&mut trailers);
    Ok(Frame::trailers(trailers))
}

/// Returns the status of a connection that failed in the middle of a response. tonic reports UNAVAILABLE, which servers
/// send for calls that they refuse, so UNKNOWN replaces it.
fn connection_failure(status: Status) -> Status {
    match status.code() {
        Code::Unavailable => Status::unknown(status.message()),
        _ => status,
    }
}
