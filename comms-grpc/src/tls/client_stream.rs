//! The bytes of a connection that a client made, with errors that name what refuses the client.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::client::TlsStream;

use super::failure::HandshakeFailure;

/// The stream of a client, after its handshake.
///
/// With TLS 1.3, a server refuses the certificate of a client after the handshake of the client has ended: the alert is the
/// first that the client reads, before any byte of HTTP. h2 keeps nothing of an error but its text, so the text is made
/// here.
#[derive(Debug)]
pub(crate) struct ClientStream<S>(TlsStream<S>);

impl<S> ClientStream<S> {
    pub(super) const fn new(stream: TlsStream<S>) -> Self {
        Self(stream)
    }
}

/// Replaces an error of TLS.
fn explain(error: io::Error) -> io::Error {
    match HandshakeFailure::of_client(&error) {
        Some(failure) => io::Error::new(error.kind(), failure),
        None => error,
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for ClientStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf).map_err(explain)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for ClientStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf).map_err(explain)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs).map_err(explain)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx).map_err(explain)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
