//! The only source of time and randomness.

use std::{
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Keeps the identifiers of one millisecond in the order they were made.
static UUID_ORDER: Mutex<uuid::ContextV7> = Mutex::new(uuid::ContextV7::new());

/// Time and randomness, injected. The system clock by default; a manual one in tests.
#[derive(Clone)]
pub struct Clock(Source);

#[derive(Clone)]
enum Source {
    System,
    Manual { start: Instant, unix_start: Duration, elapsed_nanos: Arc<AtomicU64> },
}

impl Clock {
    /// The machine's clocks.
    #[must_use]
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands still until [`Clock::advance`], starting at `unix` since 1970.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "an Instant can only be had from the system clock")]
    pub fn manual(unix: Duration) -> Self {
        Self(Source::Manual { start: Instant::now(), unix_start: unix, elapsed_nanos: Arc::default() })
    }

    /// Moves a manual clock; the system clock does not listen.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual { elapsed_nanos, .. } = &self.0 {
            let nanos = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
            elapsed_nanos.fetch_add(nanos, Ordering::SeqCst);
        }
    }

    /// Monotonic time.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn now(&self) -> Instant {
        match &self.0 {
            Source::System => Instant::now(),
            Source::Manual { start, elapsed_nanos, .. } => {
                *start + Duration::from_nanos(elapsed_nanos.load(Ordering::SeqCst))
            }
        }
    }

    /// Wall-clock time since 1970. It may jump: for stamps, never for durations.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn unix(&self) -> Duration {
        match &self.0 {
            Source::System => SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
            Source::Manual { unix_start, elapsed_nanos, .. } => {
                *unix_start + Duration::from_nanos(elapsed_nanos.load(Ordering::SeqCst))
            }
        }
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub fn unix_millis(&self) -> i64 {
        i64::try_from(self.unix().as_millis()).unwrap_or(i64::MAX)
    }

    /// Now as RFC 3339 in UTC with milliseconds: `2026-11-21T07:00:00.123Z`.
    #[must_use]
    pub fn rfc3339(&self) -> String {
        rfc3339(self.unix())
    }

    /// A new time-ordered identifier (RFC 9562, version 7).
    #[must_use]
    pub fn uuid_v7(&self) -> uuid::Uuid {
        let unix = self.unix();
        uuid::Uuid::new_v7(uuid::Timestamp::from_unix(&UUID_ORDER, unix.as_secs(), unix.subsec_nanos()))
    }

    /// Random bytes from the operating system.
    #[must_use]
    pub fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        // The only failure is a kernel without entropy at boot; an all-zero answer is caught by callers
        // that need a valid id, and jitter does without.
        let _ = getrandom::fill(&mut bytes);
        bytes
    }

    /// A uniform number in `0.0..1.0`.
    #[must_use]
    pub fn random_unit(&self) -> f64 {
        let bits = u32::from_le_bytes(self.random());
        f64::from(bits) / (f64::from(u32::MAX) + 1.0)
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Source::System => "Clock::system",
            Source::Manual { .. } => "Clock::manual",
        })
    }
}

/// A time since 1970 as RFC 3339 in UTC with milliseconds.
#[must_use]
pub fn rfc3339(unix: Duration) -> String {
    humantime::format_rfc3339_millis(UNIX_EPOCH + unix).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_dates_as_rfc_3339_has_them() {
        assert_eq!(rfc3339(Duration::ZERO), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(Duration::from_millis(951_782_400_123)), "2000-02-29T00:00:00.123Z");
        assert_eq!(rfc3339(Duration::from_secs(1_763_708_399)), "2025-11-21T06:59:59.000Z");
    }

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = Clock::manual(Duration::from_secs(100));
        let before = clock.now();
        clock.advance(Duration::from_secs(5));
        assert_eq!(clock.now() - before, Duration::from_secs(5));
        assert_eq!(clock.unix_millis(), 105_000);
    }
}
