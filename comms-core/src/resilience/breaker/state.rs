//! What a breaker says of itself.

/// The state of a [`Breaker`](super::Breaker).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// Calls pass and are counted.
    Closed,
    /// Calls are rejected for a time.
    Open,
    /// A few probes pass; what they bring back decides.
    HalfOpen,
    /// Calls are rejected until [`Breaker::reset`](super::Breaker::reset).
    ForcedOpen,
    /// Calls pass, whatever they bring back, until [`Breaker::reset`](super::Breaker::reset).
    ForcedClosed,
}

impl BreakerState {
    /// The value of the `state` label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
            Self::ForcedOpen => "forced_open",
            Self::ForcedClosed => "forced_closed",
        }
    }
}

/// A change of state, as listeners are told it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerTransition {
    /// The state before.
    pub from: BreakerState,
    /// The state after.
    pub to: BreakerState,
}

/// What a breaker shows of itself.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct BreakerSnapshot {
    /// The state now.
    pub state: BreakerState,
    /// Failures in a row: these and the counts of the window are the last of the closed state, once it is left.
    pub consecutive_failures: u32,
    /// Calls in the window.
    pub calls: u32,
    /// Failed calls in the window.
    pub failed: u32,
    /// Slow calls in the window.
    pub slow: u32,
    /// Milliseconds until it lets a probe through, while it is open.
    pub remaining_open_ms: Option<u64>,
}
