//! The body of a request, which can be sent again up to a bound.

use std::{
    fmt,
    pin::Pin,
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
pub(in crate::client) struct RequestBody(Kind);

enum Kind {
    /// At most one message, which is not longer than the limit.
    Whole(Option<Bytes>),
    Stream(StreamBody),
    /// The body was sent, and cannot be sent again.
    Gone,
}

impl RequestBody {
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
        Ok(Self(kind))
    }

    /// Returns whether the body is at most one message, which each of several concurrent attempts can send.
    pub(in crate::client) const fn is_whole(&self) -> bool {
        matches!(self.0, Kind::Whole(_))
    }

    /// Returns the message of a body that is kept whole, if it has one, or else the body.
    pub(in crate::client) fn into_whole(self) -> Result<Option<Bytes>, Self> {
        match self.0 {
            Kind::Whole(message) => Ok(message),
            kind => Err(Self(kind)),
        }
    }

    /// Returns the body of a further attempt, or `None` if the beginning was longer than the limit and is gone.
    pub(in crate::client) fn replay(&self) -> Option<Self> {
        match &self.0 {
            Kind::Whole(data) => Some(Self(Kind::Whole(data.clone()))),
            Kind::Stream(stream) => stream.replay().map(|stream| Self(Kind::Stream(stream))),
            Kind::Gone => None,
        }
    }

    /// Returns the body to send. This body stays, unless it cannot be sent again.
    pub(super) fn next(&mut self) -> Self {
        self.replay().unwrap_or_else(|| std::mem::replace(self, Self(Kind::Gone)))
    }
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBody").finish_non_exhaustive()
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match &mut self.0 {
            Kind::Whole(data) => Poll::Ready(data.take().map(|data| Ok(Frame::data(data)))),
            Kind::Stream(stream) => stream.poll_next(cx).map(|next| next.map(|data| data.map(Frame::data))),
            Kind::Gone => Poll::Ready(Some(Err(Status::internal("the request body cannot be sent again")))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.0, Kind::Whole(None))
    }
}
