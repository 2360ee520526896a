//! The answer to a probe.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The status of a part or of the process, ordered from best to worst.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// The part works.
    #[default]
    Ready,
    /// The part works, but badly.
    Degraded,
    /// The part does not work.
    Unready,
}

/// The status of a part, with the reason if the part is not ready.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct State {
    /// The status.
    pub status: Status,
    /// The reason; `None` if the part is ready.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
}

impl State {
    /// Returns the state of a part that works.
    #[must_use]
    pub fn ready() -> Self {
        Self::default()
    }

    /// Returns the state of a part that works badly, for `reason`.
    pub fn degraded(reason: impl Into<String>) -> Self {
        Self { status: Status::Degraded, reason: Some(reason.into()) }
    }

    /// Returns the state of a part that does not work, for `reason`.
    pub fn unready(reason: impl Into<String>) -> Self {
        Self { status: Status::Unready, reason: Some(reason.into()) }
    }

    /// Returns a state of `status` if `value` is above `limit` or not a number, and a ready state otherwise.
    #[must_use]
    pub fn over(status: Status, value: f64, limit: f64) -> Self {
        if value <= limit || status == Status::Ready {
            return Self::ready();
        }
        Self { status, reason: Some(format!("{value} is over the limit of {limit}")) }
    }
}

/// All parts by name, and the worst status of them. In JSON:
/// `{"status":"degraded","parts":{"breaker":{"status":"degraded","reason":"open"}}}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Report {
    /// The worst status of all parts; ready if there are none.
    pub status: Status,
    /// The state of each part, by name.
    pub parts: BTreeMap<String, State>,
}

impl Report {
    /// Returns the reason of the part `name`; `None` if the part is ready or does not exist.
    #[must_use]
    pub fn reason(&self, name: &str) -> Option<&str> {
        self.parts.get(name)?.reason.as_deref()
    }

    pub(super) fn of(parts: impl Iterator<Item = (String, State)>) -> Self {
        let parts: BTreeMap<_, _> = parts.collect();
        let status = parts.values().map(|state| state.status).max().unwrap_or_default();
        Self { status, parts }
    }
}
