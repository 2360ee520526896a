//! The state of a channel at one moment, for an admin endpoint.

use comms_core::resilience::{BreakerSnapshot, HedgeSnapshot, HostSnapshot, PolicySnapshot};
use serde::Serialize;

/// The state of a [`Channel`](crate::Channel) at one moment, from [`Channel::snapshot`](crate::Channel::snapshot).
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct ChannelSnapshot {
    /// The name of the peer.
    pub peer: String,
    /// The policy of the calls. Methods with a policy of their own are not included.
    pub policy: PolicySnapshot,
    /// The hedges, one for each hedged method, in the order of the methods. The name of a hedge is that of the peer,
    /// followed by the path of the method.
    pub hedges: Vec<HedgeSnapshot>,
    /// The endpoints, in the order of their addresses. Empty before the first resolution of the host.
    pub endpoints: Vec<EndpointSnapshot>,
}

/// The state of an endpoint at one moment.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct EndpointSnapshot {
    /// Host and port.
    pub address: String,
    /// The state of the connection.
    pub state: EndpointState,
    /// Calls whose response has not ended.
    pub in_flight: usize,
    /// Attempts that were sent since the endpoint is known.
    pub started: u64,
    /// Attempts that failed through a fault of the peer: no answer, or an answer that counts against the peer.
    pub failed: u64,
    /// The breaker of the endpoint, if the channel has several endpoints with a breaker
    /// ([`ChannelBuilder::endpoint_policy`](crate::ChannelBuilder::endpoint_policy)).
    pub breaker: Option<BreakerSnapshot>,
    /// The ejection of the endpoint, if the channel has several endpoints and detects outliers
    /// ([`ChannelBuilder::outliers`](crate::ChannelBuilder::outliers)).
    pub outlier: Option<HostSnapshot>,
}

/// The state of the connection to an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EndpointState {
    /// There is no connection. The next call opens one.
    Idle,
    /// A connection attempt is running.
    Connecting,
    /// The connection takes calls.
    Ready,
    /// There is a connection, and the peer reports that it does not serve, or the watch of its health has failed
    /// ([`ChannelBuilder::health_check`](crate::ChannelBuilder::health_check)).
    NotServing,
    /// The last connection attempt failed, and the wait before the next one has not passed.
    Backoff,
}
