//! A server whose tokens are user names, and a client that reads JSON frames.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use comms_core::clock::Clock;
use comms_ws::{Hub, HubConfig, Push, Session, credentials};
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    time::{sleep, timeout},
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{self, Message, client::IntoClientRequest, protocol::frame::coding::CloseCode},
};

type Grant = dyn Fn(&str) -> Session + Send + Sync;

/// A server with one hub.
pub(crate) struct Server {
    pub(crate) hub: Hub,
    pub(crate) address: SocketAddr,
}

struct App {
    hub: Hub,
    grant: Box<Grant>,
}

impl Server {
    /// Starts a server that grants each user the topic `user/<name>`, and allows subscriptions to `public/...`.
    pub(crate) async fn start(change: impl FnOnce(&mut HubConfig)) -> Self {
        let grant = |user: &str| {
            Session::new(user, vec![format!("user/{user}")]).allow(|topic| topic.starts_with("public/"))
        };
        Self::start_with_grant(change, grant).await
    }

    /// Starts a server whose hub has `clock`. Its sessions expire 600 s after the start.
    pub(crate) async fn start_with_clock(clock: &Clock) -> Self {
        let expires = clock.unix().as_secs() + 600;
        let grant = move |user: &str| Session::new(user, Vec::new()).expires_at_unix(expires);
        Self::start_with(HubConfig::default(), clock.clone(), grant).await
    }

    /// Starts a server that grants each user the session that `grant` returns.
    pub(crate) async fn start_with_grant(
        change: impl FnOnce(&mut HubConfig),
        grant: impl Fn(&str) -> Session + Send + Sync + 'static,
    ) -> Self {
        let mut config = HubConfig::default().close_timeout(Duration::from_millis(300));
        change(&mut config);
        Self::start_with(config, Clock::system(), grant).await
    }

    /// As [`start_with_grant`](Self::start_with_grant), with `clock`.
    pub(crate) async fn start_with(
        config: HubConfig,
        clock: Clock,
        grant: impl Fn(&str) -> Session + Send + Sync + 'static,
    ) -> Self {
        Self::serve(Hub::new(config, clock).unwrap(), grant).await
    }

    /// Starts a server of `hub`, with the grants of [`start`](Self::start).
    pub(crate) async fn start_with_hub(hub: Hub) -> Self {
        let grant = |user: &str| {
            Session::new(user, vec![format!("user/{user}")]).allow(|topic| topic.starts_with("public/"))
        };
        Self::serve(hub, grant).await
    }

    /// Starts a server of `hub` that grants each user the session that `grant` returns.
    pub(crate) async fn serve(hub: Hub, grant: impl Fn(&str) -> Session + Send + Sync + 'static) -> Self {
        let app = Arc::new(App { hub: hub.clone(), grant: Box::new(grant) });
        let routes = Router::new().route("/v1/events", get(open)).with_state(app);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { hub, address }
    }

    /// Connects a client and reads its welcome frame.
    pub(crate) async fn client(&self, user: &str) -> Client {
        let mut client = self.handshake(&[("authorization", &format!("Bearer {user}"))]).await.unwrap();
        assert_eq!(client.next().await["type"], "welcome");
        client
    }

    pub(crate) async fn handshake(
        &self,
        headers: &[(&'static str, &str)],
    ) -> Result<Client, tungstenite::Error> {
        self.handshake_at("v1/events", headers).await
    }

    /// As [`handshake`](Self::handshake), at `path` with its parameters.
    pub(crate) async fn handshake_at(
        &self,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Client, tungstenite::Error> {
        let mut request = format!("ws://{}/{path}", self.address).into_client_request()?;
        for (name, value) in headers {
            request.headers_mut().append(*name, value.parse().unwrap());
        }
        // A small receive buffer, so that the kernel does not accept megabytes for a client that does not read.
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(32 * 1024).unwrap();
        let (socket, response) = client_async(request, socket.connect(self.address).await.unwrap()).await?;
        let protocol =
            response.headers().get("sec-websocket-protocol").map(|v| v.to_str().unwrap().to_owned());
        Ok(Client { socket, protocol })
    }

    /// Returns the status and the problem type of a handshake that is refused.
    pub(crate) async fn refusal(&self, headers: &[(&'static str, &str)]) -> (u16, String) {
        match self.handshake(headers).await {
            Err(tungstenite::Error::Http(response)) => {
                let body: Value = serde_json::from_slice(response.body().as_deref().unwrap_or_default())
                    .unwrap_or_default();
                (response.status().as_u16(), body["type"].as_str().unwrap_or_default().to_owned())
            }
            other => panic!("not refused: {}", other.is_ok()),
        }
    }

    /// Waits until `test` returns true for the load of the hub.
    pub(crate) async fn until(&self, what: &str, test: impl Fn(&comms_ws::Stats) -> bool) {
        for _ in 0..1_000 {
            if test(&self.hub.stats()) {
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
        panic!("not within 10 s: {what}: {:?}", self.hub.stats());
    }

    /// Waits until the hub has no session, no topic and no queued bytes.
    pub(crate) async fn until_empty(&self) {
        self.until("empty", |s| (s.sessions, s.topics, s.queued_bytes) == (0, 0, 0)).await;
    }
}

async fn open(State(app): State<Arc<App>>, request: Request) -> Response {
    match credentials(request.headers()).map(&app.grant) {
        Some(session) => app.hub.accept(request, session).into_response(),
        None => StatusCode::UNAUTHORIZED.into_response(),
    }
}

pub(crate) struct Client {
    pub(crate) socket: WebSocketStream<TcpStream>,
    pub(crate) protocol: Option<String>,
}

impl Client {
    /// Returns the next frame, which must arrive within 10 s and be JSON.
    pub(crate) async fn next(&mut self) -> Value {
        loop {
            let message =
                timeout(Duration::from_secs(10), self.socket.next()).await.expect("a frame within 10 s");
            match message.expect("an open socket").expect("a whole frame") {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("unexpected {other:?}"),
            }
        }
    }

    pub(crate) async fn send(&mut self, frame: Value) {
        self.socket.send(Message::text(frame.to_string())).await.unwrap();
    }

    /// Subscribes to `topic` and returns the response.
    pub(crate) async fn subscribe(&mut self, topic: &str) -> Value {
        self.send(json!({"type": "subscribe", "topic": topic})).await;
        self.next().await
    }

    /// Reads to the end. Returns the frames, and the code of the close frame if there was one.
    pub(crate) async fn read_to_end(&mut self) -> (Vec<Value>, Option<u16>) {
        let mut frames = Vec::new();
        let read = async {
            while let Some(Ok(message)) = self.socket.next().await {
                match message {
                    Message::Text(text) => frames.push(serde_json::from_str(&text).unwrap()),
                    Message::Close(close) => return close.map(|c| CloseCode::into(c.code)),
                    _ => {}
                }
            }
            None
        };
        let code = timeout(Duration::from_secs(20), read).await.expect("an end within 20 s");
        (frames, code)
    }

    /// Returns whether no frame arrives for 150 ms.
    pub(crate) async fn receives_nothing(&mut self) -> bool {
        timeout(Duration::from_millis(150), self.socket.next()).await.is_err()
    }
}

/// Returns the push with the number `n`, padded to about `bytes`.
pub(crate) fn push(n: usize, bytes: usize) -> Push {
    Push {
        id: format!("test/{n}"),
        event: "test.happened.v1".into(),
        time: Some("2026-11-21T07:00:00.123Z".into()),
        key: None,
        traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into()),
        data: json!({"n": n, "pad": "x".repeat(bytes)}),
    }
}

pub(crate) fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}
