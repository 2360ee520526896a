//! A peer that answers each request as the test decides, and counts the attempts.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use bytes::{Bytes, BytesMut};
use h2::{Reason, server::SendResponse};
use http::{HeaderMap, HeaderValue, Response};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// The answer to one request.
#[derive(Clone)]
pub(crate) enum Answer {
    /// An empty message and the status OK.
    Success,
    /// A response that consists of headers alone.
    Status(&'static str, Vec<(&'static str, &'static str)>),
    /// RST_STREAM.
    Reset(Reason),
    /// The end of the connection.
    Cut,
    /// The response headers, and then the end of the connection.
    CutAfterHeaders,
    /// Nothing.
    Silence,
}

/// A request that the peer received.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// The peer.
#[derive(Clone)]
pub(crate) struct H2Peer {
    pub(crate) address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    pub(crate) connections: Arc<AtomicUsize>,
    /// The resets of requests that were answered with silence.
    resets: Arc<Mutex<Vec<Reason>>>,
}

impl H2Peer {
    /// Starts a peer. `answer` is called with the number of the request, from 0.
    pub(crate) async fn start(answer: impl Fn(usize) -> Answer + Send + Sync + 'static) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        Self::start_on(socket.listen(1_024).unwrap(), answer)
    }

    pub(crate) fn start_on(
        listener: TcpListener,
        answer: impl Fn(usize) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().unwrap();
        let (received, connections, resets) = (Arc::default(), Arc::default(), Arc::default());
        let peer = Self { address, received, connections, resets };
        let (serving, answer) = (peer.clone(), Arc::new(answer));
        tokio::spawn(async move {
            loop {
                let socket = listener.accept().await.unwrap().0;
                serving.connections.fetch_add(1, SeqCst);
                tokio::spawn(serving.clone().serve(socket, answer.clone()));
            }
        });
        peer
    }

    /// Serves one connection until an answer cuts it.
    async fn serve(self, socket: TcpStream, answer: Arc<impl Fn(usize) -> Answer>) {
        let mut connection = h2::server::handshake(socket).await.unwrap();
        let mut held = Vec::new();
        let mut bodies = futures::stream::FuturesUnordered::new();
        loop {
            tokio::select! {
                request = connection.accept() => {
                    let Some(Ok((request, respond))) = request else { return };
                    bodies.push(read(request, respond));
                }
                Some((received, mut respond)) = futures::StreamExt::next(&mut bodies) => {
                    let number = {
                        let mut all = self.received.lock().unwrap();
                        all.push(received);
                        all.len() - 1
                    };
                    let answer = answer(number);
                    send(&answer, &mut respond);
                    if matches!(answer, Answer::Cut) {
                        return;
                    }
                    if matches!(answer, Answer::CutAfterHeaders) {
                        let flushed = std::future::poll_fn(|cx| connection.poll_closed(cx));
                        let _ = tokio::time::timeout(crate::support::millis(100), flushed).await;
                        return;
                    }
                    if matches!(answer, Answer::Silence) {
                        let resets = self.resets.clone();
                        tokio::spawn(async move {
                            let reset = std::future::poll_fn(|cx| respond.poll_reset(cx)).await;
                            resets.lock().unwrap().extend(reset.ok());
                        });
                        continue;
                    }
                    held.push(respond);
                }
            }
        }
    }

    pub(crate) fn resets(&self) -> Vec<Reason> {
        self.resets.lock().unwrap().clone()
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }
}

async fn read(
    request: http::Request<h2::RecvStream>,
    respond: SendResponse<Bytes>,
) -> (Received, SendResponse<Bytes>) {
    let (parts, mut stream) = request.into_parts();
    let mut body = BytesMut::new();
    while let Some(Ok(data)) = stream.data().await {
        let _ = stream.flow_control().release_capacity(data.len());
        body.extend_from_slice(&data);
    }
    (Received { headers: parts.headers, body: body.freeze() }, respond)
}

fn send(answer: &Answer, respond: &mut SendResponse<Bytes>) {
    let head = || Response::builder().header("content-type", "application/grpc");
    match answer {
        Answer::Success => {
            let mut stream = respond.send_response(head().body(()).unwrap(), false).unwrap();
            stream.send_data(Bytes::from_static(&[0; 5]), false).unwrap();
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
            stream.send_trailers(trailers).unwrap();
        }
        Answer::Status(code, fields) => {
            let mut head = head().header("grpc-status", *code);
            for (name, value) in fields {
                head = head.header(*name, *value);
            }
            respond.send_response(head.body(()).unwrap(), true).unwrap();
        }
        Answer::Reset(reason) => respond.send_reset(*reason),
        Answer::CutAfterHeaders => {
            // The stream is dropped with the connection.
            std::mem::forget(respond.send_response(head().body(()).unwrap(), false).unwrap());
        }
        Answer::Cut | Answer::Silence => {}
    }
}
