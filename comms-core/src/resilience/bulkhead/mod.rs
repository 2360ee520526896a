//! A bulkhead: bounds how many calls of one kind are in flight, how many wait for a permit, and for how long.

mod config;
mod registry;
mod semaphore;

pub use config::BulkheadConfig;
pub use registry::BulkheadRegistry;
pub(super) use semaphore::{QueueFull, Waiter};

use semaphore::Semaphore;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use super::{Guard, Rejection, name::intern};
use crate::{
    Error,
    sync::{Arc, AtomicU64, Ordering},
};

/// A bound on concurrent calls.
///
/// Each call in flight has a permit. If no permit is free, [`try_acquire`](Self::try_acquire) rejects the call and
/// [`acquire`](Self::acquire) waits. A policy waits for [`BulkheadConfig::max_wait`]. Waiting calls get permits in the
/// order of arrival. Clones share their permits.
///
/// ```
/// use comms_core::resilience::{Bulkhead, BulkheadConfig};
/// let bulkhead = Bulkhead::new("reports", &BulkheadConfig::new(1))?;
/// let permit = bulkhead.try_acquire()?;
/// assert!(bulkhead.try_acquire().is_err());
/// drop(permit);
/// assert!(bulkhead.try_acquire().is_ok());
/// # Ok::<(), comms_core::Error>(())
/// ```
#[derive(Clone)]
pub struct Bulkhead(Arc<Shared>);

struct Shared {
    semaphore: Semaphore,
    max_wait_nanos: AtomicU64,
    name: &'static str,
}

/// The usage of a bulkhead at one moment, for an admin endpoint.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct BulkheadSnapshot {
    /// The name of the bulkhead.
    pub name: String,
    /// Permits in use: calls in flight.
    pub in_use: u32,
    /// Calls that wait for a permit.
    pub queued: u32,
    /// The maximum of calls in flight. `in_use` is above it for a while after the setting was lowered.
    pub max_concurrent: u32,
}

impl Bulkhead {
    /// Creates a bulkhead with all permits free. `name` identifies it in rejections.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if [`BulkheadConfig::validate`] fails.
    pub fn new(name: &str, config: &BulkheadConfig) -> Result<Self, Error> {
        config.validate()?;
        Ok(Self::unchecked(name, config))
    }

    /// Creates a bulkhead from validated settings.
    pub(super) fn unchecked(name: &str, config: &BulkheadConfig) -> Self {
        let semaphore = Semaphore::new(config.max_concurrent, config.max_queued);
        let max_wait_nanos = AtomicU64::new(nanos(config.max_wait));
        Self(Arc::new(Shared { semaphore, max_wait_nanos, name: intern(name) }))
    }

    /// Acquires a permit without waiting.
    ///
    /// # Errors
    /// Returns a [`Rejection`] of [`Guard::Bulkhead`], without `retry_after`, if no permit is free or other calls wait.
    #[inline]
    pub fn try_acquire(&self) -> Result<BulkheadPermit<'_>, Rejection> {
        if self.0.semaphore.try_acquire() { Ok(BulkheadPermit(self)) } else { Err(self.rejection()) }
    }

    /// Acquires a permit, waiting until one is free.
    ///
    /// The wait has no time limit: call this under [`Clock::timeout`](crate::clock::Clock::timeout), or use a
    /// [`Policy`](super::Policy). Dropping the future leaves the queue.
    ///
    /// # Errors
    /// Returns a [`Rejection`] of [`Guard::Bulkhead`], without `retry_after`, if `max_queued` calls wait already.
    pub async fn acquire(&self) -> Result<BulkheadPermit<'_>, Rejection> {
        match self.try_acquire() {
            Ok(permit) => Ok(permit),
            Err(_) => Acquire { bulkhead: self, waiter: None }.await,
        }
    }

    /// Replaces the settings with immediate effect. Calls in flight keep their permits.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if [`BulkheadConfig::validate`] fails; the old
    /// settings stay in effect.
    pub fn configure(&self, config: &BulkheadConfig) -> Result<(), Error> {
        config.validate()?;
        self.configure_unchecked(config);
        Ok(())
    }

    /// Replaces the settings by validated ones.
    pub(super) fn configure_unchecked(&self, config: &BulkheadConfig) {
        self.0.max_wait_nanos.store(nanos(config.max_wait), Ordering::Relaxed);
        self.0.semaphore.resize(config.max_concurrent, config.max_queued);
    }

    /// Returns the number of permits in use.
    #[must_use]
    pub fn in_use(&self) -> u32 {
        self.0.semaphore.counts().in_use
    }

    /// Returns the permits in use, the queued calls and the maximum.
    #[must_use]
    pub fn snapshot(&self) -> BulkheadSnapshot {
        let counts = self.0.semaphore.counts();
        BulkheadSnapshot {
            name: self.0.name.to_string(),
            in_use: counts.in_use,
            queued: counts.queued,
            max_concurrent: counts.max_permits,
        }
    }

    pub(super) fn semaphore(&self) -> &Semaphore {
        &self.0.semaphore
    }

    pub(super) fn max_wait(&self) -> Duration {
        Duration::from_nanos(self.0.max_wait_nanos.load(Ordering::Relaxed))
    }

    pub(super) fn rejection(&self) -> Rejection {
        Rejection::new(self.0.name, Guard::Bulkhead, None)
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl fmt::Debug for Bulkhead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.snapshot().fmt(f)
    }
}

/// A permit of a [`Bulkhead`]. Dropping it releases the permit.
#[derive(Debug)]
#[must_use = "a permit that is dropped at once bounds nothing"]
pub struct BulkheadPermit<'a>(&'a Bulkhead);

impl Drop for BulkheadPermit<'_> {
    fn drop(&mut self) {
        self.0.semaphore().release();
    }
}

/// The future of [`Bulkhead::acquire`] after the attempt without waiting failed.
struct Acquire<'a> {
    bulkhead: &'a Bulkhead,
    waiter: Option<Waiter>,
}

impl<'a> Future for Acquire<'a> {
    type Output = Result<BulkheadPermit<'a>, Rejection>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let bulkhead = self.bulkhead;
        let acquired = match &self.waiter {
            Some(waiter) => bulkhead.semaphore().poll(waiter, cx).is_ready(),
            None => match bulkhead.semaphore().enqueue(cx) {
                Ok(waiter) => {
                    self.waiter = waiter;
                    self.waiter.is_none()
                }
                Err(QueueFull) => return Poll::Ready(Err(bulkhead.rejection())),
            },
        };
        if !acquired {
            return Poll::Pending;
        }
        self.waiter = None;
        Poll::Ready(Ok(BulkheadPermit(bulkhead)))
    }
}

impl Drop for Acquire<'_> {
    fn drop(&mut self) {
        if let Some(waiter) = &self.waiter {
            self.bulkhead.semaphore().cancel(waiter);
        }
    }
}

#[cfg(test)]
mod tests;
