//! The only source of time and randomness.

mod manual;
mod random;
mod rounded;
mod sleep;

use std::{
    fmt,
    sync::{Arc, atomic::AtomicU64},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use manual::Manual;
pub use rounded::rounded;
pub use sleep::Sleep;

/// The last identifier made of the system clock, as [`random::next_ordinal`] has it.
static SYSTEM_ORDINAL: AtomicU64 = AtomicU64::new(0);

/// Time and randomness, injected. The system clock by default; a manual one in tests.
///
/// The system clock's [`now`](Self::now) and [`sleep`](Self::sleep) are tokio's, so that a test under tokio's
/// paused time sees both stand still. The manual clock stands until it is told to advance, wakes those who
/// sleep on it, and repeats its randomness: with it a test needs no runtime at all.
///
/// ```
/// use comms_core::clock::Clock;
/// use std::time::Duration;
/// let clock = Clock::manual(Duration::from_secs(1_700_000_000));
/// let before = clock.now();
/// clock.advance(Duration::from_secs(5));
/// assert_eq!(clock.now() - before, Duration::from_secs(5));
/// assert_eq!(clock.rfc3339(), "2023-11-14T22:13:25.000Z");
/// ```
#[derive(Clone)]
pub struct Clock(Source);

#[derive(Clone)]
enum Source {
    System,
    Manual(Arc<Manual>),
}

impl Clock {
    /// The machine's clocks, and randomness seeded by the operating system.
    #[must_use]
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands still until [`Clock::advance`], starting at `unix` since 1970; its randomness
    /// is that of seed 0.
    #[must_use]
    pub fn manual(unix: Duration) -> Self {
        Self::seeded(unix, 0)
    }

    /// A manual clock whose randomness follows from `seed`.
    #[must_use]
    pub fn seeded(unix: Duration, seed: u64) -> Self {
        Self(Source::Manual(Arc::new(Manual::new(unix, seed))))
    }

    /// Moves a manual clock and wakes whose time has come; the system clock does not listen.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual(manual) = &self.0 {
            manual.advance(by);
        }
    }

    /// Monotonic time.
    #[inline]
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn now(&self) -> Instant {
        match &self.0 {
            Source::System => tokio::time::Instant::now().into_std(),
            Source::Manual(manual) => manual.now(),
        }
    }

    /// Wall-clock time since 1970. It may jump: for stamps, never for durations.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn unix(&self) -> Duration {
        match &self.0 {
            Source::System => SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
            Source::Manual(manual) => manual.unix(),
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

    /// Waits until `duration` has passed. On the system clock it is tokio's timer, and must be made within a runtime.
    pub fn sleep(&self, duration: Duration) -> Sleep {
        match &self.0 {
            Source::System => Sleep::system(duration),
            Source::Manual(manual) => Sleep::manual(manual.clone(), duration),
        }
    }

    #[cfg(feature = "rate-limit")]
    pub(crate) const fn is_manual(&self) -> bool {
        matches!(self.0, Source::Manual(_))
    }

    /// A new time-ordered identifier (RFC 9562, version 7): those of one process sort as they were made,
    /// also within a millisecond (section 6.2, method 1), and after a step back of the wall clock.
    #[must_use]
    pub fn uuid_v7(&self) -> uuid::Uuid {
        let last = match &self.0 {
            Source::System => &SYSTEM_ORDINAL,
            Source::Manual(manual) => &manual.ordinal,
        };
        random::uuid_v7(last, self.unix(), self.random())
    }

    /// Random bytes: unique for ids, fair for jitter, not secret. No system call but the first of a thread.
    #[must_use]
    pub fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        match &self.0 {
            Source::System => random::fill(&mut bytes),
            Source::Manual(manual) => manual.fill(&mut bytes),
        }
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
            Source::Manual(_) => "Clock::manual",
        })
    }
}

/// A time since 1970 as RFC 3339 in UTC with milliseconds; at most the last of the year 9999, which is as far as the
/// format goes.
#[must_use]
pub fn rfc3339(unix: Duration) -> String {
    const LAST: Duration = Duration::from_millis(253_402_300_799_999);
    humantime::format_rfc3339_millis(UNIX_EPOCH + unix.min(LAST)).to_string()
}

#[cfg(test)]
mod tests;
