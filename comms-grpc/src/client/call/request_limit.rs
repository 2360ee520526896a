//! The longest message of a request.

use std::{
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use comms_core::ErrorKind;
use http::Request;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tonic::{Status, body::Body};

use crate::{evidence::Evidence, message_frames::MessageFrames};

/// Remembers that the request of a call exceeded the limit, because the failure of a request body reaches the call as the
/// end of its stream, without the reason. `None` without a limit.
#[derive(Debug)]
pub(super) struct RequestLimit(Option<Arc<OnceLock<Status>>>);

impl RequestLimit {
    /// Limits the messages of `request` to `limit` bytes.
    pub(super) fn apply(request: Request<Body>, limit: Option<usize>) -> (Request<Body>, Self) {
        let Some(limit) = limit else { return (request, Self(None)) };
        let exceeded = Arc::<OnceLock<Status>>::default();
        let remembered = Self(Some(exceeded.clone()));
        let body = |inner| Body::new(LimitedBody { inner, frames: MessageFrames::new(limit), exceeded });
        (request.map(body), remembered)
    }

    /// Returns the status of a request that failed before anything was sent.
    pub(super) fn unsent(&self, status: Status) -> Status {
        match self.exceeded() {
            Some(status) => Evidence::attach(status.clone(), ErrorKind::Invalid),
            None => status,
        }
    }

    /// Returns the reason for `status` if the request exceeded the limit.
    pub(super) fn explain(&self, status: Status) -> Status {
        self.exceeded().cloned().unwrap_or(status)
    }

    fn exceeded(&self) -> Option<&Status> {
        self.0.as_ref()?.get()
    }
}

/// A request body that fails at a message over the limit.
struct LimitedBody {
    inner: Body,
    frames: MessageFrames,
    exceeded: Arc<OnceLock<Status>>,
}

impl HttpBody for LimitedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        let data = frame.as_ref().and_then(|frame| frame.as_ref().ok()).and_then(Frame::data_ref);
        let Some(Err(status)) = data.cloned().map(|data| self.frames.read(&data)) else {
            return Poll::Ready(frame);
        };
        let _ = self.exceeded.set(status.clone());
        Poll::Ready(Some(Err(status)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
