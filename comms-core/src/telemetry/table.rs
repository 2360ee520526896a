//! The table of all metrics, from which a recorder learns their descriptions.

pub use metrics::Unit;
use metrics::{describe_counter, describe_gauge, describe_histogram};

use super::*;

/// A metric as a recorder describes it.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Metric {
    /// The name, as Prometheus shows it.
    pub name: &'static str,
    /// The kind of its values.
    pub kind: MetricKind,
    /// The unit of its values.
    pub unit: Unit,
    /// What is measured, in one line.
    pub description: &'static str,
}

/// The kind of a metric's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// A sum that only grows.
    Counter,
    /// A value at this moment.
    Gauge,
    /// A distribution.
    Histogram,
}

/// Every metric that the crates of this workspace record, and those of HTTP servers.
pub const METRICS: &[Metric] = &[
    seconds(PROCESS_DURATION, "Duration of one attempt of a message handler"),
    counter(SENT_MESSAGES, "Messages acknowledged by the broker"),
    counter(CONSUMED_MESSAGES, "Messages received by a consumer, redeliveries included"),
    gauge(CONSUMER_HELD, "Keys of a consumer group whose delivery is being held"),
    counter(DEAD_LETTERS, "Messages written to the dead letters, or parked"),
    gauge(CONSUMER_LAG, "Messages between the position of a consumer group and the end of a partition"),
    Metric {
        name: OUTBOX_LAG_SECONDS,
        kind: MetricKind::Gauge,
        unit: Unit::Seconds,
        description: "Age of the oldest message in the outbox that a relay has not delivered",
    },
    counter(OUTBOX_RELAYED, "Outbox rows delivered by a relay"),
    gauge(OUTBOX_HELD, "Destinations that a relay holds, or that no process with the lease names"),
    gauge(OUTBOX_PARKED, "Keys that a relay keeps back, parked or held"),
    seconds(HTTP_SERVER_DURATION, "Duration of HTTP requests served"),
    seconds(RPC_SERVER_DURATION, "Duration of gRPC calls served, to the end of their stream"),
    seconds(RPC_CLIENT_DURATION, "Duration of gRPC calls made, to the end of their stream"),
    gauge(CONNECTIONS, "Open connections of a listener"),
    counter(CONNECTIONS_CLOSED, "Connections that a listener closed because of a limit"),
    gauge(WS_SESSIONS, "Open WebSocket sessions"),
    counter(WS_DELIVERED, "Frames handed to sockets"),
    counter(WS_SLOW_CLOSED, "Sessions closed because their client read too slowly"),
    Metric {
        name: WS_QUEUED_BYTES,
        kind: MetricKind::Gauge,
        unit: Unit::Bytes,
        description: "Bytes that wait in the queues of all sockets",
    },
    seconds(CALL_DURATION, "Duration of calls through a policy, all attempts together"),
    counter(CALL_RETRIES, "Attempts after the first one of a call"),
    counter(CALL_RETRIES_DENIED, "Retries that a policy wanted and did not make"),
    counter(CALL_REJECTIONS, "Calls rejected by a guard"),
    counter(CALL_FALLBACKS, "Calls answered by a fallback"),
    counter(BREAKER_TRANSITIONS, "Changes of the state of a circuit breaker"),
];

/// Describes every metric of [`METRICS`] to the recorder of this process, which shows the descriptions beside the
/// values (the HELP lines of Prometheus). Call it once, after the recorder is installed; without one it does nothing.
/// A metric of the application's own is described by the application.
pub fn describe() {
    for Metric { name, kind, unit, description } in METRICS {
        match kind {
            MetricKind::Counter => describe_counter!(*name, *unit, *description),
            MetricKind::Gauge => describe_gauge!(*name, *unit, *description),
            MetricKind::Histogram => describe_histogram!(*name, *unit, *description),
        }
    }
}

const fn counter(name: &'static str, description: &'static str) -> Metric {
    Metric { name, kind: MetricKind::Counter, unit: Unit::Count, description }
}

const fn gauge(name: &'static str, description: &'static str) -> Metric {
    Metric { name, kind: MetricKind::Gauge, unit: Unit::Count, description }
}

const fn seconds(name: &'static str, description: &'static str) -> Metric {
    Metric { name, kind: MetricKind::Histogram, unit: Unit::Seconds, description }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names and the first word of the documentation of every constant, as the source has them.
    fn constants() -> Vec<(&'static str, &'static str)> {
        let source = include_str!("mod.rs");
        let mut kind = "";
        let mut found = Vec::new();
        for (line, previous) in source.lines().skip(1).zip(source.lines()) {
            if line.starts_with("/// ") && !previous.starts_with("///") {
                kind = line[4..].split([' ', ',', ':']).next().unwrap();
            }
            if line.starts_with("pub const ") {
                found.push((line.split('"').nth(1).unwrap(), kind));
            }
        }
        found
    }

    #[test]
    fn every_name_of_a_metric_is_in_the_table() {
        let constants = constants();
        assert!(constants.len() > METRICS.len(), "attributes and spans are constants too");
        for (name, kind) in constants {
            let row = METRICS.iter().find(|metric| metric.name == name);
            match kind {
                "Counter" | "Gauge" | "Histogram" => {
                    let row = row.unwrap_or_else(|| panic!("{name} is not in METRICS"));
                    assert_eq!(format!("{:?}", row.kind), kind, "{name}");
                }
                "Attribute" | "Span" => assert!(row.is_none(), "{name} is no metric"),
                _ => panic!("the documentation of {name:?} begins with {kind:?}, not with what it is"),
            }
        }
    }

    #[test]
    fn names_and_units_follow_the_conventions_of_prometheus() {
        for (at, Metric { name, kind, unit, description }) in METRICS.iter().enumerate() {
            assert!(METRICS[..at].iter().all(|other| other.name != *name), "{name} is there twice");
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{name}");
            assert_eq!(name.ends_with("_total"), *kind == MetricKind::Counter, "{name}");
            assert_eq!(name.ends_with("_seconds"), *unit == Unit::Seconds, "{name}");
            assert_eq!(name.ends_with("_bytes"), *unit == Unit::Bytes, "{name}");
            assert!(matches!(unit, Unit::Seconds | Unit::Bytes | Unit::Count), "a base unit: {name}");
            assert!(!description.is_empty() && !description.contains('\n'), "{name}");
        }
    }
}
