//! The table of all metrics, and their registration with a recorder.

pub use metrics::Unit;
use metrics::{describe_counter, describe_gauge, describe_histogram};

use super::*;

/// The name, kind, unit and description of a metric.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Metric {
    /// The name as Prometheus shows it.
    pub name: &'static str,
    /// The kind of the metric.
    pub kind: MetricKind,
    /// The unit of the values.
    pub unit: Unit,
    /// The measured quantity, in one line.
    pub description: &'static str,
}

/// The kind of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// A sum that only increases.
    Counter,
    /// A current value, which can increase and decrease.
    Gauge,
    /// A distribution of values.
    Histogram,
}

/// Every metric that the crates of this workspace record, and the metrics of an HTTP server.
pub const METRICS: &[Metric] = &[
    seconds(PROCESS_DURATION, "Duration of one attempt of a message handler"),
    counter(SENT_MESSAGES, "Messages acknowledged by the broker"),
    counter(CONSUMED_MESSAGES, "Messages received by a consumer, redeliveries included"),
    gauge(CONSUMER_HELD, "Keys of a consumer group whose delivery is held"),
    counter(DEAD_LETTERS, "Messages published as dead letters, or parked"),
    gauge(CONSUMER_LAG, "Messages between the position of a consumer group and the end of a partition"),
    Metric {
        name: CONSUMER_LAG_SECONDS,
        kind: MetricKind::Gauge,
        unit: Unit::Seconds,
        description: "Age of the first message of a partition that a consumer group has received and not finished",
    },
    Metric {
        name: OUTBOX_LAG_SECONDS,
        kind: MetricKind::Gauge,
        unit: Unit::Seconds,
        description: "Age of the oldest message in the outbox that a relay has not delivered",
    },
    counter(OUTBOX_RELAYED, "Outbox rows delivered by a relay"),
    gauge(
        OUTBOX_HELD,
        "Topics that a relay does not publish: refused, or not named by the process with the lease",
    ),
    gauge(OUTBOX_PARKED, "Keys of which a relay has parked or held a message"),
    gauge(
        PROJECTION_LAG,
        "Events newer than the last one that a projection has applied, estimated by their ids",
    ),
    Metric {
        name: PROJECTION_LAG_SECONDS,
        kind: MetricKind::Gauge,
        unit: Unit::Seconds,
        description: "Age of the oldest event that a projection has read and not applied",
    },
    counter(PROJECTION_APPLIED, "Events applied by a projection"),
    gauge(PROJECTION_PARKED, "1 while a projection is parked at an event"),
    counter(SAGA_TRANSITIONS, "Changes of the runs of a saga"),
    counter(SAGA_ALARMS, "Steps of a saga that are held for an operator"),
    counter(SAGA_FAILURES, "Inputs of a run that failed and are repeated"),
    counter(SAGA_UNMATCHED, "Messages that belonged to no run"),
    gauge(SAGA_RUNS, "Runs of a saga that have not ended"),
    gauge(SAGA_UNREGISTERED, "Runs that have not ended and whose definition is not registered"),
    Metric {
        name: SAGA_TIMER_LAG_SECONDS,
        kind: MetricKind::Gauge,
        unit: Unit::Seconds,
        description: "How long the oldest timer of a saga that is due has been due",
    },
    seconds(HTTP_SERVER_DURATION, "Duration of HTTP requests served"),
    seconds(RPC_SERVER_DURATION, "Duration of gRPC calls served, to the end of their stream"),
    seconds(RPC_CLIENT_DURATION, "Duration of gRPC calls made, to the end of their stream"),
    gauge(CONNECTIONS, "Open connections of a listener"),
    counter(CONNECTIONS_CLOSED, "Connections that a listener closed because of a limit"),
    counter(TLS_HANDSHAKE_FAILURES, "TLS handshakes of a listener that failed"),
    counter(TLS_RELOADS, "Changed files of certificates and authorities, loaded or refused"),
    Metric {
        name: TLS_CERTIFICATE_EXPIRY,
        kind: MetricKind::Gauge,
        unit: Unit::Seconds,
        description: "Time until the certificate of this process expires",
    },
    gauge(WS_SESSIONS, "Open WebSocket sessions"),
    counter(WS_DELIVERED, "Frames written to sockets"),
    counter(WS_SLOW_CLOSED, "Sessions closed because their client read too slowly"),
    counter(WS_OPENED, "Sessions opened"),
    counter(WS_CLOSED, "Sessions ended"),
    counter(WS_REFUSED, "Sessions refused"),
    gauge(WS_JOINING, "Topics that sessions join and do not take part in yet"),
    counter(WS_DROPPED, "Messages removed from the queue of a slow session"),
    Metric {
        name: WS_QUEUED_BYTES,
        kind: MetricKind::Gauge,
        unit: Unit::Bytes,
        description: "Bytes in the queues of all sockets",
    },
    gauge(WS_FULL_WINDOWS, "Subscriptions whose window is full"),
    seconds(CALL_DURATION, "Duration of calls through a policy, all attempts together"),
    counter(CALL_RETRIES, "Attempts of a call after the first one"),
    counter(CALL_RETRIES_DENIED, "Retries that were due and that a policy did not make"),
    counter(CALL_REJECTIONS, "Calls rejected by a guard"),
    counter(CALL_FALLBACKS, "Calls answered by a fallback"),
    counter(BREAKER_TRANSITIONS, "Changes of the state of a circuit breaker"),
    counter(SHED_REQUESTS, "Requests that a shedder refused because of overload"),
    gauge(SHED_LIMIT, "Concurrency limit of a shedder"),
    gauge(OUTLIER_EJECTED, "Hosts that an outlier detector has ejected"),
    counter(OUTLIER_EJECTIONS, "Ejections of hosts by an outlier detector"),
    counter(HEDGES, "Hedged attempts of calls"),
    counter(HEDGE_WINS, "Calls that a hedged attempt answered"),
    counter(STREAM_RESUMES, "Server streams that were opened again after a break"),
    counter(HEDGES_DENIED, "Hedged attempts that were due and not made"),
];

