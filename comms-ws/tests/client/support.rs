//! A server that does what a test says, and a client with a manual clock.

use std::{sync::Mutex, time::Duration};

use comms_core::{Error, clock::Clock};
use comms_ws::client::{Builder, Client, Event, Events, Item};
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream, accept_hdr_async,
    tungstenite::{
        Message,
        handshake::server::{ErrorResponse, Request, Response},
        protocol::{CloseFrame, frame::coding::CloseCode},
    },
};

/// The time after which a test that waits has failed.
const LIMIT: Duration = Duration::from_secs(20);

pub(crate) struct Server {
    listener: TcpListener,
    pub(crate) url: String,
}

impl Server {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}/v1/events", listener.local_addr().unwrap());
        Self { listener, url }
    }

    pub(crate) async fn tcp(&self) -> TcpStream {
        timeout(LIMIT, self.listener.accept()).await.expect("a connection").unwrap().0
    }

    /// Accepts the next connection of the client.
    pub(crate) async fn accept(&self) -> Peer {
        Peer::accept(self.tcp().await).await
    }

    /// Answers the next handshake with an HTTP response that refuses it.
    pub(crate) async fn refuse(&self, status: &str) {
        let mut tcp = self.tcp().await;
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(tcp.read_u8().await.unwrap());
        }
        let response = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
        tcp.write_all(response.as_bytes()).await.unwrap();
    }
}

/// The server's side of a connection.
pub(crate) struct Peer<S = TcpStream> {
    pub(crate) socket: WebSocketStream<S>,
    pub(crate) query: String,
    pub(crate) token: Option<String>,
}

impl<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin> Peer<S> {
    pub(crate) async fn accept(stream: S) -> Self {
        let seen = Mutex::new((String::new(), None));
        #[expect(clippy::result_large_err, reason = "the signature of tungstenite")]
        let check = |request: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
            let header = |name| request.headers().get(name).map(|v| v.to_str().unwrap().to_owned());
            let token = header("authorization").and_then(|v| v.strip_prefix("Bearer ").map(Into::into));
            *seen.lock().unwrap() = (request.uri().query().unwrap_or_default().into(), token);
            assert_eq!(header("sec-websocket-protocol").as_deref(), Some("comms.v1"));
            response.headers_mut().insert("sec-websocket-protocol", "comms.v1".parse().unwrap());
            Ok(response)
        };
        let socket = timeout(LIMIT, accept_hdr_async(stream, check)).await.expect("a handshake").unwrap();
        let (query, token) = seen.into_inner().unwrap();
        Self { socket, query, token }
    }

    pub(crate) async fn send(&mut self, frame: Value) {
        self.socket.send(Message::text(frame.to_string())).await.unwrap();
    }

    /// Sends `welcome` with one topic, or none for an empty cursor.
    pub(crate) async fn welcome(&mut self, cursor: &str, recovered: Option<bool>) {
        let mut topic = json!({"topic": cursor.split(':').next(), "cursor": cursor});
        if let Some(recovered) = recovered {
            topic["recovered"] = recovered.into();
        }
        let topics = if cursor.is_empty() { vec![] } else { vec![topic] };
        self.send(json!({"type": "welcome", "session": "s", "topics": topics, "ping_seconds": 10})).await;
    }

    pub(crate) async fn event(&mut self, topic: &str, offset: u64) {
        let id = format!("id/{offset}");
        let data = json!({ "n": offset });
        self.send(json!({"type": "event", "topic": topic, "offset": offset, "id": id, "event": "e.v1", "data": data}))
            .await;
    }

    pub(crate) async fn message(&mut self) -> Message {
        timeout(LIMIT, self.socket.next()).await.expect("a message").expect("an open socket").unwrap()
    }

    /// Returns the next text frame.
    pub(crate) async fn next(&mut self) -> Value {
        loop {
            match self.message().await {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("unexpected {other:?}"),
            }
        }
    }

    pub(crate) async fn close(mut self, code: u16) {
        let frame = CloseFrame { code: CloseCode::from(code), reason: "why".into() };
        self.socket.close(Some(frame)).await.unwrap();
    }

    /// Returns the close code of the client.
    pub(crate) async fn closed(mut self) -> Option<u16> {
        loop {
            match self.message().await {
                Message::Close(frame) => {
                    // Sends the confirmation, which the client waits for.
                    let _ = self.socket.flush().await;
                    return frame.map(|frame| frame.code.into());
                }
                _ => continue,
            }
        }
    }
}

/// A client and what it yields.
pub(crate) struct Running {
    pub(crate) client: Client,
    pub(crate) events: Events,
    pub(crate) clock: Clock,
}

pub(crate) fn clock() -> Clock {
    Clock::manual(Duration::from_secs(1_000))
}

/// Starts a client whose token is `t`.
pub(crate) fn start(server: &Server, change: impl FnOnce(Builder) -> Builder) -> Running {
    let clock = clock();
    let builder = Client::builder(&server.url).token(|| async { Ok("t".to_owned()) }).clock(clock.clone());
    let (client, events) = change(builder).connect().unwrap();
    Running { client, events, clock }
}

impl Running {
    pub(crate) async fn result(&mut self) -> Option<Result<Item, Error>> {
        timeout(LIMIT, self.events.next()).await.expect("an item")
    }

    pub(crate) async fn item(&mut self) -> Item {
        self.result().await.expect("an open client").unwrap()
    }

    /// Returns the items up to `connected`, `disconnected` or the nth event, as text.
    pub(crate) async fn items(&mut self, count: usize) -> Vec<String> {
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(text(&self.item().await));
        }
        items
    }

    /// Returns the next event.
    pub(crate) async fn event(&mut self) -> Event {
        match self.item().await {
            Item::Event(event) => event,
            other => panic!("no event: {other:?}"),
        }
    }

    /// Reads `Disconnected` and moves the clock to the next attempt. Returns the wait and the reason.
    pub(crate) async fn disconnected(&mut self) -> (Duration, Error) {
        match self.item().await {
            Item::Disconnected { retry_in, reason } => {
                self.clock.advance(retry_in);
                (retry_in, reason)
            }
            other => panic!("not disconnected: {other:?}"),
        }
    }

    /// Returns the error that ends the client.
    pub(crate) async fn error(&mut self) -> Error {
        let error = self.result().await.expect("an error").unwrap_err();
        assert!(self.result().await.is_none());
        error
    }
}

pub(crate) fn text(item: &Item) -> String {
    match item {
        Item::Event(event) => format!("event {} {}", event.topic, event.offset.unwrap_or_default()),
        Item::Missed { topic, reason } => format!("missed {topic} {reason:?}"),
        Item::Recovered { topic } => format!("recovered {topic}"),
        Item::Subscribed { topic } => format!("subscribed {topic}"),
        Item::Unsubscribed { topic, .. } => format!("unsubscribed {topic}"),
        Item::Refused { code, detail } => format!("refused {code} {detail}"),
        Item::Connected { .. } => "connected".into(),
        Item::Disconnected { .. } => "disconnected".into(),
        other => format!("{other:?}"),
    }
}
