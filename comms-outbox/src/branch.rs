//! Topics that are not at the position of their relay, as an operator sees them.

use std::time::Duration;

use comms_core::ErrorKind;

/// A topic that a relay delivers at a separate position: it is held because its messages are refused, it is catching
/// up, or no running process of the relay names it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Branch {
    /// The topic.
    pub topic: String,
    /// [`ErrorKind`](comms_core::ErrorKind) of the refusal, as text; `None` if the topic is not held.
    pub error_kind: Option<String>,
    /// The reason of the refusal, at most 1 KiB; `None` if the topic is not held.
    pub error: Option<String>,
    /// Since when the topic is held or, if it is not held, since when it catches up or waits: time since 1970, by the
    /// database's clock.
    pub since: Duration,
}

/// Converts the columns `error_kind` and `error` of a stored branch to the reason why it is held. An unknown kind
/// becomes `Misconfigured`.
pub(crate) fn hold_reason(kind: Option<&str>, error: Option<String>) -> Option<(ErrorKind, String)> {
    let known = ErrorKind::ALL.into_iter().find(|known| Some(known.as_str()) == kind);
    error.map(|error| (known.unwrap_or(ErrorKind::Misconfigured), error))
}
