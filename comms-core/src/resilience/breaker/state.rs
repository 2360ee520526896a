//! The observable state of a breaker.

/// The state of a [`Breaker`](super::Breaker).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// Calls are permitted and their results are counted.
    Closed,
    /// Calls are rejected until the open duration has passed.
    Open,
    /// A few calls are permitted as probes; their results close or open the breaker.
    HalfOpen,
    /// Calls are rejected until [`Breaker::reset`](super::Breaker::reset).
    ForcedOpen,
    /// Calls are permitted and their results are ignored, until [`Breaker::reset`](super::Breaker::reset).
    ForcedClosed,
}

impl BreakerState {
    /// Returns the value of the `state` label of metrics, for example `half_open`.
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

/// A change of a breaker's state, passed to the listeners of [`Breaker::on_transition`](super::Breaker::on_transition).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerTransition {
    /// The state before the transition.
    pub from: BreakerState,
    /// The state after the transition.
    pub to: BreakerState,
}

/// The state and the counts of a breaker at one moment, for an admin endpoint.
///
/// In the closed state the counts are current. In every other state they are those at the moment when the breaker left
/// the closed state.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct BreakerSnapshot {
    /// The state.
    pub state: BreakerState,
    /// Consecutive failures.
    pub consecutive_failures: u32,
    /// Calls in the window; 0 without a window.
    pub calls: u32,
    /// Failed calls in the window.
    pub failed: u32,
    /// Slow calls in the window.
    pub slow: u32,
    /// Milliseconds until the breaker admits a probe. `None` if the state is not [`Open`](BreakerState::Open).
    pub remaining_open_ms: Option<u64>,
}
