//! Problem details (RFC 9457) for requests that hyper refuses by itself.
//!
//! A request whose head hyper cannot read reaches no service: hyper sends 400, 414 or 431 without a body, and closes
//! the connection. hyper has no hook for this response, so it is replaced when it is written to the connection. A
//! response is recognized by one of these statuses, an empty body, and no `trace-id`. The services of such a listener
//! set `trace-id` on every response.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context as Task, Poll, ready},
};

use comms_core::{clock::Clock, context::Context};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection on which hyper's empty error responses are replaced by problem details.
pub(super) struct ProblemDetails<T> {
    inner: T,
    /// Creates trace ids. `None` replaces nothing.
    clock: Option<Clock>,
    /// The bytes to write instead of hyper's response, and the number of bytes that are already written.
    replacement: Option<(Vec<u8>, usize)>,
}

impl<T> ProblemDetails<T> {
    /// Wraps `connection`. `clock` creates the trace ids of replaced responses; without a clock, nothing is replaced.
    pub(super) const fn new(connection: T, clock: Option<Clock>) -> Self {
        Self { inner: connection, clock, replacement: None }
    }

    /// Returns the connection. A replacement is never pending after an upgrade: its response ends the connection.
    pub(super) fn into_inner(self) -> T {
        self.inner
    }
}

impl<T: AsyncWrite + Unpin> ProblemDetails<T> {
    /// Writes the rest of the replacement.
    fn poll_replacement(&mut self, task: &mut Task<'_>) -> Poll<io::Result<()>> {
        while let Some((bytes, written)) = &mut self.replacement {
            let rest = bytes.get(*written..).unwrap_or_default();
            if rest.is_empty() {
                self.replacement = None;
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

impl<T: AsyncRead + Unpin> AsyncRead for ProblemDetails<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Task<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(task, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for ProblemDetails<T> {
    fn poll_write(mut self: Pin<&mut Self>, task: &mut Task<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_replacement(task))?;
        match self.clock.as_ref().and_then(|clock| problem_for(bytes, clock)) {
            // All of hyper's bytes count as written. The replacement is written now or with the flush.
            Some(problem) => {
                self.replacement = Some((problem, 0));
                match self.poll_replacement(task) {
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
        ready!(self.poll_replacement(task))?;
        match slices {
            [only] => self.poll_write(task, only),
            _ => Pin::new(&mut self.inner).poll_write_vectored(task, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_replacement(task))?;
        Pin::new(&mut self.inner).poll_flush(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_replacement(task))?;
        Pin::new(&mut self.inner).poll_shutdown(task)
    }
}

/// Returns the replacement for `bytes`, if they are an empty error response of hyper.
fn problem_for(bytes: &[u8], clock: &Clock) -> Option<Vec<u8>> {
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
    // No text needs escaping: the constants have no character that JSON escapes.
    let body = format!(
        r#"{{"type":"/problems/{code}","title":"{title}","status":{status},"detail":"{detail}","trace_id":"{trace_id}"}}"#
    );
    tracing::debug!(status, trace_id, "hyper refused a request whose head cannot be read");
    Some(
        format!(
            "HTTP/1.1 {line}\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\ntrace-id: {trace_id}\r\n\
             connection: close\r\n\r\n{body}",
            body.len()
        )
        .into_bytes(),
    )
}
