//! Logging of every librdkafka client here: its log lines go to `tracing`.

use rdkafka::{config::RDKafkaLogLevel, error::KafkaError};

/// A line of librdkafka's own log.
pub(crate) fn log(level: RDKafkaLogLevel, facility: &str, line: &str) {
    use RDKafkaLogLevel as Level;
    match level {
        // One map of settings serves producers, consumers and admin clients, so each ignores some. A failed commit is
        // logged where its result arrives.
        _ if matches!(facility, "CONFWARN" | "COMMITFAIL") => tracing::debug!(facility, "{line}"),
        Level::Emerg | Level::Alert | Level::Critical | Level::Error => tracing::error!(facility, "{line}"),
        Level::Warning => tracing::warn!(facility, "{line}"),
        Level::Notice | Level::Info => tracing::info!(facility, "{line}"),
        Level::Debug => tracing::debug!(facility, "{line}"),
    }
}

/// Logs a client-wide error, which librdkafka repairs by itself where it can.
pub(crate) fn error(error: &KafkaError, reason: &str) {
    tracing::warn!(%error, "{reason}");
}
