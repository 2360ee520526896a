//! The body of a request, which can be sent again up to a bound.

use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame};
use tonic::{Status, body::Body};

use super::stream::{Source, StreamBody};

/// The body of one attempt.
///
/// A body of one message is kept whole. Any other body is read while it is sent, and its beginning is recorded, so that
/// a retry sends it again.
pub(in crate::client) struct RequestBody {
    kind: Kind,
    /// Set when the connection starts to read the body. Only a body that is sent has it.
    polled: Option<Arc<AtomicBool>>,
}

enum Kind {
    /// At most one message, which is not longer than the limit.
    Whole(Option<Bytes>),
    Stream(StreamBody),
    /// The body was sent, and cannot be sent again.
    Gone,
}

impl RequestBody {
    fn new(kind: Kind) -> Self {
        Self { kind, polled: None }
    }

    /// Reads the messages of `body` that are available at once. At most `limit` bytes can be sent again.
    ///
    /// # Errors
    /// Returns the status of `body` if its first message cannot be encoded.
    pub(in crate::client) fn read(
        mut body: Body,
        limit: usize,
        cx: &mut Context<'_>,
    ) -> Result<Self, Status> {
        let mut read = Vec::new();
        while read.len() < 2 && !body.is_end_stream() {
            match Pin::new(&mut body).poll_frame(cx) {
                // A request of gRPC has no trailers.
                Poll::Ready(Some(Ok(frame))) => read.extend(frame.into_data().ok()),
                Poll::Ready(Some(Err(status))) => return Err(status),
                Poll::Ready(None) => body = Body::empty(),
                Poll::Pending => break,
            }
        }
        let kind = match read.as_slice() {
            [] if body.is_end_stream() => Kind::Whole(None),
            [only] if body.is_end_stream() && only.len() <= limit => Kind::Whole(Some(only.clone())),
            _ => Kind::Stream(StreamBody::new(Source::new(read, body, limit))),
        };
        Ok(Self::new(kind))
    }

    /// Returns whether the body is at most one message, which each of several concurrent attempts can send.
    pub(in crate::client) fn is_whole(&self) -> bool {
        matches!(self.kind, Kind::Whole(_))
    }

    /// Returns the body of a further attempt, or `None` if the beginning was longer than the limit and is gone.
    pub(in crate::client) fn replay(&self) -> Option<Self> {
        match &self.kind {
            Kind::Whole(data) => Some(Self::new(Kind::Whole(data.clone()))),
            Kind::Stream(stream) => stream.replay().map(|stream| Self::new(Kind::Stream(stream))),
            Kind::Gone => None,
        }
    }

    /// Returns the body to send. This body stays, unless it cannot be sent again.
    pub(super) fn next(&mut self) -> Self {
        let body = self.replay().unwrap_or_else(|| std::mem::replace(self, Self::new(Kind::Gone)));
        Self { polled: Some(Arc::default()), ..body }
    }

    /// Returns a flag that is set when the connection starts to read this body, which is sent.
    pub(in crate::client) fn polled(&self) -> Arc<AtomicBool> {
        self.polled.clone().unwrap_or_default()
    }
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBody").field("polled", &self.polled).finish_non_exhaustive()
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.polled.iter().for_each(|polled| polled.store(true, Relaxed));
        match &mut self.kind {
            Kind::Whole(data) => Poll::Ready(data.take().map(|data| Ok(Frame::data(data)))),
            Kind::Stream(stream) => stream.poll_next(cx).map(|next| next.map(|data| data.map(Frame::data))),
            Kind::Gone => Poll::Ready(Some(Err(Status::internal("the request body cannot be sent again")))),
        }
    }

    /// Returns `false` before the first poll. A request without a message would otherwise be sent whole with its headers,
    /// and the flag of [`polled`](Self::polled) would not show that it was sent.
    fn is_end_stream(&self) -> bool {
        let polled = self.polled.as_ref().is_some_and(|polled| polled.load(Relaxed));
        polled && matches!(self.kind, Kind::Whole(None))
    }
}
