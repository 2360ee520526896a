//! The hub: publishes to sessions, and admits them.
//!
//! A push passes through the files in this order, from the publisher to the socket:
//! 1. `mod.rs`: [`Hub::publish`].
//! 2. `crate::frame`: encodes the push once as JSON.
//! 3. `backplane.rs`: delivers the frame to the hubs of all nodes, which is this hub alone.
//! 4. `topics.rs`: finds the queues of the sessions of the topic.
//! 5. `outbound.rs`: the bounded queue of each session.
//! 6. `crate::session::run`: takes the frames from the queue and writes them to the socket.
//!
//! A handshake passes through `crate::handshake` (origin, refusals), `registry.rs` (admission within the limits of
//! `config.rs`) and `crate::session`.

mod backplane;
mod config;
mod meters;
pub(crate) mod outbound;
pub(crate) mod registry;
pub(crate) mod state;
mod topics;

pub use config::HubConfig;

use std::{fmt, sync::Arc, time::Duration};

use axum::{extract::WebSocketUpgrade, response::Response};
use comms_core::{Error, clock::Clock};
use http::HeaderMap;

use crate::{
    frame::ServerFrame,
    handshake::{self, Refusal},
    push::Push,
    session::{RunningSession, Session},
};
use backplane::{Backplane, Memory};
use meters::Meters;
use outbound::Outbound;
use registry::Registry;
use state::HubState;
use topics::Topics;

/// Publishes pushes to sessions, and accepts and drains the sessions. One per process.
///
/// Cheap to clone; clones are the same hub. Create it after the metrics recorder is installed, because the handles of
/// its metrics are created once.
///
/// ```
/// use comms_core::clock::Clock;
/// use comms_ws::{Hub, HubConfig, Push};
///
/// # fn main() -> Result<(), comms_core::Error> {
/// let hub = Hub::new(HubConfig::default(), Clock::system())?;
/// hub.publish("user/ann", &Push {
///     id: "order-service/0193".into(),
///     event: "order.status.changed.v1".into(),
///     time: "2026-11-21T07:00:00.123Z".into(),
///     traceparent: None,
///     data: serde_json::json!({"status": "PAID"}),
/// });
/// assert_eq!(hub.stats().sessions, 0);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Hub(Arc<Inner>);

struct Inner {
    state: Arc<HubState>,
    registry: Arc<Registry>,
    backplane: Box<dyn Backplane>,
}

/// The current load of a hub, from [`Hub::stats`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// The number of open sessions, including handshakes in progress.
    pub sessions: usize,
    /// The number of topics with at least one subscriber.
    pub topics: usize,
    /// The number of bytes in all queues. A frame counts once for each session.
    pub queued_bytes: usize,
}

impl Hub {
    /// Creates a hub for the sessions of this process. `clock` measures pings, rates and the expiry of sessions.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](comms_core::ErrorKind::Invalid) if a limit of `config` is zero, if
    /// [`HubConfig::queue_bytes`] or [`HubConfig::ping_interval`] is above its maximum, or if an entry of
    /// [`HubConfig::origins`] is not written as browsers send it.
    pub fn new(config: HubConfig, clock: Clock) -> Result<Self, Error> {
        let config = config.validated()?;
        let meters = Arc::new(Meters::new());
        let registry = Arc::new(Registry::new(meters.clone()));
        let state = Arc::new(HubState { config, clock, topics: Topics::default(), meters });
        Ok(Self(Arc::new(Inner { state, registry, backplane: Box::new(Memory) })))
    }

    /// Queues `push` for every session that is subscribed to `topic`. Never blocks.
    ///
    /// Publishing to a topic without subscribers is not an error. A session whose queue would exceed its limit is
    /// closed with [`close::TOO_SLOW`](crate::close::TOO_SLOW).
    pub fn publish(&self, topic: &str, push: &Push) {
        match (ServerFrame::Event { topic, push }).encode() {
            Ok(frame) => self.0.backplane.publish(&self.0.state.topics, topic, &frame),
            Err(error) => {
                tracing::error!(topic, push.id, %error, "a push was dropped: it cannot be encoded as JSON")
            }
        }
    }

    /// Accepts or refuses the handshake of a socket whose principal the caller has verified.
    ///
    /// The returned response must be sent; the session starts after it. A refused handshake gets problem details (RFC
    /// 9457):
    ///
    /// | status | type | reason |
    /// |---|---|---|
    /// | 403 | `/problems/origin` | the `Origin` is not in [`HubConfig::origins`] |
    /// | 429 | `/problems/too-many-sessions` | the principal has [`HubConfig::max_sessions_per_principal`] sessions |
    /// | 503 | `/problems/full` | the hub has [`HubConfig::max_sessions`] sessions |
    /// | 503 | `/problems/draining` | [`drain`](Self::drain) was called |
    ///
    /// A 429 or 503 has `retry-after: 5`.
    #[must_use = "the response completes the handshake"]
    pub fn accept(&self, upgrade: WebSocketUpgrade, headers: &HeaderMap, session: Session) -> Response {
        let Inner { state, registry, .. } = &*self.0;
        let config = &state.config;
        if !handshake::is_origin_allowed(headers, &config.origins) {
            return handshake::refuse(Refusal::Origin);
        }
        let queue = Arc::new(Outbound::new(config.queue_bytes, config.queue_frames, state.meters.clone()));
        match registry.admit(&session.principal, &queue, config) {
            Err(refusal) => handshake::refuse(refusal),
            Ok(admission) => {
                let running = RunningSession::new(state.clone(), session, queue, admission);
                handshake::set_limits(upgrade, config.read_limit(), config.queue_bytes)
                    .on_upgrade(|socket| running.run(socket))
            }
        }
    }

    /// Shuts the hub down: refuses further sessions, and closes each open session with
    /// [`close::GOING_AWAY`](crate::close::GOING_AWAY) after its queue is written.
    ///
    /// Returns when all sessions have ended, at the latest after `limit`. A warning is logged if sessions are still
    /// open then. They end by their own limits, or with the process.
    pub async fn drain(&self, limit: Duration) {
        if self.0.state.clock.timeout(limit, self.0.registry.drained()).await.is_err() {
            tracing::warn!(
                sessions = self.0.registry.len(),
                ?limit,
                "sessions were still open at the end of the drain"
            );
        }
    }

    /// Returns the current load.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let Inner { state, registry, .. } = &*self.0;
        Stats {
            sessions: registry.len(),
            topics: state.topics.len(),
            queued_bytes: state.meters.queued_bytes(),
        }
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hub").field(&self.stats()).finish()
    }
}
