//! The byte stream of a connection, whose incoming frames are observed.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::oneshot,
};

use super::{
    frames::{Event, Frames},
    streams::Streams,
};

/// Resolves when the peer has sent its settings. Resolves to an error if its first frame is not SETTINGS, or a read
/// fails before.
pub(super) type PeerSpoke = oneshot::Receiver<io::Result<()>>;

/// A byte stream that passes the limits of the peer on to the streams of the connection.
pub(super) struct Observed<T> {
    io: T,
    frames: Frames,
    streams: Arc<Streams>,
    report: Option<oneshot::Sender<io::Result<()>>>,
}

impl<T> Observed<T> {
    pub(super) fn new(io: T, streams: Arc<Streams>) -> (Self, PeerSpoke) {
        let (report, spoke) = oneshot::channel();
        (Self { io, frames: Frames::default(), streams, report: Some(report) }, spoke)
    }

    fn observe(&mut self, bytes: &[u8]) {
        let (streams, report) = (&self.streams, &mut self.report);
        self.frames.read(bytes, |event| match event {
            Event::OtherProtocol => {
                let text = "the peer does not speak HTTP/2: check the port and the protocol";
                spoke(report, Err(io::Error::new(io::ErrorKind::InvalidData, text)));
            }
            Event::Settings(max_streams) => {
                match max_streams {
                    Some(max) => streams.set_limit(max as usize),
                    // Without the setting there is no limit.
                    None if report.is_some() => streams.set_limit(usize::MAX),
                    None => {}
                }
                spoke(report, Ok(()));
            }
            Event::GoAway => streams.close(),
        });
    }
}

/// Reports the first result. Without a receiver, the connection attempt was given up.
fn spoke(report: &mut Option<oneshot::Sender<io::Result<()>>>, result: io::Result<()>) {
    if let Some(report) = report.take() {
        let _ = report.send(result);
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Observed<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        if let Err(error) = ready!(Pin::new(&mut self.io).poll_read(cx, buf)) {
            // The reason for which the peer refuses the connection, such as an alert of TLS.
            spoke(&mut self.report, Err(io::Error::new(error.kind(), error.to_string())));
            return Poll::Ready(Err(error));
        }
        self.observe(&buf.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Observed<T> {
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
