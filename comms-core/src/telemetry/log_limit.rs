//! A limit on the lines of one kind in the log.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::clock::Clock;

/// The interval in which one line is logged.
const INTERVAL: Duration = Duration::from_secs(10);

/// Limits the log lines of one kind to one in ten seconds, and counts the others.
///
/// For lines that a peer causes, such as refusals: a peer that repeats a fault must not fill the log. Each kind of line
/// needs a limit of its own, so that one kind does not hide another.
///
/// ```
/// use comms_core::{clock::Clock, telemetry::LogLimit};
/// use std::time::Duration;
///
/// let clock = Clock::manual(Duration::ZERO);
/// let limit = LogLimit::new();
/// let lines: Vec<_> = (0..3).map(|_| limit.admit(&clock)).collect();
/// assert_eq!(lines, [Some(0), None, None]);
/// clock.advance(Duration::from_secs(10));
/// if let Some(suppressed) = limit.admit(&clock) {
///     // tracing::warn!(suppressed, "a call was refused");
///     assert_eq!(suppressed, 2);
/// }
/// ```
#[derive(Debug, Default)]
pub struct LogLimit(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The time of the last admitted line.
    last: Option<Instant>,
    suppressed: u64,
}

impl LogLimit {
    /// Creates a limit that admits the first line.
    #[must_use]
    pub const fn new() -> Self {
        Self(Mutex::new(State { last: None, suppressed: 0 }))
    }

    /// Returns the number of lines that were suppressed since the last admitted one, if a line may be logged now.
    pub fn admit(&self, clock: &Clock) -> Option<u64> {
        let now = clock.now();
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.last.is_some_and(|last| now.saturating_duration_since(last) < INTERVAL) {
            state.suppressed = state.suppressed.saturating_add(1);
            return None;
        }
        state.last = Some(now);
        Some(std::mem::take(&mut state.suppressed))
    }
}
