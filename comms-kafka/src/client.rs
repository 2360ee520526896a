//! Logging for all librdkafka clients of this crate: log lines and errors go to `tracing`.

use rdkafka::{config::RDKafkaLogLevel, error::KafkaError};

/// Logs a line of librdkafka's log.
pub(crate) fn log(level: RDKafkaLogLevel, facility: &str, line: &str) {
    use RDKafkaLogLevel as Level;
    match level {
        // CONFWARN: producers, consumers and admin clients share one map of settings, so each client ignores some of
        // them. COMMITFAIL: the consumer logs the result of a failed commit.
        _ if matches!(facility, "CONFWARN" | "COMMITFAIL") => tracing::debug!(facility, "{line}"),
        Level::Emerg | Level::Alert | Level::Critical | Level::Error => tracing::error!(facility, "{line}"),
        Level::Warning => tracing::warn!(facility, "{line}"),
        Level::Notice | Level::Info => tracing::info!(facility, "{line}"),
        Level::Debug => tracing::debug!(facility, "{line}"),
    }
}

/// Logs an error that belongs to the whole client. librdkafka recovers from most of these errors itself.
pub(crate) fn error(error: &KafkaError, reason: &str) {
    tracing::warn!(%error, "{reason}");
}
