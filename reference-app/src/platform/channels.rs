//! The registry of channels to other services, for `/channels` of the admin listener.

use comms_grpc::{Channel, ChannelSnapshot};
use serde::Serialize;

use super::registry::Registry;

/// The channels of this process. Clones share them.
#[derive(Clone, Default)]
pub struct ChannelRegistry(Registry<Registered>);

/// A channel from one service to another.
#[derive(Clone)]
struct Registered {
    service: &'static str,
    peer: &'static str,
    channel: Channel,
}

/// The state of a channel.
#[derive(Serialize)]
pub struct ChannelReport {
    /// The service that calls.
    service: &'static str,
    /// The name of the called service, the policy of the calls, and the endpoints.
    #[serde(flatten)]
    snapshot: ChannelSnapshot,
}

impl ChannelRegistry {
    /// Adds the channel from `service` to `peer`, unless it has been added before.
    pub fn add(&self, service: &'static str, peer: &'static str, channel: Channel) {
        let _ = self.0.add(Registered { service, peer, channel }, |other| other.is(service, peer));
    }

    /// Returns the channel from `service` to `peer`.
    #[must_use]
    pub fn get(&self, service: &str, peer: &str) -> Option<Channel> {
        self.0.all().into_iter().find(|one| one.is(service, peer)).map(|one| one.channel)
    }

    /// Returns the state of each channel, in the order in which the services started.
    #[must_use]
    pub fn report(&self) -> Vec<ChannelReport> {
        let report = |Registered { service, channel, .. }: Registered| {
            let snapshot = channel.snapshot();
            ChannelReport { service, snapshot }
        };
        self.0.all().into_iter().map(report).collect()
    }
}

impl Registered {
    fn is(&self, service: &str, peer: &str) -> bool {
        self.service == service && self.peer == peer
    }
}
