//! The hub: one per process, between those who publish and the sessions.

mod backplane;
mod config;
mod meters;
pub(crate) mod outbound;
mod registry;
mod topics;

pub use config::HubConfig;
pub(crate) use meters::Meters;
pub(crate) use registry::{Admission, Refusal};
pub(crate) use topics::Topics;

use std::{fmt, sync::Arc, time::Duration};

use axum::{extract::WebSocketUpgrade, response::Response};
use comms_core::{Error, clock::Clock};
use http::HeaderMap;

use crate::{Event, Session, frame::ServerFrame, handshake, session::Running};
use backplane::{Backplane, Memory};
use outbound::Outbound;
use registry::Registry;

/// Publishes to sessions and holds them. Cheap to clone; clones are the same hub. Make it after the metrics
/// recorder is installed.
///
/// ```
/// use axum::{Router, extract::{State, WebSocketUpgrade}, http::HeaderMap, response::Response, routing::get};
/// use comms_core::clock::Clock;
/// use comms_ws::{Event, Hub, HubConfig, Session};
///
/// async fn open(State(hub): State<Hub>, headers: HeaderMap, upgrade: WebSocketUpgrade) -> Response {
///     // Verify comms_ws::credentials(&headers) first; the session is its principal's.
///     let session = Session::new("ann", vec!["user/ann".into()]).allow(|topic| topic == "news");
///     hub.accept(upgrade, &headers, session)
/// }
///
/// # fn main() -> Result<(), comms_core::Error> {
/// let hub = Hub::new(HubConfig::default(), Clock::system())?;
/// let routes: Router = Router::new().route("/v1/events", get(open)).with_state(hub.clone());
/// hub.publish("user/ann", &Event {
///     id: "order-service/0193".into(),
///     event: "order.status.changed.v1".into(),
///     time: "2026-11-21T07:00:00.123Z".into(),
///     traceparent: None,
///     data: serde_json::json!({"status": "PAID"}),
/// });
/// # drop(routes);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Hub(Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) config: HubConfig,
    pub(crate) clock: Clock,
    pub(crate) topics: Topics,
    pub(crate) meters: Arc<Meters>,
    registry: Arc<Registry>,
    backplane: Box<dyn Backplane>,
}

/// What a hub holds at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Open sessions, handshakes in progress included.
    pub sessions: usize,
    /// Topics that somebody listens to.
    pub topics: usize,
    /// Bytes waiting in all queues; a frame counts once per session.
    pub queued_bytes: usize,
}

impl Hub {
    /// A hub on this node alone.
    ///
    /// # Errors
    /// `Invalid` for a limit of zero, and for an origin that no browser sends.
    pub fn new(config: HubConfig, clock: Clock) -> Result<Self, Error> {
        let config = config.validated()?;
        let meters = Arc::new(Meters::new());
        let registry = Arc::new(Registry::new(meters.clone()));
        let backplane = Box::new(Memory);
        Ok(Self(Arc::new(Shared { config, clock, topics: Topics::default(), meters, registry, backplane })))
    }

    /// Sends `event` to every session of `topic`. Never waits; nobody there is as good as somebody.
    pub fn publish(&self, topic: &str, event: &Event) {
        match (ServerFrame::Event { topic, event }).encode() {
            Ok(frame) => self.0.backplane.publish(&self.0.topics, topic, &frame),
            Err(error) => tracing::error!(topic, %error, "an event that cannot be encoded"),
        }
    }

    /// Answers a handshake whose principal the caller has verified: opens the session, or refuses with problem
    /// details: 403 for a page that is not of [`HubConfig::origins`], 429 for too many sessions of
    /// the principal, 503 where there is no room and while draining.
    #[must_use = "the response is the handshake"]
    pub fn accept(&self, upgrade: WebSocketUpgrade, headers: &HeaderMap, session: Session) -> Response {
        let shared = &self.0;
        if !handshake::origin_allowed(headers, &shared.config.origins) {
            return handshake::refused(Refusal::Origin);
        }
        let HubConfig { queue_bytes, queue_frames, .. } = shared.config;
        let queue = Arc::new(Outbound::new(queue_bytes, queue_frames, shared.meters.clone()));
        match shared.registry.admit(&session.principal, &queue, &shared.config) {
            Err(refusal) => handshake::refused(refusal),
            Ok(admission) => {
                let running = Running::new(shared.clone(), session, queue, admission);
                handshake::prepared(upgrade, &shared.config).on_upgrade(|socket| running.run(socket))
            }
        }
    }

    /// Lets nobody in any more, closes every session with 1001 once its queue is written, and waits for that,
    /// at most for `limit`. Beyond it the sessions end by their own limits, or with the process.
    pub async fn drain(&self, limit: Duration) {
        if tokio::time::timeout(limit, self.0.registry.drained()).await.is_err() {
            tracing::warn!(
                sessions = self.0.registry.len(),
                ?limit,
                "sessions were still open at the end of the drain"
            );
        }
    }

    /// What it holds at the moment.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let Shared { registry, topics, meters, .. } = &*self.0;
        Stats { sessions: registry.len(), topics: topics.len(), queued_bytes: meters.queued_bytes() }
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hub").field(&self.stats()).finish()
    }
}
