//! Hostile peers at every listener of a real process. Ordinary clients must be served at the same time.

mod attacks;
mod connections;
mod shutdown;
mod slow_readers;
mod slow_senders;

use std::{net::SocketAddr, time::Duration};

use comms_core::clock::Clock;

use crate::support::{Deployment, Marketplace};

/// The time limits of the listeners in these tests: of a request's head, between requests, and of progress.
const LIMIT: &str = "1s";
/// The time that a listener gets for closing a connection: far above the limit, for a slow machine.
const WAIT: Duration = Duration::from_secs(20);

/// A listener of the process under attack.
#[derive(Debug, Clone, Copy)]
struct Target {
    name: &'static str,
    address: SocketAddr,
    /// A request that the listener answers with a body.
    request: Request,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Request {
    /// A GET of this path, over HTTP/1 or HTTP/2.
    Get(&'static str),
    /// A unary call of the gRPC health service, over HTTP/2.
    Health,
}

struct Attacked {
    marketplace: Marketplace,
    targets: [Target; 5],
}

impl Attacked {
    /// Starts a marketplace whose gRPC listeners are plain, so that the attacks reach HTTP/2.
    async fn start(settings: &[(&str, &str)]) -> Self {
        Self::start_by("http", &[&[("COMMS_TLS__MODE", "off")], settings].concat()).await
    }

    /// Starts a marketplace whose gRPC listeners have TLS.
    async fn start_with_tls(settings: &[(&str, &str)]) -> Self {
        Self::start_by("https", settings).await
    }

    async fn start_by(scheme: &str, settings: &[(&str, &str)]) -> Self {
        let free = |name| (name, format!("127.0.0.1:{}", free_port()));
        let addresses = [free("COMMS_ORDER__LISTEN"), free("COMMS_PAYMENT__LISTEN")];
        let urls = addresses.each_ref().map(|(_, address)| format!("{scheme}://{address}"));
        let mut env: Vec<(&str, &str)> =
            addresses.iter().map(|(name, address)| (*name, &**address)).collect();
        env.extend([("COMMS_ORDER__URL", &*urls[0]), ("COMMS_PAYMENT__URL", &*urls[1])]);
        env.push(("COMMS_LOG__FILTER", "warn"));
        env.extend(settings);
        let marketplace = Marketplace::start_with(Deployment::Embedded, &env).await;
        let host = |url: &str| url.split_once("://").unwrap().1.parse().unwrap();
        let admin = marketplace.processes[0].admin_url("");
        let get = |name, url: &str, path| Target { name, address: host(url), request: Request::Get(path) };
        let call = |name, url: &str| Target { name, address: host(url), request: Request::Health };
        let targets = [
            get("gateway", &marketplace.gateway, "/v1/realtime"),
            get("notification", &marketplace.socket, "/v1/events"),
            get("admin", &admin, "/metrics"),
            call("order", &urls[0]),
            call("payment", &urls[1]),
        ];
        Self { marketplace, targets }
    }

    /// Starts a marketplace with short time limits.
    async fn start_strict() -> Self {
        let limits = [
            ("COMMS_LISTENERS__HEAD_TIMEOUT", LIMIT),
            ("COMMS_LISTENERS__IDLE_TIMEOUT", LIMIT),
            ("COMMS_LISTENERS__PROGRESS_TIMEOUT", LIMIT),
        ];
        Self::start(&limits).await
    }

    /// Returns the listeners that speak HTTP/1.
    fn http(&self) -> impl Iterator<Item = Target> {
        self.targets.into_iter().filter(|target| target.request != Request::Health)
    }

    /// Checks that an ordinary client is served: it places an order, and its socket receives the event with PAID.
    async fn serves(&self, key: &str) {
        let ann = self.marketplace.buyer("ann");
        let mut socket = ann.socket().await;
        let placed = ann.place_with_retries(key, 100).await;
        socket.until(&placed.order_id, "PAID").await;
    }
}

/// Returns a free port below the range of outgoing connections.
fn free_port() -> u16 {
    loop {
        let port = 20_000 + u16::from_le_bytes(Clock::system().random()) % 10_000;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
