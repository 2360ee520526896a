//! What every librdkafka client here does the same way: its log lines go to `tracing`.

use rdkafka::{config::RDKafkaLogLevel, error::KafkaError};

/// A line of librdkafka's own log.
pub(crate) fn log(level: RDKafkaLogLevel, facility: &str, line: &str) {
    use RDKafkaLogLevel as Level;
    match level {
        // One map of settings serves producers, consumers and admin clients: "ignored by this instance".
        // And a failed commit is told where it is called back.
        _ if matches!(facility, "CONFWARN" | "COMMITFAIL") => tracing::debug!(facility, "{line}"),
        Level::Emerg | Level::Alert | Level::Critical | Level::Error => tracing::error!(facility, "{line}"),
        Level::Warning => tracing::warn!(facility, "{line}"),
        Level::Notice | Level::Info => tracing::info!(facility, "{line}"),
        Level::Debug => tracing::debug!(facility, "{line}"),
    }
}

/// A client-wide error. librdkafka mends what can be mended by itself; this is for the reader of the log.
pub(crate) fn error(error: &KafkaError, reason: &str) {
    tracing::warn!(%error, "{reason}");
}
