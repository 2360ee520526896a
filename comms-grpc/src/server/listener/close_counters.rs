//! The connections that the listener closed, in metrics and in the log.

use std::net::IpAddr;

use comms_core::{
    clock::Clock,
    telemetry::{self, LogLimit},
};
use metrics::Counter;

use super::{config::ListenerConfig, connection::ConnectionEnd, watchdog::Limit};

/// Counters of the connections that the listener closed, by reason.
pub(super) struct CloseCounters {
    address: Counter,
    address_log: LogLimit,
    head: Counter,
    progress: Counter,
}

impl CloseCounters {
    pub(super) fn new(listener: &str) -> Self {
        let counter = |reason: &'static str| {
            let listener = listener.to_owned();
            metrics::counter!(telemetry::CONNECTIONS_CLOSED, "listener" => listener, "reason" => reason)
        };
        Self {
            address: counter("address_limit"),
            address_log: LogLimit::new(),
            head: counter("head_timeout"),
            progress: counter("progress_timeout"),
        }
    }

    /// Records a connection that was closed because its address has reached its limit.
    pub(super) fn refuse(&self, address: IpAddr, config: &ListenerConfig, clock: &Clock) {
        self.address.increment(1);
        if let Some(suppressed) = self.address_log.admit(clock) {
            let (listener, limit) = (&config.name, config.per_address());
            let text = "a connection over the limit of its address was closed";
            tracing::warn!(listener, %address, limit, suppressed, "{text}");
        }
    }

    /// Counts the end of a connection. Returns the number of requests that the end of the drain cut.
    pub(super) fn record(&self, listener: &str, end: ConnectionEnd) -> u32 {
        match end {
            ConnectionEnd::Closed => {}
            ConnectionEnd::Failed(error) => tracing::debug!(listener, error, "a connection failed"),
            ConnectionEnd::Cut(Limit::Head, _) => self.head.increment(1),
            ConnectionEnd::Cut(Limit::Progress, requests) => {
                self.progress.increment(1);
                tracing::debug!(listener, requests, "a connection without progress was cut");
            }
            ConnectionEnd::Cut(Limit::Drain, requests) => return requests.max(1),
            ConnectionEnd::Cut(Limit::Age | Limit::Goaway | Limit::Idle, _) => {}
        }
        0
    }
}
