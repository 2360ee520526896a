//! Bodies that are read into memory up to a limit.

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use comms_core::BoxError;
use http::HeaderMap;
use http_body::{Body, Frame};

/// What was read of a body.
pub(super) enum Collected<B> {
    /// The whole body, and its trailers.
    Whole(Bytes, Option<HeaderMap>),
    /// The body is longer than the limit. The second part is the body from its start.
    TooLong(Unread<B>),
}

/// Reads `body` to its end, unless it is longer than `limit` bytes.
///
/// # Errors
/// Returns the error of the body.
pub(super) async fn collect<B>(mut body: B, limit: usize) -> Result<Collected<B>, BoxError>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    let (mut chunks, mut length, mut trailers) = (VecDeque::new(), 0_usize, None);
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        match frame.map_err(Into::into)?.into_data() {
            Ok(data) => {
                length = length.saturating_add(data.len());
                chunks.push_back(data);
                if length > limit {
                    return Ok(Collected::TooLong(Unread { chunks, rest: body }));
                }
            }
            Err(frame) => {
                trailers = frame.into_trailers().ok();
                break;
            }
        }
    }
    let mut whole = BytesMut::with_capacity(length);
    chunks.iter().for_each(|chunk| whole.extend_from_slice(chunk));
    Ok(Collected::Whole(whole.freeze(), trailers))
}

/// A body of which some chunks were read: returns these chunks first.
pub(super) struct Unread<B> {
    chunks: VecDeque<Bytes>,
    rest: B,
}

impl<B> Body for Unread<B>
where
    B: Body<Data = Bytes> + Unpin,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.chunks.pop_front() {
            Some(chunk) => Poll::Ready(Some(Ok(Frame::data(chunk)))),
            None => Pin::new(&mut self.rest).poll_frame(cx),
        }
    }
}

/// A body of one chunk, which may be empty, and trailers.
pub(super) struct Stored {
    data: Option<Bytes>,
    trailers: Option<HeaderMap>,
}

impl Stored {
    pub(super) fn new(data: Bytes, trailers: Option<HeaderMap>) -> Self {
        Self { data: (!data.is_empty()).then_some(data), trailers }
    }
}

impl Body for Stored {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let data = self.data.take().map(Frame::data);
        Poll::Ready(data.or_else(|| self.trailers.take().map(Frame::trailers)).map(Ok))
    }
}
