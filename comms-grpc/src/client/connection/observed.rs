//! The byte stream of a connection, whose frames are observed in both directions.

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
    traffic::Traffic,
};

/// Resolves when the peer has sent its settings. Resolves to an error if its first frame is not SETTINGS, or a read
/// fails before.
pub(super) type PeerSpoke = oneshot::Receiver<io::Result<()>>;

/// A byte stream that passes the limits of the peer on to the streams of the connection, and records its traffic.
pub(super) struct Observed<T> {
    io: T,
    received: Frames,
    sent: Frames,
    streams: Arc<Streams>,
    traffic: Arc<Traffic>,
    report: Option<oneshot::Sender<io::Result<()>>>,
    /// Whether the peer has closed its side for reading, so that nothing more is written.
    is_write_broken: bool,
}

impl<T> Observed<T> {
    pub(super) fn new(io: T, streams: Arc<Streams>, traffic: Arc<Traffic>) -> (Self, PeerSpoke) {
        let (report, spoke) = oneshot::channel();
        let (received, sent, report) = (Frames::default(), Frames::of_client(), Some(report));
        (Self { io, received, sent, streams, traffic, report, is_write_broken: false }, spoke)
    }

    fn observe(&mut self, bytes: &[u8]) {
        let (streams, report) = (&self.streams, &mut self.report);
        self.received.read(bytes, |event| match event {
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
            Event::Headers(_) => {}
        });
    }

    /// Records the requests whose headers the connection has begun to write. A write that failed may have been made in
    /// part.
    fn record_write<'a>(&mut self, result: &io::Result<usize>, slices: impl Iterator<Item = &'a [u8]>) {
        let mut left = *result.as_ref().unwrap_or(&usize::MAX);
        for slice in slices {
            let (written, _) = slice.split_at(left.min(slice.len()));
            left -= written.len();
            self.sent.read(written, |event| {
                if let Event::Headers(stream) = event {
                    self.traffic.send_headers(stream);
                }
            });
        }
    }

    /// Returns `result`, or `lost` if the peer has closed the connection.
    ///
    /// A server may close the socket right after its GOAWAY. h2 gives up the connection at the first write that fails, and
    /// the GOAWAY, which proves that calls were not executed, would stay unread. The failed write therefore counts as
    /// done: the connection takes no further call, and ends when its reader reaches the end of the bytes of the peer.
    fn written<R>(&mut self, result: io::Result<R>, lost: R) -> io::Result<R> {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
        let error = match result {
            Err(error) if self.report.is_none() => error,
            result => return result,
        };
        if !matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset) {
            return Err(error);
        }
        self.is_write_broken = true;
        self.streams.close();
        Ok(lost)
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
            self.streams.close();
            return Poll::Ready(Err(error));
        }
        if buf.filled().len() == before {
            // The peer has closed the connection. h2 may take long to end it, if what it has still to write is blocked.
            self.streams.close();
        }
        self.traffic.receive();
        self.observe(&buf.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Observed<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_write_broken {
            return Poll::Ready(Ok(bytes.len()));
        }
        let result = ready!(Pin::new(&mut self.io).poll_write(cx, bytes));
        self.record_write(&result, std::iter::once(bytes));
        Poll::Ready(self.written(result, bytes.len()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = slices.iter().map(|slice| slice.len()).sum();
        if self.is_write_broken {
            return Poll::Ready(Ok(length));
        }
        let result = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, slices));
        self.record_write(&result, slices.iter().map(|slice| &**slice));
        Poll::Ready(self.written(result, length))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_write_broken {
            return Poll::Ready(Ok(()));
        }
        let result = ready!(Pin::new(&mut self.io).poll_flush(cx));
        Poll::Ready(self.written(result, ()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_write_broken {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
