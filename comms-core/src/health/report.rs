//! What a probe is told.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How well a part, or the whole, does. Ordered from best to worst.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It does its work.
    #[default]
    Ready,
    /// It does its work, but not as it should.
    Degraded,
    /// It does not.
    Unready,
}

/// A part's status, with the reason where it is not ready.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct State {
    /// How well it does.
    pub status: Status,
    /// Why it is not ready.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
}

impl State {
    /// It does its work.
    #[must_use]
    pub fn ready() -> Self {
        Self::default()
    }

    /// It does its work, but not as it should.
    pub fn degraded(reason: impl Into<String>) -> Self {
        Self { status: Status::Degraded, reason: Some(reason.into()) }
    }

    /// It does not.
    pub fn unready(reason: impl Into<String>) -> Self {
        Self { status: Status::Unready, reason: Some(reason.into()) }
    }

    /// Of `status` where `value` is over `limit` or not a number, else ready.
    #[must_use]
    pub fn over(status: Status, value: f64, limit: f64) -> Self {
        if value <= limit || status == Status::Ready {
            return Self::ready();
        }
        Self { status, reason: Some(format!("{value} is over the limit of {limit}")) }
    }
}

/// All parts, by name, and the worst of them. In JSON:
/// `{"status":"degraded","parts":{"breaker":{"status":"degraded","reason":"open"}}}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Report {
    /// The worst of all; ready where there are none.
    pub status: Status,
    /// Each part by its name.
    pub parts: BTreeMap<String, State>,
}

impl Report {
    /// The reason why the part `name` is not ready; `None` where it is, or there is no such part.
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
