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
/// With TLS 1.3, a server refuses the certificate of a client after the handshake of the client has ended. The alert is
/// the first that the client reads. h2 keeps of an error only its text, so the error is replaced here.
#[derive(Debug)]
pub(crate) struct ClientStream<S> {
    inner: TlsStream<S>,
}

impl<S> ClientStream<S> {
    pub(super) fn new(inner: TlsStream<S>) -> Self {
        Self { inner }
    }
}

/// Replaces an error of TLS.
fn explain(error: io::Error) -> io::Error {
    let Some(failure) = HandshakeFailure::of_client(&error) else { return error };
    io::Error::new(error.kind(), failure)
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for ClientStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.inner).poll_read(cx, buf);
        poll.map_err(explain)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for ClientStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.inner).poll_write(cx, buf);
        poll.map_err(explain)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        poll.map_err(explain)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.inner).poll_flush(cx);
        poll.map_err(explain)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
