//! The bytes of HTTP: of the socket, or of TLS on the socket. Records reads, and detects the HTTP version.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{activity::Activity, preface::Preface, socket::Socket};

/// A connection on the stream `T` that records what its peer sends.
pub(super) struct Transport<T> {
    stream: T,
    preface: Preface,
    activity: Arc<Activity>,
}

impl<T> Transport<T> {
    pub(super) const fn new(stream: T, activity: Arc<Activity>) -> Self {
        Self { stream, preface: Preface::Version(0), activity }
    }

    /// Returns the stream, whose reads are not recorded any more.
    pub(super) fn into_inner(self) -> T {
        self.stream
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Transport<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let poll = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.activity.receive();
        }
        if !self.preface.is_decided() && poll.is_ready() {
            self.preface = self.preface.read(&buf.filled()[before..]);
            if self.preface == Preface::Http2 {
                self.activity.complete_handshake();
            }
        }
        poll
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Transport<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The stream of an accepted connection, in plain text or encrypted.
pub(super) enum Stream {
    Plain(Socket),
    #[cfg(feature = "tls")]
    Tls(Box<tokio_rustls::server::TlsStream<Socket>>),
}

/// A connection whose next bytes are HTTP.
pub(super) struct AcceptedConnection {
    pub(super) stream: Stream,
    pub(super) activity: Arc<Activity>,
    /// The time of the accept, from which the time for the head runs.
    pub(super) accepted: Instant,
}
