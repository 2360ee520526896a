//! A client of any transport, which reads JSON frames.

use std::net::SocketAddr;

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{
        self, Message,
        client::IntoClientRequest,
        protocol::{Role, frame::coding::CloseCode},
    },
};

use super::{LIMIT, Ledger, events::Events, http2};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    WebSocket,
    /// A WebSocket over HTTP/2 (RFC 8441).
    WebSocket2,
    /// Server-sent events over HTTP/1.1.
    Events,
    /// Server-sent events over HTTP/2.
    Events2,
}

impl Transport {
    pub(crate) const ALL: [Self; 4] = [Self::WebSocket, Self::Events, Self::WebSocket2, Self::Events2];
}

/// How a client opens its session.
#[derive(Debug, Clone, Default)]
pub(crate) struct Open {
    pub(crate) user: String,
    pub(crate) topics: Vec<String>,
    /// In the header `Last-Event-ID` of an event stream, and in the address of a WebSocket.
    pub(crate) cursor: Option<String>,
}

impl Open {
    pub(crate) fn of(user: &str) -> Self {
        Self { user: user.into(), ..Self::default() }
    }

    pub(crate) fn topic(mut self, topic: impl Into<String>) -> Self {
        self.topics.push(topic.into());
        self
    }

    pub(crate) fn cursor(mut self, cursor: impl Into<String>) -> Self {
        self.cursor = Some(cursor.into());
        self
    }

    /// Returns the path with the topics, and the cursor if it is in the address.
    pub(crate) fn path(&self, with_cursor: bool) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for topic in &self.topics {
            query.append_pair("topic", topic);
        }
        if let Some(cursor) = self.cursor.as_ref().filter(|_| with_cursor) {
            query.append_pair("cursor", cursor);
        }
        format!("/v1/events?{}", query.finish())
    }
}

/// The stream of a WebSocket.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

pub(crate) enum Client {
    WebSocket(Box<WebSocketStream<Box<dyn Stream>>>),
    Events(Events),
}

impl Client {
    /// Opens a session. Panics if it is refused.
    pub(crate) async fn open(address: SocketAddr, transport: Transport, open: &Open) -> Self {
        Self::try_open(address, transport, open).await.unwrap_or_else(|status| panic!("refused: {status}"))
    }

    /// Opens a session. Returns the status of a refusal, or 0 if the connection ended before.
    pub(crate) async fn try_open(
        address: SocketAddr,
        transport: Transport,
        open: &Open,
    ) -> Result<Self, u16> {
        let opened = async {
            match transport {
                Transport::WebSocket => {
                    let socket = TcpStream::connect(address).await.map_err(|_| 0_u16)?;
                    socket.set_nodelay(true).unwrap();
                    let request = handshake(address, open);
                    let socket: Box<dyn Stream> = Box::new(socket);
                    match client_async(request, socket).await {
                        Ok((stream, _)) => Ok(Self::WebSocket(Box::new(stream))),
                        Err(tungstenite::Error::Http(response)) => Err(response.status().as_u16()),
                        Err(_) => Err(0),
                    }
                }
                Transport::WebSocket2 => {
                    let stream: Box<dyn Stream> = Box::new(http2::connect(address, open).await?);
                    let stream = WebSocketStream::from_raw_socket(stream, Role::Client, None).await;
                    Ok(Self::WebSocket(Box::new(stream)))
                }
                Transport::Events => Events::open(address, open, false).await.map(Self::Events),
                Transport::Events2 => Events::open(address, open, true).await.map(Self::Events),
            }
        };
        timeout(LIMIT, opened).await.expect("a response within the limit")
    }

    /// Returns the next frame, or the close code, which is 0 if the connection ended without one.
    pub(crate) async fn next(&mut self) -> Result<Value, u16> {
        timeout(LIMIT, self.read()).await.expect("a frame within the limit")
    }

    async fn read(&mut self) -> Result<Value, u16> {
        let stream = match self {
            Self::Events(events) => return events.next().await,
            Self::WebSocket(stream) => stream,
        };
        loop {
            match stream.next().await {
                Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Close(frame))) => {
                    return Err(frame.map_or(1005, |frame| CloseCode::into(frame.code)));
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(0),
            }
        }
    }

    /// Returns the next frame after the ledger has checked it.
    pub(crate) async fn checked(&mut self, ledger: &mut Ledger) -> Result<Value, u16> {
        let frame = self.next().await?;
        ledger.take(&frame);
        if let Self::Events(events) = self {
            ledger.check_id(events.last_id());
        }
        Ok(frame)
    }

    /// Reads until the ledger is at `offset` of `topic`.
    pub(crate) async fn until(&mut self, ledger: &mut Ledger, topic: &str, offset: u64) {
        while ledger.offset(topic) != Some(offset) {
            let frame = self.checked(ledger).await;
            assert!(frame.is_ok(), "closed with {frame:?} at {:?}, before {offset}", ledger.offset(topic));
        }
    }

    pub(crate) async fn send(&mut self, frame: Value) {
        let Self::WebSocket(stream) = self else { panic!("an event stream has no frames of the client") };
        stream.send(Message::text(frame.to_string())).await.unwrap();
    }

    /// Returns whether no frame precedes the answer to a ping. Panics on an event stream.
    pub(crate) async fn has_nothing(&mut self) -> bool {
        self.send(json!({"type": "ping"})).await;
        self.next().await.unwrap()["type"] == "pong"
    }
}

fn handshake(address: SocketAddr, open: &Open) -> http::Request<()> {
    let uri = format!("ws://{address}{}", open.path(true));
    let mut request = uri.into_client_request().unwrap();
    if !open.user.is_empty() {
        request.headers_mut().insert("authorization", format!("Bearer {}", open.user).parse().unwrap());
    }
    request.headers_mut().insert("sec-websocket-protocol", "comms.v1".parse().unwrap());
    request
}
