//! A problem body for what hyper refuses by itself.
//!
//! A request whose head hyper cannot read reaches no service: hyper answers 400, 414 or 431 without a body, and closes. There
//! is no hook for it, so the response is replaced where it is written to the connection. It is recognised by a status of these
//! three, an empty body, and no `trace-id`: the services of such a listener set `trace-id` on every response.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context as Task, Poll, ready},
};

use comms_core::{clock::Clock, context::Context};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection on which hyper's own refusals are problem details.
pub(super) struct HyperRefusals<T> {
    inner: T,
    /// `None`: hyper's responses stay as they are.
    clock: Option<Clock>,
    /// Written in the place of hyper's answer, and how much of it has been.
    answer: Option<(Vec<u8>, usize)>,
}

impl<T> HyperRefusals<T> {
    /// `connection`, whose refused requests get trace ids of `clock`. Without a clock nothing is replaced.
    pub(super) const fn new(connection: T, clock: Option<Clock>) -> Self {
        Self { inner: connection, clock, answer: None }
    }
}

impl<T: AsyncWrite + Unpin> HyperRefusals<T> {
    /// Writes what stands in the place of hyper's answer.
    fn poll_answer(&mut self, task: &mut Task<'_>) -> Poll<io::Result<()>> {
        while let Some((bytes, written)) = &mut self.answer {
            let rest = bytes.get(*written..).unwrap_or_default();
            if rest.is_empty() {
                self.answer = None;
                break;
            }
            match ready!(Pin::new(&mut self.inner).poll_write(task, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => *written += count,
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for HyperRefusals<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Task<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(task, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for HyperRefusals<T> {
    fn poll_write(mut self: Pin<&mut Self>, task: &mut Task<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_answer(task))?;
        match self.clock.as_ref().and_then(|clock| answer_for(bytes, clock)) {
            // Taken as a whole; the bytes that stand for it go out now or with the flush.
            Some(answer) => {
                self.answer = Some((answer, 0));
                match self.poll_answer(task) {
                    Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                    _ => Poll::Ready(Ok(bytes.len())),
                }
            }
            None => Pin::new(&mut self.inner).poll_write(task, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        task: &mut Task<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_answer(task))?;
        match slices {
            [only] => self.poll_write(task, only),
            _ => Pin::new(&mut self.inner).poll_write_vectored(task, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_answer(task))?;
        Pin::new(&mut self.inner).poll_flush(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_answer(task))?;
        Pin::new(&mut self.inner).poll_shutdown(task)
    }
}

/// The response in the place of `bytes`, if they are an empty refusal of hyper's.
fn answer_for(bytes: &[u8], clock: &Clock) -> Option<Vec<u8>> {
    let status = bytes.strip_prefix(b"HTTP/1.1 ").or_else(|| bytes.strip_prefix(b"HTTP/1.0 "))?.get(..3)?;
    let (line, code, title, detail) = match status {
        b"400" => (
            "400 Bad Request",
            "malformed-request",
            "The request is malformed",
            "The head of the request is not HTTP.",
        ),
        b"414" => {
            ("414 URI Too Long", "uri-too-long", "The URI is too long", "Send a shorter request target.")
        }
        b"431" => (
            "431 Request Header Fields Too Large",
            "headers-too-large",
            "The header section is too large",
            "Send fewer or shorter header fields.",
        ),
        _ => return None,
    };
    let head = std::str::from_utf8(bytes).ok()?.strip_suffix("\r\n\r\n")?.to_ascii_lowercase();
    let mut fields = head.split("\r\n").skip(1);
    let is_empty = fields.clone().any(|field| field == "content-length: 0");
    if !is_empty || fields.any(|field| field.is_empty() || field.starts_with("trace-id:")) {
        return None;
    }
    let trace_id = Context::root(clock).trace.map(|trace| trace.trace_id()).unwrap_or_default();
    let status = line.get(..3)?;
    // The texts are constants without a character that JSON escapes.
    let body = format!(
        r#"{{"type":"/problems/{code}","title":"{title}","status":{status},"detail":"{detail}","trace_id":"{trace_id}"}}"#
    );
    tracing::debug!(status, trace_id, "a request that cannot be read");
    Some(
        format!(
            "HTTP/1.1 {line}\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\ntrace-id: {trace_id}\r\n\
             connection: close\r\n\r\n{body}",
            body.len()
        )
        .into_bytes(),
    )
}
