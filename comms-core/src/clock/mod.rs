//! Time and randomness, injected, so that tests control both.

mod manual;
mod random;
mod rounded;
mod sleep;
mod timeout;

use std::{
    fmt,
    sync::{Arc, atomic::AtomicU64},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use manual::Manual;
pub use rounded::rounded;
pub use sleep::Sleep;
pub use timeout::{Elapsed, Timeout};

/// The last result of [`random::next_ordinal`] on the system clock.
static LAST_SYSTEM_ORDINAL: AtomicU64 = AtomicU64::new(0);

/// A source of time and randomness: the system's, or a manual one for tests. Default the system's. Clones share it.
///
/// - The *system* clock takes [`now`](Self::now) and its timers from tokio, so that tokio's paused time stops both.
/// - The *manual* clock stands still until [`advance`](Self::advance) moves it, which wakes its timers. Its random
///   numbers are the same in each run. A test on a manual clock needs no runtime.
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
    /// Returns the system clock, with random numbers seeded by the operating system.
    #[must_use]
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// Returns a manual clock that starts at `unix`, the time since 1970, with random numbers of seed 0.
    #[must_use]
    pub fn manual(unix: Duration) -> Self {
        Self::seeded(unix, 0)
    }

    /// Returns a manual clock that starts at `unix`, the time since 1970, with random numbers of `seed`.
    #[must_use]
    pub fn seeded(unix: Duration, seed: u64) -> Self {
        Self(Source::Manual(Arc::new(Manual::new(unix, seed))))
    }

    /// Moves a manual clock forward and wakes the timers whose time has come. Has no effect on the system clock.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual(manual) = &self.0 {
            manual.advance(by);
        }
    }

    /// Returns the number of timers of a manual clock that end at `at`.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn sleeps_until(&self, at: Instant) -> usize {
        match &self.0 {
            Source::System => 0,
            Source::Manual(manual) => manual.sleeps_until(at),
        }
    }

    /// Returns the monotonic time, for durations and deadlines.
    #[inline]
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn now(&self) -> Instant {
        match &self.0 {
            Source::System => tokio::time::Instant::now().into_std(),
            Source::Manual(manual) => manual.now(),
        }
    }

    /// Returns the wall-clock time since 1970. It may jump: use it for timestamps, never for durations.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn unix(&self) -> Duration {
        match &self.0 {
            Source::System => SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
            Source::Manual(manual) => manual.unix(),
        }
    }

    /// Returns the wall-clock time in milliseconds since 1970.
    #[must_use]
    pub fn unix_millis(&self) -> i64 {
        i64::try_from(self.unix().as_millis()).unwrap_or(i64::MAX)
    }

    /// Returns the wall-clock time as RFC 3339 in UTC with milliseconds: `2026-11-21T07:00:00.123Z`.
    #[must_use]
    pub fn rfc3339(&self) -> String {
        rfc3339(self.unix())
    }

    /// Returns a future that resolves once `duration` has passed from now.
    ///
    /// # Panics
    /// On the system clock this is tokio's timer: panics outside of a tokio runtime with time enabled.
    pub fn sleep(&self, duration: Duration) -> Sleep {
        match &self.0 {
            Source::System => Sleep::system(duration),
            Source::Manual(manual) => Sleep::manual(manual.clone(), duration),
        }
    }

    /// Returns a future that resolves at `deadline`, which is a time of this clock, see [`now`](Self::now).
    ///
    /// If `deadline` has passed, the future of a manual clock resolves at its first poll. That of the system clock may
    /// first be pending, as tokio's timer is, and resolves about a millisecond later.
    ///
    /// # Panics
    /// Panics as [`sleep`](Self::sleep) does.
    pub fn sleep_until(&self, deadline: Instant) -> Sleep {
        match &self.0 {
            Source::System => Sleep::system_until(deadline),
            Source::Manual(manual) => Sleep::manual_until(manual.clone(), deadline),
        }
    }

    /// Runs `future` for at most `duration` from now. At the time limit the returned future resolves; drop it to cancel
    /// `future`.
    ///
    /// The future is polled before the timer: a result that is ready at the time limit is returned.
    ///
    /// # Errors
    /// The returned future resolves to [`Elapsed`] if `duration` passes before `future` completes.
    ///
    /// # Panics
    /// Panics as [`sleep`](Self::sleep) does.
    ///
    /// ```
    /// use comms_core::clock::Clock;
    /// use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// let clock = Clock::system();
    /// assert_eq!(clock.timeout(Duration::from_secs(1), async { 7 }).await, Ok(7));
    /// let elapsed = clock.timeout(Duration::from_secs(1), std::future::pending::<()>()).await.unwrap_err();
    /// assert_eq!(elapsed.to_string(), "not completed within 1 s");
    /// # }
    /// ```
    pub fn timeout<F: Future>(&self, duration: Duration, future: F) -> Timeout<F> {
        Timeout::new(future, self.sleep(duration), duration)
    }

    #[cfg(any(test, feature = "rate-limit"))]
    pub(crate) const fn is_manual(&self) -> bool {
        matches!(self.0, Source::Manual(_))
    }

    /// Returns a new time-ordered identifier (RFC 9562, version 7).
    ///
    /// The identifiers of one process sort in the order of their creation, also within a millisecond (section 6.2,
    /// method 1) and after the wall clock was set back.
    #[must_use]
    pub fn uuid_v7(&self) -> uuid::Uuid {
        let last = match &self.0 {
            Source::System => &LAST_SYSTEM_ORDINAL,
            Source::Manual(manual) => &manual.last_ordinal,
        };
        random::uuid_v7(last, self.unix(), self.random())
    }

    /// Returns random bytes for identifiers and jitter. They are not suitable for secrets. Only the first call of a
    /// thread makes a system call.
    #[must_use]
    pub fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        match &self.0 {
            Source::System => random::fill(&mut bytes),
            Source::Manual(manual) => manual.fill(&mut bytes),
        }
        bytes
    }

    /// Returns a random number, uniformly distributed in `0.0..1.0`.
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

/// Formats a time since 1970 as RFC 3339 in UTC with milliseconds. A time after the year 9999, the last one of the
/// format, is printed as the last millisecond of that year.
#[must_use]
pub fn rfc3339(unix: Duration) -> String {
    const LAST: Duration = Duration::from_millis(253_402_300_799_999);
    humantime::format_rfc3339_millis(UNIX_EPOCH + unix.min(LAST)).to_string()
}

#[cfg(test)]
mod tests;
