//! What a hub does now, for metrics and operators.

use comms_core::Error;
use serde::Serialize;

use super::Hub;
use crate::backplane::Status;

/// The current load of a hub, from [`Hub::stats`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// The number of open sessions, including handshakes in progress.
    pub sessions: usize,
    /// The number of these sessions that are on a bare TCP socket, to which the publisher's side writes. The others are
    /// event streams, are on a stream such as TLS, or wait for their handshake. See
    /// [`HubBuilder::bare_sockets`](super::HubBuilder::bare_sockets).
    pub direct_sessions: usize,
    /// The number of topics with at least one subscriber.
    pub topics: usize,
    /// The number of bytes that clients have not been sent yet. A message counts once for each session.
    pub queued_bytes: usize,
    /// The memory of all messages in turns and queues in bytes. A message counts once, however many sessions wait for
    /// it.
    pub held_bytes: usize,
    /// Whether messages of other nodes arrive.
    pub backplane: Status,
}

/// A topic of a hub, from [`Hub::topics`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TopicStats {
    /// The name.
    pub topic: String,
    /// The number of sessions of this node in the topic.
    pub sessions: usize,
}

impl Hub {
    /// Returns the current load.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            sessions: self.0.registry.len(),
            direct_sessions: self.0.env.meters.direct(),
            topics: self.0.feeds.len(),
            queued_bytes: self.0.env.meters.queued_bytes(),
            held_bytes: self.0.env.meters.held_bytes(),
            backplane: self.0.fanout.backplane.status(),
        }
    }

    /// Returns the topics with sessions of this node, those with most sessions first, at most `max`.
    #[must_use]
    pub fn topics(&self, max: usize) -> Vec<TopicStats> {
        let mut counts = self.0.feeds.counts();
        counts.sort_unstable_by(|(a, more), (b, fewer)| fewer.cmp(more).then_with(|| a.cmp(b)));
        let stats = |(topic, sessions): (std::sync::Arc<str>, usize)| TopicStats {
            topic: topic.to_string(),
            sessions,
        };
        counts.into_iter().take(max).map(stats).collect()
    }

    /// Returns the principals that are present in `topic` on any node, each once, in alphabetical order, at most `max`: any
    /// `max` of them if there are more.
    ///
    /// The topic needs [`TopicOptions::presence`](crate::TopicOptions::presence). A principal is present from its first session in
    /// the topic to its last. Each node reports its principals to the backplane a moment later, and again every 20 seconds. The
    /// principals of a node that died, and those that left while the backplane was away, are listed for at most 60 seconds
    /// after their last report. If the backplane loses its entries, they are complete again after the next report. There
    /// are no events for principals that come and go.
    ///
    /// # Errors
    /// - [`ErrorKind::Invalid`](comms_core::ErrorKind::Invalid) if the options of the topic have no presence.
    /// - The error of the backplane, see [`Backplane::present`](crate::backplane::Backplane::present), if it cannot be read now.
    pub async fn present(&self, topic: &str, max: usize) -> Result<Vec<String>, Error> {
        if !self.0.env.config.topics.of(topic).presence {
            return Err(Error::invalid(format!(
                "hub: the topic {topic:?} has no presence: set TopicOptions::presence for its prefix"
            )));
        }
        let mut present = self.0.fanout.backplane.present(topic, max).await?;
        present.sort_unstable();
        Ok(present)
    }

    /// Returns the principals with sessions of this node in `topic`, each once, in alphabetical order. It reads no
    /// backplane, and needs no option of the topic.
    #[must_use]
    pub fn present_here(&self, topic: &str) -> Vec<String> {
        let connections = self.0.fanout.shards().iter().flat_map(|shard| shard.connections_of(topic));
        let principals = connections.filter_map(|connection| connection.peer.principal());
        let mut present: Vec<String> = principals.map(|principal| principal.to_string()).collect();
        present.sort_unstable();
        present.dedup();
        present
    }
}
