//! The hub behind the listener of the process: the sockets of its sessions are taken out of the listener.

#![allow(clippy::disallowed_methods, reason = "the tests run in real time")]

use std::time::Duration;

use axum::{
    Router,
    extract::{Request, State},
    routing::get,
};
use comms_core::{Error, clock::Clock};
use comms_grpc::ListenerConfig;
use comms_ws::{Hub, HubConfig, Push, Session};
use futures::StreamExt;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

use crate::platform::http;

const WAIT: Duration = Duration::from_secs(10);

type Client = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A hub behind a listener that admits one connection, and whose time limits are those of a manual clock.
struct Server {
    hub: Hub,
    url: String,
    /// The clock of the listener. The hub has the clock of the system.
    clock: Clock,
    stop: oneshot::Sender<()>,
    served: JoinHandle<Result<(), Error>>,
}

impl Server {
    async fn start() -> Self {
        let hub = Hub::builder(HubConfig::default(), Clock::system());
        let hub = hub.bare_sockets(comms_grpc::take_socket).build().unwrap();
        let open = async |State(hub): State<Hub>, request: Request| {
            hub.accept(request, Session::new("ann", vec!["user/ann".into()]))
        };
        let routes = Router::new().route("/", get(open)).with_state(hub.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}/", listener.local_addr().unwrap());
        let mut limits = ListenerConfig::default();
        (limits.max_connections, limits.max_connections_per_address) = (1, Some(1));
        limits.max_connection_age = Some(Duration::from_secs(60));
        let clock = Clock::manual(Duration::from_secs(1));
        let (stop, stopped) = oneshot::channel::<()>();
        let draining = hub.clone();
        let drained = async move {
            drop(stopped.await);
            draining.drain(WAIT).await;
        };
        let routes = http::checked(routes, &clock);
        let served = tokio::spawn(http::serve(listener, routes, limits, clock.clone(), drained));
        Self { hub, url, clock, stop, served }
    }

    /// Connects a client, and reads its first frame.
    async fn connect(&self) -> Client {
        let (mut client, _) = connect_async(&self.url).await.unwrap();
        assert!(next(&mut client).await.to_text().unwrap().contains("welcome"));
        client
    }
}

/// Awaits `future` for at most `limit` of the system's clock. Returns `None` at the limit.
async fn within<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    Clock::system().timeout(limit, future).await.ok()
}

async fn next(client: &mut Client) -> Message {
    within(WAIT, client.next()).await.expect("a frame").expect("a frame").unwrap()
}

/// Reads until the close frame, and completes the close handshake. Returns the code.
async fn close_code(mut client: Client) -> u16 {
    loop {
        let Message::Close(Some(frame)) = next(&mut client).await else { continue };
        while client.next().await.is_some() {}
        return frame.code.into();
    }
}

#[tokio::test]
async fn the_hub_writes_to_the_socket_and_no_limit_of_the_listener_ends_it() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    assert_eq!((server.hub.stats().sessions, server.hub.stats().direct_sessions), (1, 1));
    // Longer than each time limit of the listener.
    server.clock.advance(Duration::from_secs(86_400));
    for number in ["1", "2"] {
        let push = Push::new(number, "paid", serde_json::json!({}));
        server.hub.publish("user/ann", &push).await.unwrap();
        let text = next(&mut client).await.into_text().unwrap();
        assert!(text.contains(&format!(r#""id":"{number}""#)), "{text}");
    }
}

#[tokio::test]
async fn the_listener_counts_a_session_until_its_socket_is_closed() {
    let server = Server::start().await;
    let client = server.connect().await;
    let mut second = Box::pin(server.connect());
    // The second connection waits in the backlog.
    assert!(within(Duration::from_millis(300), second.as_mut()).await.is_none());
    assert_eq!(server.hub.disconnect("ann").await.unwrap(), 1);
    assert_eq!(close_code(client).await, comms_ws::close::FORBIDDEN);
    drop(within(WAIT, second).await.expect("the permit of the first connection is released"));
}

#[tokio::test]
async fn the_shutdown_closes_the_sessions_and_then_the_listener() {
    let server = Server::start().await;
    let client = server.connect().await;
    server.stop.send(()).unwrap();
    assert_eq!(close_code(client).await, comms_ws::close::GOING_AWAY);
    within(WAIT, server.served).await.expect("the listener ends").unwrap().unwrap();
    assert_eq!((server.hub.stats().sessions, server.hub.stats().direct_sessions), (0, 0));
}
