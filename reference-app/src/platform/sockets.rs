//! The registry of hubs, for `/sockets` of the admin listener.

use comms_ws::{Hub, Stats, TopicStats};
use serde::Serialize;

use super::registry::Registry;

/// The maximum number of topics in the report of a hub.
const LARGEST: usize = 20;

/// The hubs of this process. Clones share them.
#[derive(Clone, Default)]
pub struct SocketRegistry(Registry<(&'static str, Hub)>);

/// The load of a hub.
#[derive(Serialize)]
pub struct SocketReport {
    /// The service of the hub.
    service: &'static str,
    /// The numbers of sessions, topics and bytes.
    #[serde(flatten)]
    stats: Stats,
    /// The topics with most sessions.
    largest_topics: Vec<TopicStats>,
}

impl SocketRegistry {
    /// Adds the hub of `service`, unless one has been added before.
    pub fn add(&self, service: &'static str, hub: Hub) {
        let _ = self.0.add((service, hub), |(other, _)| *other == service);
    }

    /// Returns the load of each hub, in the order in which the services started.
    #[must_use]
    pub fn report(&self) -> Vec<SocketReport> {
        let report = |(service, hub): (&'static str, Hub)| SocketReport {
            service,
            stats: hub.stats(),
            largest_topics: hub.topics(LARGEST),
        };
        self.0.all().into_iter().map(report).collect()
    }
}