/// Registers the description and the unit of every metric of [`METRICS`] with the recorder of this process.
///
/// An exporter to Prometheus shows them as HELP lines. Call the function once, after the recorder is installed; without
/// a recorder it does nothing. An application describes its own metrics itself.
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

    /// Returns the value of every constant, and the first word of its documentation, from the source.
    fn documented_constants() -> Vec<(&'static str, &'static str)> {
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
    fn every_metric_constant_has_a_row_and_no_other_constant_has_one() {
        let constants = documented_constants();
        assert!(constants.len() > METRICS.len(), "the names of attributes and spans are constants too");
        for (name, kind) in constants {
            let row = METRICS.iter().find(|metric| metric.name == name);
            match kind {
                "Counter" | "Gauge" | "Histogram" => {
                    let row = row.unwrap_or_else(|| panic!("{name} is not in METRICS"));
                    assert_eq!(format!("{:?}", row.kind), kind, "{name}");
                }
                "Attribute" | "Span" => assert!(row.is_none(), "{name} is not a metric, and is in METRICS"),
                _ => panic!(
                    "{name:?}: the documentation must begin with its kind, such as Counter, and begins with {kind:?}"
                ),
            }
        }
    }

    #[test]
    fn names_and_units_follow_the_conventions_of_prometheus() {
        for (index, Metric { name, kind, unit, description }) in METRICS.iter().enumerate() {
            assert!(METRICS[..index].iter().all(|other| other.name != *name), "{name} has two rows");
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{name}");
            assert_eq!(name.ends_with("_total"), *kind == MetricKind::Counter, "{name}");
            assert_eq!(name.ends_with("_seconds"), *unit == Unit::Seconds, "{name}");
            assert_eq!(name.ends_with("_bytes"), *unit == Unit::Bytes, "{name}");
            assert!(matches!(unit, Unit::Seconds | Unit::Bytes | Unit::Count), "{name} has no base unit");
            assert!(!description.is_empty() && !description.contains('\n'), "{name}");
        }
    }
}
