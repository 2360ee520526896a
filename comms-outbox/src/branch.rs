//! What an operator sees of destinations that are not at their relay's position.

use std::time::Duration;

use comms_core::ErrorKind;

/// A destination that a relay delivers apart from the others: it is held because its messages are refused, it is
/// catching up, or no running process of the relay names it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Branch {
    /// The destination.
    pub destination: String,
    /// [`ErrorKind`](comms_core::ErrorKind) of the refusal, as text; `None`: the destination is not held.
    pub error_kind: Option<String>,
    /// The reason of the refusal, at most 1 KiB.
    pub error: Option<String>,
    /// Since when it is held, or catching up: since 1970, by the database's clock.
    pub since: Duration,
}

/// Why a stored branch is held.
pub(crate) fn held(kind: Option<&str>, error: Option<String>) -> Option<(ErrorKind, String)> {
    let known = ErrorKind::ALL.into_iter().find(|known| Some(known.as_str()) == kind);
    error.map(|error| (known.unwrap_or(ErrorKind::Misconfigured), error))
}
