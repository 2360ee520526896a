//! What the examples of sockets share: a server whose tokens are user names, and a client that reads JSON frames.

use std::net::SocketAddr;

use anyhow::Context as _;
use axum::{
    Router,
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use comms_ws::{Hub, Push, Session, credentials};
use futures::StreamExt;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Message, client::IntoClientRequest},
};

/// Serves the sessions of `hub` at `/v1/events` on a free port of this machine, until the process ends.
///
/// # Errors
/// Returns the error of the socket.
pub async fn serve(hub: &Hub) -> anyhow::Result<SocketAddr> {
    serve_routes(Router::new().route("/v1/events", get(open)).with_state(hub.clone())).await
}

/// As [`serve`], with other routes.
///
/// # Errors
/// Returns the error of the socket.
pub async fn serve_routes(routes: Router) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async { axum::serve(listener, routes).await });
    Ok(address)
}

/// Opens a session for the user of the handshake's token, with the topics `user/<user>` and `news`. Here the token is the
/// name of the user. A service verifies a JWT (`comms_core::jwt`).
pub async fn open(State(hub): State<Hub>, request: Request) -> Response {
    let Some(user) = credentials(request.headers()).map(str::to_owned) else {
        return StatusCode::UNAUTHORIZED.into_response();
    };
    let topics = vec![format!("user/{user}"), "news".to_owned()];
    hub.accept(request, Session::new(user, topics)).into_response()
}

/// Returns the push of the event `order-service/<n>`.
#[must_use]
pub fn push(n: usize, status: &str) -> Push {
    let data = json!({"order_id": "order-1", "status": status});
    Push::new(format!("order-service/{n}"), "order.status.changed.v1", data)
}

/// A WebSocket client.
pub struct Client(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Client {
    /// Connects with `user` as the token. `query` follows the path.
    ///
    /// # Errors
    /// Returns the error of the handshake.
    pub async fn connect(address: SocketAddr, user: Option<&str>, query: &str) -> anyhow::Result<Self> {
        let mut request = format!("ws://{address}/v1/events{query}").into_client_request()?;
        if let Some(user) = user {
            request.headers_mut().insert("authorization", format!("Bearer {user}").parse()?);
        }
        Ok(Self(connect_async(request).await?.0))
    }

    /// Returns the next frame of the server.
    ///
    /// # Errors
    /// Returns an error if the server closes the socket.
    pub async fn next(&mut self) -> anyhow::Result<Value> {
        loop {
            match self.0.next().await.context("the server closed the socket")?? {
                Message::Text(text) => return Ok(serde_json::from_str(&text)?),
                Message::Close(frame) => anyhow::bail!("closed: {frame:?}"),
                _ => {}
            }
        }
    }

    /// Reads to the end. Returns the number of events, and the code of the close frame.
    pub async fn rest(&mut self) -> (usize, Option<u16>) {
        let (mut events, mut code) = (0, None);
        // Reads after the close frame, too: that sends the reply which ends the session on the server.
        while let Some(Ok(message)) = self.0.next().await {
            match message {
                Message::Text(text) => events += usize::from(text.contains("\"type\":\"event\"")),
                Message::Close(frame) => code = frame.map(|frame| frame.code.into()),
                _ => {}
            }
        }
        (events, code)
    }
}
