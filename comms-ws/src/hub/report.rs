//! What a hub does now, for metrics and operators.

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

    /// Returns the principals with sessions of this node in `topic`, each once, in alphabetical order.
    #[must_use]
    pub fn present(&self, topic: &str) -> Vec<String> {
        let connections = self.0.fanout.shards().iter().flat_map(|shard| shard.connections_of(topic));
        let mut present: Vec<String> =
            connections.filter_map(|connection| connection.peer.principal()).collect();
        present.sort_unstable();
        present.dedup();
        present
    }
}
