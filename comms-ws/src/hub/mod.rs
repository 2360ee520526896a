//! The hub: publishes to sessions, and admits them.
//!
//! A push passes through the folders in this order, from the publisher to the socket:
//! 1. `mod.rs`: [`Hub::publish`] encodes the push once as JSON.
//! 2. `crate::backplane`: gives it an offset, stores it, and delivers it to the hubs of all nodes.
//! 3. `crate::feed`: puts the messages of the topic in order.
//! 4. `crate::shard`: joins the messages of a turn, and writes them to the subscribed connections.
//! 5. `crate::connection`: the bounded queue of a connection, for what its socket does not take.
//!
//! A request passes through `crate::transport` (origin, handshake), `registry.rs` (admission within the limits of the
//! configuration) and `crate::session`. `watch.rs` looks after all sessions: pings, silence, stalled sockets, expiry.
//!
//! Across nodes: `disconnects.rs` ends the sessions of a principal, `presence.rs` reports the principals of topics.

mod builder;
pub(crate) mod disconnects;
mod presence;
mod principals;
pub(crate) mod registry;
mod report;
pub(crate) mod state;
pub(crate) mod streams;
mod tickets;
pub(crate) mod watch;

pub use builder::HubBuilder;
pub use report::{Stats, TopicStats};

use std::{fmt, sync::Arc, time::Duration};

use comms_core::{Error, clock::Clock};

use crate::{
    backplane::{Publication, Published},
    close::Close,
    config::HubConfig,
    connection::Item,
    message::Encoding,
    protocol::ServerFrame,
    push::Push,
    session::{Link, Session},
    topic,
};
use state::HubState;

/// The number of stages in which a drain closes many sessions.
const DRAIN_STAGES: u32 = 10;
/// The minimum number of sessions of a stage, so that a drain of few sessions has only one.
const MIN_STAGE: usize = 100;
/// The time in which a drain removes the principals of this node from the backplane.
const PRESENCE_LIMIT: Duration = Duration::from_secs(2);

/// Publishes pushes to sessions, and accepts and drains the sessions. One per process.
///
/// Cheap to clone; clones are the same hub. Create it after the metrics recorder is installed, because the handles of
/// its metrics are created once. Its tasks start with the first session, on the current tokio runtime.
///
/// ```
/// use comms_core::clock::Clock;
/// use comms_ws::{Hub, HubConfig, Push};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), comms_core::Error> {
/// let hub = Hub::new(HubConfig::default(), Clock::system())?;
/// let push = Push::new("order-service/0193", "order.status.changed.v1", serde_json::json!({"status": "PAID"}));
/// hub.publish("user/ann", &push).await?;
/// assert_eq!(hub.stats().sessions, 0);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Hub(pub(crate) Arc<HubState>);

impl Hub {
    /// Creates a hub of a single node: history and one-time tickets are in its memory. `clock` measures pings, rates and
    /// the expiry of sessions.
    ///
    /// # Errors
    /// As [`HubBuilder::build`].
    pub fn new(config: HubConfig, clock: Clock) -> Result<Self, Error> {
        Self::builder(config, clock).build()
    }

    /// Returns a builder, for a hub with a backplane of several nodes or with tokens in frames.
    pub fn builder(config: HubConfig, clock: Clock) -> HubBuilder {
        HubBuilder::new(config, clock)
    }

    /// Publishes `push` to every session that is subscribed to `topic`, on all nodes.
    ///
    /// Returns when the backplane has stored the message, if the topic has history, and not when clients have it. Waits while
    /// more than 8 MiB of messages are to be written to sockets. Publishing to a topic without subscribers is not an
    /// error. Messages of one publisher to a topic keep their order if it awaits each publication.
    ///
    /// # Errors
    /// - [`ErrorKind::Invalid`](comms_core::ErrorKind::Invalid) if `topic` or [`Push::id`] is empty, if `topic` begins with
    ///   `$hub/`, if JSON cannot represent the push, or if the JSON text is longer than [`HubConfig::max_push_bytes`]. The
    ///   error names size and limit.
    /// - The error of the backplane, see [`Backplane::publish`](crate::backplane::Backplane::publish), if the topic has
    ///   history and the message cannot be stored now. Publish it again: the id identifies a duplicate.
    pub async fn publish(&self, topic: &str, push: &Push) -> Result<Published, Error> {
        if topic.is_empty() || push.id.is_empty() {
            return Err(Error::invalid("hub: a push needs a topic and an id that are not empty"));
        }
        if topic::is_reserved(topic) {
            return Err(Error::invalid("hub: topics that begin with `$hub/` belong to the hub"));
        }
        let body = serde_json::to_vec(push).map_err(Error::invalid)?;
        let limit = self.0.env.config.push_limit();
        if body.len() > limit {
            return Err(Error::invalid(format!(
                "hub: a push has {} bytes as JSON, {limit} are allowed: publish a reference to the content",
                body.len()
            )));
        }
        self.0.fanout.room().await;
        let retention = self.0.env.config.topics.of(topic).history;
        let publication = Publication { topic, id: &push.id, body: body.into(), retention };
        self.0.fanout.backplane.publish(publication).await
    }

