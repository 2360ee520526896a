//! The contract of analytics-service: its gRPC calls.

use std::time::Duration;

/// The code that the build script generates from `analytics.proto`.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::missing_errors_doc)]
pub mod proto {
    tonic::include_proto!("comms.analytics.v1");
}

/// The longest range of a request: 31 days.
pub const MAX_RANGE: Duration = Duration::from_secs(31 * 24 * 3_600);
