//! WebSockets: events pushed to many clients, and a slow reader that delays no other client.
//!
//! The problem: one event goes to many sockets. A server that waits for each socket is as slow as its slowest reader. A
//! server with unbounded queues runs out of memory. A server that drops events leaves its clients with stale data.
//!
//! The solution: `Hub` has a bounded queue for each session and never blocks. A session whose queue is full is closed
//! with code 4408. Its client reconnects, and reads the missed changes from the REST API.
//!
//! Prints a refused handshake, an event for one user, and the close codes of a slow reader and of a shutdown.
//!
//! Run: `cargo run -p examples --example sockets`. Nothing else is needed; server and clients are in this process.

use std::{net::SocketAddr, time::Duration};

use anyhow::Context as _;
use comms_core::clock::Clock;
use comms_ws::{
    Hub, HubConfig, Push, Session,
    axum::{
        self, Router,
        extract::{State, WebSocketUpgrade},
        http::{HeaderMap, StatusCode},
        response::{IntoResponse, Response},
        routing::get,
    },
    close, credentials,
};
use futures::StreamExt;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Message, client::IntoClientRequest},
};

/// Events of 64 KiB, 16 MiB in total: more than the queue of a session and the buffers of its socket hold.
const EVENTS: usize = 250;

/// Opens a session for the user of the handshake's token. Here the token is the user's name. A service verifies a JWT
/// (`comms_core::jwt`).
async fn open(State(hub): State<Hub>, headers: HeaderMap, upgrade: WebSocketUpgrade) -> Response {
    let Some(user) = credentials(&headers) else { return StatusCode::UNAUTHORIZED.into_response() };
    let topics = vec![format!("user/{user}"), "news".to_owned()];
    hub.accept(upgrade, &headers, Session::new(user, topics))
}

fn push(n: usize, data: Value) -> Push {
    Push {
        id: format!("order-service/{n}"),
        event: "order.status.changed.v1".into(),
        time: Clock::system().rfc3339(),
        traceparent: None,
        data,
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut config = HubConfig::default();
    config.queue_bytes = 256 * 1024;
    // The time that a slow client gets for reading up to the close frame.
    config.close_timeout = Duration::from_secs(20);
    let hub = Hub::new(config, Clock::system())?;
    let routes = Router::new().route("/v1/events", get(open)).with_state(hub.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async { axum::serve(listener, routes).await });

    println!("-- a handshake without a token");
    let refused = Client::connect(address, None).await.err().context("the handshake is refused")?;
    println!("{refused}");

    println!("-- an event for ann reaches only her session");
    let mut ann = Client::connect(address, Some("ann")).await?;
    let mut bob = Client::connect(address, Some("bob")).await?;
    hub.publish("user/ann", &push(0, json!({"order": "order-1", "status": "PAID"})));
    println!("ann: {}", ann.next().await?);

    println!("-- {EVENTS} events of 64 KiB for both: ann reads, bob does not");
    for n in 1..=EVENTS {
        hub.publish("news", &push(n, json!({"pad": "x".repeat(64 * 1024)})));
        // Each event arrives although bob's socket accepts no more bytes.
        let received = ann.next().await?;
        anyhow::ensure!(received["id"] == format!("order-service/{n}"), "events arrive in order");
    }
    println!("ann: received all {EVENTS}");
    let (received, code) = bob.rest().await;
    println!("bob: received the first {received}, then close code {}", code.unwrap_or_default());
    anyhow::ensure!(code == Some(close::TOO_SLOW) && received < EVENTS);

    println!("-- the server shuts down: every session is closed with a code");
    let (_, (_, code)) = tokio::join!(hub.drain(Duration::from_secs(5)), ann.rest());
    println!("ann: close code {}", code.unwrap_or_default());
    anyhow::ensure!(code == Some(close::GOING_AWAY));
    Ok(())
}

/// A client that receives JSON frames.
struct Client(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Client {
    /// Connects, and reads the welcome frame.
    async fn connect(address: SocketAddr, token: Option<&str>) -> anyhow::Result<Self> {
        let mut request = format!("ws://{address}/v1/events").into_client_request()?;
        if let Some(token) = token {
            request.headers_mut().insert("authorization", format!("Bearer {token}").parse()?);
        }
        let mut client = Self(connect_async(request).await?.0);
        println!("{}", client.next().await?);
        Ok(client)
    }

    /// Returns the next text frame.
    async fn next(&mut self) -> anyhow::Result<Value> {
        loop {
            match self.0.next().await.context("the server closed the socket")?? {
                Message::Text(text) => return Ok(serde_json::from_str(&text)?),
                Message::Close(frame) => anyhow::bail!("closed: {frame:?}"),
                _ => {}
            }
        }
    }

    /// Reads to the end. Returns the number of events and the code of the close frame.
    async fn rest(&mut self) -> (usize, Option<u16>) {
        let (mut events, mut code) = (0, None);
        // Reads after the close frame, too: that sends the reply which ends the session on the server.
        while let Some(Ok(message)) = self.0.next().await {
            match message {
                Message::Text(_) => events += 1,
                Message::Close(frame) => code = frame.map(|frame| frame.code.into()),
                _ => {}
            }
        }
        (events, code)
    }
}