    /// Opens a session on a transport of the application, see [`Link`]. `cursor` is where its client resumes.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Rejected`](comms_core::ErrorKind::Rejected) if a limit of the number of sessions is reached, or
    /// if the hub is being drained.
    pub fn open(&self, session: Session, encoding: Encoding, cursor: Option<&str>) -> Result<Link, Error> {
        let admitted = self.0.registry.admit(Some(&session.principal), session.address, &self.0.env.config);
        let admission = admitted.map_err(|refusal| {
            self.0.env.meters.refused(refusal);
            refusal.into_error()
        })?;
        self.0.start();
        let mut link = Link::open(&self.0, admission, Some(&session), encoding, None);
        link.start(session, Vec::new(), cursor);
        Ok(link)
    }

    /// Ends the sessions of `principal` on all nodes with [`close::FORBIDDEN`](crate::close::FORBIDDEN), also those in their
    /// handshake. Returns the number of sessions of this node.
    ///
    /// The sessions of this node end at once, those of other nodes when the message of the backplane arrives. A node that
    /// is cut off from the backplane ends them after the interruption: it reads up to 1,000 calls of the last 10 minutes. A
    /// node that has missed more, or whose backplane has lost the history, does not know the principals of the lost calls: it
    /// logs a warning, and their sessions go on until their token expires.
    ///
    /// A session that begins after the call is not ended by it, also if its token was verified before: the application
    /// refuses the user at the handshake, and calls then. Exceptions are sessions on other nodes that begin before the
    /// message arrives, or, on a node that was cut off, up to 10 seconds after the call. The clocks of the nodes must not differ by more
    /// than that.
    ///
    /// # Errors
    /// Returns the error of the backplane, see [`Backplane::publish`](crate::backplane::Backplane::publish), if other
    /// nodes may not learn of the call. The sessions of this node have ended. Repeat the call.
    pub async fn disconnect(&self, principal: &str) -> Result<usize, Error> {
        let sessions = self.0.registry.disconnect(principal, Duration::MAX);
        disconnects::publish(&self.0.fanout, self.0.node, principal).await?;
        Ok(sessions)
    }

    /// Shuts the hub down: refuses further sessions, and closes the open ones in stages, so that their clients do not
    /// reconnect all at once.
    ///
    /// A session gets a frame `drain` with the wait before its client reconnects, what is queued for it, and then
    /// [`close::GOING_AWAY`](crate::close::GOING_AWAY). Returns when all sessions have ended, at the latest after
    /// `limit`; the stages take at most half of it. A warning is logged if sessions are still open then. They
    /// end within [`HubConfig::write_timeout`] and [`HubConfig::close_timeout`], or with the process.
    pub async fn drain(&self, limit: Duration) {
        let hub = &self.0;
        let ended = async {
            let connections = hub.registry.refuse_more();
            // What was published before is sent before the close. Publishers that go on do not hold the drain up.
            let settled =
                futures_util::future::join_all(hub.fanout.shards().iter().map(|shard| shard.settled()));
            let _ = hub.env.clock.timeout(limit / 4, settled).await;
            let size = connections.len().div_ceil(DRAIN_STAGES as usize).max(MIN_STAGE);
            for (index, stage) in connections.chunks(size).enumerate() {
                if index > 0 {
                    hub.env.clock.sleep(limit / (2 * DRAIN_STAGES)).await;
                }
                for connection in stage {
                    let retry_ms = u64::try_from(hub.env.retry_after().as_millis()).unwrap_or(u64::MAX);
                    connection.send(Item::control(&ServerFrame::Drain { retry_ms }));
                    connection.close(Close::GOING_AWAY);
                }
            }
            drop(connections);
            hub.registry.ended().await;
            // A backplane that is away removes the principals after their lifetime.
            let _ = hub.env.clock.timeout(PRESENCE_LIMIT, hub.presence.settled()).await;
        };
        let _ = hub.env.clock.timeout(limit, ended).await;
        // Those whose stage was not reached.
        hub.registry.refuse_more().iter().for_each(|connection| connection.close(Close::GOING_AWAY));
        let sessions = hub.registry.len();
        if sessions > 0 {
            tracing::warn!(sessions, ?limit, "sessions were still open at the end of the drain");
        }
        hub.fanout.stop_tasks().await;
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hub").field(&self.stats()).finish()
    }
}
