//! The routes of the listener: they respond late, slowly, with large bodies, or never.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use comms_grpc::{Peer, RequestBody, take_socket};
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::{Sleep, sleep},
};

use super::{FRAME, LARGE, LIMIT, MEDIUM};

/// The counters of one request, which counts as alive until this is dropped.
pub(super) struct RequestCounters {
    alive: Arc<AtomicUsize>,
    taken: Arc<AtomicUsize>,
}

impl RequestCounters {
    pub(super) fn new(alive: &Arc<AtomicUsize>, taken: &Arc<AtomicUsize>) -> Self {
        alive.fetch_add(1, SeqCst);
        Self { alive: alive.clone(), taken: taken.clone() }
    }
}

impl Drop for RequestCounters {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, SeqCst);
    }
}

/// Returns the response of the route.
pub(super) async fn respond(
    mut request: Request<RequestBody>,
    peer: Peer,
    counters: RequestCounters,
) -> Result<Response<Frames>, Infallible> {
    let hello = Bytes::from_static(b"hello");
    let frames: Vec<(Duration, Bytes)> = match request.uri().path() {
        "/late" => {
            sleep(LIMIT * 3).await;
            vec![(Duration::ZERO, hello)]
        }
        // The identity of the client.
        "/id" => {
            let id = peer.identity.as_ref().and_then(|identity| identity.spiffe_id.as_deref());
            vec![(Duration::ZERO, Bytes::from(format!("id: {}", id.unwrap_or("none"))))]
        }
        "/medium" => vec![(Duration::ZERO, Bytes::from(vec![b'x'; MEDIUM]))],
        "/hang" => std::future::pending().await,
        "/frames" => vec![(Duration::ZERO, Bytes::from(vec![b'x'; FRAME])); 1_000],
        "/large" => vec![(Duration::ZERO, Bytes::from(vec![b'x'; LARGE]))],
        "/later" => vec![(LIMIT / 5, hello)],
        "/pauses" => vec![(Duration::ZERO, hello.clone()), (LIMIT * 3, hello)],
        "/upload" => {
            let mut body = Pin::new(request.body_mut());
            let mut length = 0;
            while let Some(Ok(frame)) = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
                length += frame.data_ref().map_or(0, Bytes::len);
            }
            vec![(Duration::ZERO, Bytes::from(length.to_string()))]
        }
        "/upgrade" => {
            let upgrade = hyper::upgrade::on(&mut request);
            tokio::spawn(async { echo(TokioIo::new(upgrade.await.unwrap())).await });
            return Ok(switching_protocols(counters));
        }
        // Writes `socket` or `stream`, and echoes on what is left after the socket was taken.
        "/take" => {
            let upgrade = hyper::upgrade::on(&mut request);
            tokio::spawn(async { echo_on_taken(take_socket(upgrade.await.unwrap())).await });
            return Ok(switching_protocols(counters));
        }
        _ => vec![(Duration::ZERO, hello)],
    };
    Ok(Response::new(Frames::new(frames, counters)))
}

fn switching_protocols(counters: RequestCounters) -> Response<Frames> {
    let mut response = Response::new(Frames::new(vec![], counters));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert("upgrade", "echo".parse().unwrap());
    response.headers_mut().insert("connection", "upgrade".parse().unwrap());
    response
}

async fn echo_on_taken(taken: Result<(TcpStream, Bytes, Box<dyn Send + Sync>), Upgraded>) {
    match taken {
        Ok((mut socket, first, _permit)) => {
            // The client gets nothing of a socket that still has the limit of the listener on unsent bytes.
            assert_eq!(socket2::SockRef::from(&socket).tcp_notsent_lowat().unwrap(), 0);
            socket.write_all(b"socket").await.unwrap();
            socket.write_all(&first).await.unwrap();
            echo(socket).await;
        }
        Err(upgraded) => {
            let mut stream = TokioIo::new(upgraded);
            stream.write_all(b"stream").await.unwrap();
            echo(stream).await;
        }
    }
}

async fn echo(mut socket: impl AsyncRead + AsyncWrite + Unpin) {
    let mut byte = [0];
    while socket.read_exact(&mut byte).await.is_ok() {
        socket.write_all(&byte).await.unwrap();
        socket.flush().await.unwrap();
    }
}

/// A response body of frames, each after a pause.
pub(super) struct Frames {
    frames: VecDeque<(Duration, Bytes)>,
    pause: Option<Pin<Box<Sleep>>>,
    counters: RequestCounters,
}

impl Frames {
    fn new(frames: Vec<(Duration, Bytes)>, counters: RequestCounters) -> Self {
        Self { frames: frames.into(), pause: None, counters }
    }
}

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some((pause, _)) = self.frames.front() else { return Poll::Ready(None) };
        let pause = *pause;
        let timer = self.pause.get_or_insert_with(|| Box::pin(sleep(pause)));
        std::task::ready!(timer.as_mut().poll(cx));
        self.pause = None;
        let frame = self.frames.pop_front();
        self.counters.taken.fetch_add(frame.as_ref().map_or(0, |(_, data)| data.len()), SeqCst);
        Poll::Ready(frame.map(|(_, data)| Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.frames.iter().map(|(_, data)| data.len() as u64).sum())
    }
}
