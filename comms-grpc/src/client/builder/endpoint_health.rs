//! The settings by which a channel avoids endpoints that do not work.

use comms_core::resilience::{OutlierConfig, PolicyConfig};

use super::ChannelBuilder;

/// Endpoints that do not work.
impl ChannelBuilder {
    /// Sets how a channel with several endpoints detects endpoints that fail more than the others (gRFC A50), or `None`
    /// to eject none. Default: [`OutlierConfig::default`] with five failures in a row, at most 50 % of the endpoints
    /// ejected, and a first ejection of 10 s.
    ///
    /// An ejected endpoint gets no call while another endpoint is usable. If no other one is, it gets calls as before, so
    /// ejection alone refuses no call. After the ejection the endpoint is on trial: it gets one call at a time until one
    /// succeeds, and the first failure ejects it again, for longer.
    ///
    /// A failure is one that counts against the peer in the table of [`ErrorKind`](comms_core::ErrorKind), and an attempt
    /// without an answer at the deadline, that of the caller included. A call that the caller cancels, and a refusal
    /// with a proof, count as neither. An attempt of a [hedged](Self::hedge) call that another one was faster than is a
    /// failure only on trial, and only if the other one was sent later.
    pub fn outliers(mut self, outliers: impl Into<Option<OutlierConfig>>) -> Self {
        self.outliers = outliers.into().into();
        self
    }

    /// Sets the guards of each endpoint of a channel with several endpoints: the breaker, and the maximum number of
    /// calls in flight of the bulkhead. Default: no breaker, because [`outliers`](Self::outliers) finds the endpoints
    /// that fail, and 4,096 calls.
    ///
    /// An endpoint whose guard refuses a call is skipped. If all endpoints refuse a call, it fails as `NotExecuted`.
    /// The other settings belong to the policy of the channel and must be off.
    pub fn endpoint_policy(mut self, guards: PolicyConfig) -> Self {
        self.endpoint_policy = guards;
        self
    }

    /// Watches the health that the peer reports for `service` in `grpc.health.v1.Health` on each connection (gRFC A17).
    /// Empty: the health of the server as a whole. Default: no check.
    ///
    /// A connection is ready after the first report, for which [`connect_timeout`](Self::connect_timeout) applies as
    /// well. An endpoint takes no calls from any report other than SERVING, or from the end of the watch, until the next
    /// SERVING. If no endpoint is left, calls fail as `NotExecuted`, or wait with
    /// [`wait_for_ready`](Self::wait_for_ready). A watch that ends is repeated at once if it lasted 1 s, and otherwise
    /// with the waits of [`reconnect_backoff`](Self::reconnect_backoff). A peer that does not implement the check
    /// (UNIMPLEMENTED) counts as healthy, and a warning is logged once.
    ///
    /// The watch is a stream of the connection: it counts toward the peer's maximum of concurrent streams, and pings of
    /// [`keep_alive`](Self::keep_alive) are sent although no call of the application is in flight. An endpoint whose peer
    /// permits one stream takes no calls, as one that does not serve, until the peer permits another one. It is not part of the calls in flight, the guards and the counts of the endpoint.
    pub fn health_check(mut self, service: impl Into<String>) -> Self {
        self.health_check = Some(service.into());
        self
    }
}
