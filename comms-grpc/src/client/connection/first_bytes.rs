//! Detects the first bytes of the peer.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::oneshot,
};

/// The type of an HTTP/2 SETTINGS frame, the fourth byte of the frame.
const SETTINGS: u8 = 4;

/// Resolves to an error if the first frame of the peer is not SETTINGS, or the first read fails.
pub(super) type PeerSpoke = oneshot::Receiver<io::Result<()>>;

/// A byte stream that reports the first bytes that it receives.
pub(super) struct FirstBytes<T> {
    io: T,
    report: Option<oneshot::Sender<io::Result<()>>>,
}

impl<T> FirstBytes<T> {
    pub(super) fn new(io: T) -> (Self, PeerSpoke) {
        let (report, spoke) = oneshot::channel();
        (Self { io, report: Some(report) }, spoke)
    }

    fn report(&mut self, bytes: &[u8]) {
        let Some(report) = self.report.take() else { return };
        let result = match bytes.get(3) {
            Some(kind) if *kind != SETTINGS => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the peer does not speak HTTP/2: check the port and the protocol",
            )),
            _ => Ok(()),
        };
        // Without a receiver, the connection attempt was given up.
        let _ = report.send(result);
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for FirstBytes<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        if let Err(error) = ready!(Pin::new(&mut self.io).poll_read(cx, buf)) {
            // The reason for which the peer refuses the connection, such as an alert of TLS.
            if let Some(report) = self.report.take() {
                let _ = report.send(Err(io::Error::new(error.kind(), error.to_string())));
            }
            return Poll::Ready(Err(error));
        }
        let received = &buf.filled()[before..];
        if !received.is_empty() && self.report.is_some() {
            self.report(received);
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for FirstBytes<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
