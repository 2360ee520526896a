//! How the requests of a connection are written, and what is known about a request whose write fails.

use super::*;
use crate::evidence::proves_not_executed;

const GOAWAY: u8 = 7;

/// The bytes of a peer that closes its socket when a request is written: the write fails, or waits. A GOAWAY can still be
/// read.
struct Closing {
    io: DuplexStream,
    write_waits: bool,
    is_closed: Arc<AtomicBool>,
    unread: Option<Vec<u8>>,
    reader: Option<std::task::Waker>,
}

impl AsyncRead for Closing {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.is_closed.load(Relaxed) {
            self.reader = Some(cx.waker().clone());
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        // The end follows.
        buf.put_slice(&self.unread.take().unwrap_or_default());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Closing {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let is_call = bytes.get(3) == Some(&HEADERS);
        if !is_call {
            return Pin::new(&mut self.io).poll_write(cx, bytes);
        }
        self.is_closed.store(true, Relaxed);
        self.reader.take().into_iter().for_each(std::task::Waker::wake);
        match self.write_waits {
            true => Poll::Pending,
            false => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let is_closed = self.is_closed.load(Relaxed);
        Poll::Ready(if is_closed { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) })
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}

/// Records what each write has sent.
struct Recorded {
    io: DuplexStream,
    writes: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl AsyncRead for Recorded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Recorded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.writes.lock().unwrap().push(bytes.to_vec());
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn the_headers_and_the_message_of_a_request_are_one_write() {
    let (io, server) = tokio::io::duplex(64 * 1024);
    tokio::spawn(Peer { calls: 1, pings: false }.serve(server, Arc::default()));
    let writes = Arc::<Mutex<Vec<Vec<u8>>>>::default();
    let io = Recorded { io, writes: writes.clone() };
    let (now, runtime) = (Clock::system().now(), Handle::current());
    let opened = Connection::open(io, limits(KeepAlive::default()), &runtime, now, Arc::default()).await;
    call_with(&mut opened.unwrap(), Body::new("message".to_owned())).await.unwrap();
    let writes = writes.lock().unwrap();
    let request: Vec<_> = writes.iter().filter(|write| write.get(3) == Some(&HEADERS)).collect();
    assert!(matches!(request[..], [request] if request.ends_with(b"message")), "{writes:?}");
}

/// Makes a call to a peer that closes its socket when the request is written, with `unread` bytes.
async fn call_to_closing(write_waits: bool, unread: Vec<u8>) -> Unanswered {
    let (client, server) = tokio::io::duplex(64 * 1024);
    tokio::spawn(Peer { calls: 0, pings: false }.serve(server, Arc::default()));
    let (is_closed, reader) = (Arc::new(AtomicBool::new(false)), None);
    let unread = Some(unread);
    let io = Closing { io: client, write_waits, is_closed: is_closed.clone(), unread, reader };
    let (now, runtime) = (Clock::system().now(), Handle::current());
    let opened = Connection::open(io, limits(KeepAlive::default()), &runtime, now, Arc::default()).await;
    let mut connection = opened.unwrap();
    sleep(Duration::from_millis(20)).await;
    let unanswered = timeout(SECOND * 5, call(&mut connection)).await.unwrap().unwrap_err();
    assert!(is_closed.load(Relaxed) && connection.is_closed());
    unanswered
}

#[tokio::test]
async fn a_goaway_is_read_although_a_write_has_failed() {
    for (last_stream, is_proof) in [(0, true), (1, false)] {
        let goaway = vec![0, 0, 8, GOAWAY, 0, 0, 0, 0, 0, 0, 0, 0, last_stream, 0, 0, 0, 0];
        let unanswered = call_to_closing(false, goaway).await;
        assert!(!unanswered.is_unsent, "{unanswered:?}");
        assert_eq!(proves_not_executed(&*unanswered.error), is_proof, "{unanswered:?}");
    }
}

#[tokio::test]
async fn a_request_whose_headers_the_connection_has_not_begun_to_write_is_unsent() {
    for (write_waits, is_unsent) in [(true, true), (false, false)] {
        let unanswered = call_to_closing(write_waits, Vec::new()).await;
        assert_eq!(unanswered.is_unsent, is_unsent, "{unanswered:?}");
    }
}
