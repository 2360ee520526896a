//! Logs and metrics of the process.

use std::io::IsTerminal;

use comms_core::{Error, telemetry as names};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use super::config::{Log, LogFormat};

/// Seconds; histograms, not summaries, so that instances can be added up.
const BUCKETS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// Starts logging as `log` says.
///
/// # Errors
/// `Invalid` for a filter that does not parse.
pub fn init_logs(log: &Log) -> Result<(), Error> {
    let filter = EnvFilter::try_new(&log.filter)
        .map_err(|e| Error::invalid(e).context("configuration: log.filter"))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A standard error that is closed or full must not end the process.
    let lines = lines.with_ansi(std::io::stderr().is_terminal()).log_internal_errors(false);
    let started = match log.format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().try_init(),
    };
    // A test may have set a subscriber of its own; that one stays.
    if let Err(error) = started {
        tracing::debug!(%error, "a log subscriber is already there");
    }
    Ok(())
}

/// Installs the recorder of metrics; the handle renders them.
///
/// # Errors
/// `Fatal` where the process has another one.
pub fn init_metrics() -> Result<PrometheusHandle, Error> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_duration_seconds".to_owned()), &BUCKETS)
        .map_err(Error::fatal)?
        .install_recorder()
        .map_err(Error::fatal)
        .inspect(|_| describe())
}

fn describe() {
    metrics::describe_histogram!(names::PROCESS_DURATION, "One try of a message handler");
    metrics::describe_histogram!(names::HTTP_SERVER_DURATION, "HTTP requests served");
    metrics::describe_histogram!(names::RPC_SERVER_DURATION, "gRPC calls served");
    metrics::describe_histogram!(names::RPC_CLIENT_DURATION, "gRPC calls made");
    metrics::describe_counter!(names::SENT_MESSAGES, "Messages acknowledged by the broker");
    metrics::describe_counter!(names::CONSUMED_MESSAGES, "Messages received");
    metrics::describe_counter!(names::DEAD_LETTERS, "Messages carried to the dead letters, or parked");
    metrics::describe_gauge!(names::CONSUMER_LAG, "Messages behind the newest one");
    metrics::describe_gauge!(names::OUTBOX_LAG_SECONDS, "Age of the oldest message not yet relayed");
    metrics::describe_counter!(names::OUTBOX_RELAYED, "Outbox rows delivered");
    metrics::describe_gauge!(names::OUTBOX_PARKED, "Keys parked by a relay");
    metrics::describe_gauge!(names::WS_SESSIONS, "Open WebSocket sessions");
    metrics::describe_counter!(names::WS_DELIVERED, "Frames handed to sockets");
    metrics::describe_counter!(names::WS_SLOW_CLOSED, "Sessions closed for reading too slowly");
    metrics::describe_histogram!(names::CALL_DURATION, "Calls through a policy, all attempts together");
    metrics::describe_counter!(names::CALL_RETRIES, "Attempts after the first");
    metrics::describe_counter!(names::CALL_RETRIES_DENIED, "Retries that were wanted and not made");
    metrics::describe_counter!(names::CALL_REJECTIONS, "Calls a guard said no to");
    metrics::describe_counter!(names::BREAKER_TRANSITIONS, "Changes of a breaker's state");
}
