//! Hostile peers against every listener of a real process, and ordinary clients beside them.

mod ends;
mod many;
mod peers;
mod reads;
mod silence;

use std::{net::SocketAddr, time::Duration};

use comms_core::clock::Clock;

use crate::support::{Marketplace, Shape};

/// The limit of heads, of silence between requests and of progress in these tests.
const LIMIT: &str = "1s";
/// Far above the limit, for a machine that is busy.
const WAIT: Duration = Duration::from_secs(20);

/// A listener of the process under attack.
#[derive(Debug, Clone, Copy)]
struct Target {
    name: &'static str,
    address: SocketAddr,
    /// A request that is answered with a body.
    request: Request,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Request {
    /// GET of this path, over HTTP/1 and HTTP/2.
    Get(&'static str),
    /// A unary call of the health service, over HTTP/2 alone.
    Health,
}

struct Attacked {
    marketplace: Marketplace,
    targets: [Target; 5],
}

impl Attacked {
    async fn start(settings: &[(&str, &str)]) -> Self {
        let free = |name| (name, format!("127.0.0.1:{}", free_port()));
        let addresses = [free("COMMS_ORDER__LISTEN"), free("COMMS_PAYMENT__LISTEN")];
        let urls = addresses.each_ref().map(|(_, address)| format!("http://{address}"));
        let mut env: Vec<(&str, &str)> =
            addresses.iter().map(|(name, address)| (*name, &**address)).collect();
        env.extend([("COMMS_ORDER__URL", &*urls[0]), ("COMMS_PAYMENT__URL", &*urls[1])]);
        env.push(("COMMS_LOG__FILTER", "warn"));
        env.extend(settings);
        let marketplace = Marketplace::start_with(Shape::Embedded, &env).await;
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

    /// With short limits.
    async fn start_strict() -> Self {
        let limits = [
            ("COMMS_LISTENERS__HEAD_TIMEOUT", LIMIT),
            ("COMMS_LISTENERS__IDLE_TIMEOUT", LIMIT),
            ("COMMS_LISTENERS__PROGRESS_TIMEOUT", LIMIT),
        ];
        Self::start(&limits).await
    }

    fn http(&self) -> impl Iterator<Item = Target> {
        self.targets.into_iter().filter(|target| target.request != Request::Health)
    }

    /// An ordinary client places an order, and its socket receives the event that the order is paid.
    async fn serves(&self, key: &str) {
        let ann = self.marketplace.buyer("ann");
        let mut socket = ann.socket().await;
        let placed = ann.insist(key, 100).await;
        socket.until(&placed.order_id, "PAID").await;
    }
}

/// Below the range from which the system takes ports for connections.
fn free_port() -> u16 {
    loop {
        let port = 20_000 + u16::from_le_bytes(Clock::system().random()) % 10_000;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
