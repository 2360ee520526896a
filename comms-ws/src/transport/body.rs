//! The body of a response of the hub.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::Frame;

use super::sse::EventStream;

/// The body of a response of [`Hub::accept`](crate::Hub::accept). axum and hyper send it as it is.
#[derive(Debug)]
pub struct Body(Content);

#[derive(Debug)]
enum Content {
    Full(Bytes),
    Events(Box<EventStream>),
}

impl Body {
    pub(crate) fn full(bytes: Bytes) -> Self {
        Self(Content::Full(bytes))
    }

    pub(crate) fn events(stream: EventStream) -> Self {
        Self(Content::Events(Box::new(stream)))
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::full(Bytes::new())
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut self.0 {
            Content::Full(bytes) if bytes.is_empty() => Poll::Ready(None),
            Content::Full(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Content::Events(stream) => {
                stream.poll_events(cx).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.0, Content::Full(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> http_body::SizeHint {
        match &self.0 {
            Content::Full(bytes) => http_body::SizeHint::with_exact(bytes.len() as u64),
            Content::Events(_) => http_body::SizeHint::default(),
        }
    }
}
