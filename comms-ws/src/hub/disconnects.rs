//! The end of the sessions of a principal on all nodes.
//!
//! A call is a message of a topic of the backplane that every hub follows from its first session. A feed puts the calls in order, and
//! reads those that a node has missed, as in any topic with history.

use std::{borrow::Cow, sync::Arc, time::Duration};

use bytes::Bytes;
use comms_core::Error;
use serde::{Deserialize, Serialize};

use super::registry::Registry;
use crate::{
    backplane::{Publication, Retention},
    fanout::Fanout,
    feed::{Arrival, Feed, Sink},
    topic::{SlowConsumer, Topic, TopicOptions},
};

/// The topic of the calls.
pub(super) const TOPIC: &str = "$hub/disconnect";
/// How long a node may be cut off from the backplane without missing a call.
pub(super) const HISTORY: Retention = Retention { messages: 1_000, age: Duration::from_secs(600) };
/// The allowed difference between the clocks of two nodes, for calls that arrive late.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(10);

/// A call as it is published.
#[derive(Serialize, Deserialize)]
struct Call<'a> {
    /// The node of the caller, which has ended its own sessions.
    node: u64,
    principal: Cow<'a, str>,
    /// The time of the call in milliseconds after the Unix epoch, by the clock of its node.
    at_ms: u64,
}

/// Takes the calls of other nodes.
pub(super) struct Disconnects {
    node: u64,
    registry: Arc<Registry>,
}

impl Disconnects {
    /// Returns the feed of the calls, which ends sessions of `registry`.
    pub(super) fn feed(node: u64, registry: Arc<Registry>) -> Feed {
        let slow_consumer = SlowConsumer::default();
        let options = TopicOptions { history: Some(HISTORY), slow_consumer, presence: false };
        Feed::of_hub(Topic { name: TOPIC.into(), options }, Box::new(Self { node, registry }))
    }
}

impl Sink for Disconnects {
    /// Ends the sessions of the principal of a call. A call that arrives late spares the sessions that began after it.
    fn take(&self, body: &Bytes, arrival: Arrival) {
        let call: Call<'_> = match serde_json::from_slice(body) {
            Ok(call) => call,
            Err(error) => {
                return tracing::error!(%error, "a call of Hub::disconnect on another node cannot be read");
            }
        };
        if call.node == self.node {
            return;
        }
        let until = match arrival {
            Arrival::Live => Duration::MAX,
            Arrival::Late => Duration::from_millis(call.at_ms).saturating_add(CLOCK_TOLERANCE),
        };
        let sessions = self.registry.disconnect(&call.principal, until);
        tracing::debug!(sessions, "sessions of a principal were ended by another node");
    }

    /// Reports that calls are lost: their principals are not known.
    fn missed(&self, reason: &'static str) {
        tracing::warn!(
            reason,
            "calls of Hub::disconnect on other nodes may be lost: sessions of this node that they should have ended go on"
        );
    }
}

/// Publishes a call to the other nodes.
///
/// # Errors
/// Returns the error of the backplane.
pub(super) async fn publish(fanout: &Fanout, node: u64, principal: &str) -> Result<(), Error> {
    let clock = &fanout.env.clock;
    let at_ms = u64::try_from(clock.unix().as_millis()).unwrap_or(u64::MAX);
    let call = Call { node, principal: principal.into(), at_ms };
    let body = serde_json::to_vec(&call).map_err(Error::invalid)?;
    let id = clock.uuid_v7().to_string();
    let publication = Publication { topic: TOPIC, id: &id, body: body.into(), retention: Some(HISTORY) };
    let published = fanout.backplane.publish(publication).await;
    published.map(drop).map_err(|error| {
        error.context(
            "hub: the sessions of this node were ended, those of other nodes may go on: repeat the call",
        )
    })
}
