//! A site with a hub: the page, the client, and the routes of the events.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Json, Router,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use comms_core::clock::Clock;
use comms_ws::{BROWSER_CLIENT, CursorKey, Hub, HubConfig, Push, Session, backplane::Memory, credentials};
use serde_json::json;
use tokio::{
    net::TcpListener,
    time::{sleep, timeout},
};

use crate::{browser::LIMIT, network::Network};

const TOPIC: &str = "user/ann";
/// The page runs scripts of this origin alone, and none that are made from text.
const POLICY: &str = "default-src 'none'; script-src 'self'; img-src data:; connect-src 'self'; base-uri 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";

/// A site at one address. Its server can be replaced, the history of its topics stays.
pub(crate) struct Site {
    pub(crate) url: String,
    pub(crate) network: Network,
    pub(crate) hub: Hub,
    pub(crate) proxy: Arc<Proxy>,
    config: HubConfig,
    memory: Memory,
    server: SocketAddr,
    published: AtomicU64,
}

/// What a test decides about the requests, and what it reads about them.
#[derive(Default)]
pub(crate) struct Proxy {
    /// WebSockets are refused as by a proxy that does not know them.
    pub(crate) blocks_sockets: AtomicBool,
    /// Each token is refused.
    pub(crate) refuses_tokens: AtomicBool,
    /// The time in seconds until a session expires, or 0 for a session that does not.
    pub(crate) life: AtomicU64,
    pub(crate) sockets: AtomicU64,
    pub(crate) streams: AtomicU64,
    /// The sockets whose messages are compressed.
    pub(crate) compressed: AtomicU64,
}

impl Proxy {
    fn session(&self) -> Session {
        let session = Session::new("ann", vec![TOPIC.into()]).allow(|topic| topic.starts_with("public/"));
        match self.life.load(Ordering::Relaxed) {
            0 => session,
            life => session.expires_at_unix(Clock::system().unix().as_secs() + life),
        }
    }
}

impl Site {
    pub(crate) async fn start() -> Self {
        Self::start_with(|config| config).await
    }

    pub(crate) async fn start_with(configure: impl FnOnce(HubConfig) -> HubConfig) -> Self {
        let network = Network::new().await;
        let url = format!("http://{}", network.address);
        let config = configure(HubConfig::default().origins([&url]));
        let (proxy, memory) = (Arc::<Proxy>::default(), Memory::new(Clock::system()));
        let (hub, server) = serve(&config, &memory, &proxy).await;
        network.open(server);
        Self { url, network, hub, proxy, config, memory, server, published: AtomicU64::new(0) }
    }

    /// Starts another server, to which new connections go. Returns the hub of the one before.
    pub(crate) async fn replace(&mut self) -> Hub {
        let (hub, server) = serve(&self.config, &self.memory, &self.proxy).await;
        self.server = server;
        self.network.open(server);
        std::mem::replace(&mut self.hub, hub)
    }

    /// Ends an interruption of the network.
    pub(crate) fn reconnect(&self) {
        self.network.open(self.server);
    }

    /// Publishes the next `count` events to `ann`.
    pub(crate) async fn publish(&self, count: u64) {
        self.publish_padded(count, 10).await;
    }

    /// As [`publish`](Self::publish), with `pad` bytes of content each.
    pub(crate) async fn publish_padded(&self, count: u64, pad: usize) {
        for _ in 0..count {
            let n = self.published.fetch_add(1, Ordering::Relaxed) + 1;
            let data = json!({ "n": n, "pad": "ё".repeat(pad / 2) });
            self.hub.publish(TOPIC, &Push::new(format!("id/{n}"), "test.v1", data)).await.unwrap();
        }
    }

    /// Waits until the hub has `count` sessions.
    pub(crate) async fn until_sessions(&self, count: usize) {
        let poll = async {
            while self.hub.stats().sessions != count {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(LIMIT, poll).await.unwrap_or_else(|_| panic!("not {count}: {:?}", self.hub.stats()));
    }

    /// Returns the number of events that were published.
    pub(crate) fn published(&self) -> u64 {
        self.published.load(Ordering::Relaxed)
    }
}

async fn serve(config: &HubConfig, memory: &Memory, proxy: &Arc<Proxy>) -> (Hub, SocketAddr) {
    let builder = Hub::builder(config.clone(), Clock::system())
        .backplane(memory.clone())
        .cursor_keys([CursorKey::new(&[1; 32]).unwrap()]);
    let authenticate = proxy.clone();
    let hub = builder.authenticate(move |_| std::future::ready(Ok(authenticate.session()))).build().unwrap();
    let script = |text: &'static str| get(([(header::CONTENT_TYPE, "text/javascript")], text));
    let routes = Router::new()
        .route("/", get(page))
        .route("/other", get("another page"))
        .route("/page.js", script(include_str!("page.js")))
        .route("/comms-events.js", script(BROWSER_CLIENT))
        .route("/v1/events", get(events))
        .route("/v1/events/ticket", post(ticket))
        .with_state((hub.clone(), proxy.clone()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    (hub, address)
}

async fn page() -> Response {
    let headers = [(header::CONTENT_TYPE, "text/html"), (header::CONTENT_SECURITY_POLICY, POLICY)];
    (headers, include_str!("page.html")).into_response()
}

async fn events(State((hub, proxy)): State<(Hub, Arc<Proxy>)>, request: Request) -> Response {
    let is_socket = request.headers().contains_key(header::UPGRADE);
    let counter = if is_socket { &proxy.sockets } else { &proxy.streams };
    counter.fetch_add(1, Ordering::Relaxed);
    if is_socket && proxy.blocks_sockets.load(Ordering::Relaxed) {
        return StatusCode::BAD_GATEWAY.into_response();
    }
    let query = request.uri().query().unwrap_or_default();
    let ticket = query.split('&').find_map(|pair| pair.strip_prefix("ticket="));
    let is_known = match (credentials(request.headers()), ticket) {
        (Some(token), _) => token == "ann",
        (None, Some(ticket)) => hub.redeem_ticket(ticket).await.unwrap().is_some(),
        (None, None) => false,
    };
    if !is_known || proxy.refuses_tokens.load(Ordering::Relaxed) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let response = hub.accept(request, proxy.session());
    if response.headers().contains_key(header::SEC_WEBSOCKET_EXTENSIONS) {
        proxy.compressed.fetch_add(1, Ordering::Relaxed);
    }
    response.into_response()
}

async fn ticket(State((hub, proxy)): State<(Hub, Arc<Proxy>)>, headers: HeaderMap) -> Response {
    if credentials(&headers) != Some("ann") || proxy.refuses_tokens.load(Ordering::Relaxed) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    Json(json!({ "ticket": hub.issue_ticket("ann").unwrap() })).into_response()
}
