//! Keeps one kind of call from taking all there is: so many at once, so many waiting, for so long.

mod config;
mod seats;

pub use config::{BulkheadConfig, BulkheadRegistry};
pub(super) use seats::{Full, Ticket};

use seats::Seats;
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

/// A compartment with a number of seats. Clones share it. First come, first seated.
///
/// ```
/// use comms_core::resilience::{Bulkhead, BulkheadConfig};
/// let bulkhead = Bulkhead::new("reports", &BulkheadConfig::new(1))?;
/// let seat = bulkhead.try_acquire()?;
/// assert!(bulkhead.try_acquire().is_err());
/// drop(seat);
/// assert!(bulkhead.try_acquire().is_ok());
/// # Ok::<(), comms_core::Error>(())
/// ```
#[derive(Clone)]
pub struct Bulkhead(Arc<Shared>);

struct Shared {
    seats: Seats,
    max_wait_nanos: AtomicU64,
    name: &'static str,
}

/// What a bulkhead shows of itself.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct BulkheadSnapshot {
    /// The compartment.
    pub name: String,
    /// Calls under way.
    pub in_use: u32,
    /// Calls waiting for a seat.
    pub waiting: u32,
    /// Calls at once.
    pub limit: u32,
}

impl Bulkhead {
    /// An empty compartment; `name` stands in rejections.
    ///
    /// # Errors
    /// `Invalid` for settings that make no sense.
    pub fn new(name: &str, config: &BulkheadConfig) -> Result<Self, Error> {
        config.validate()?;
        Ok(Self::unchecked(name, config))
    }

    pub(super) fn unchecked(name: &str, config: &BulkheadConfig) -> Self {
        let seats = Seats::new(config.max_concurrent, config.max_queued);
        let max_wait_nanos = AtomicU64::new(nanos(config.max_wait));
        Self(Arc::new(Shared { seats, max_wait_nanos, name: intern(name) }))
    }

    /// A seat, if one is free now.
    ///
    /// # Errors
    /// A [`Rejection`] where it is full.
    #[inline]
    pub fn try_acquire(&self) -> Result<BulkheadPermit<'_>, Rejection> {
        if self.0.seats.try_take() { Ok(BulkheadPermit(self)) } else { Err(self.rejection()) }
    }

    /// A seat, as soon as one is free. It waits without a limit of time, in a queue of limited length; put a
    /// timeout around it, or a [`Policy`](super::Policy). Dropping the future leaves the queue.
    ///
    /// # Errors
    /// A [`Rejection`] where too many wait already.
    pub async fn acquire(&self) -> Result<BulkheadPermit<'_>, Rejection> {
        match self.try_acquire() {
            Ok(seat) => Ok(seat),
            Err(_) => Acquire { bulkhead: self, ticket: None }.await,
        }
    }

    /// Other settings, effective at once: those seated stay, those who wait get what has come free.
    ///
    /// # Errors
    /// `Invalid` for settings that make no sense; the old ones stay.
    pub fn configure(&self, config: &BulkheadConfig) -> Result<(), Error> {
        config.validate()?;
        self.configure_unchecked(config);
        Ok(())
    }

    /// Takes settings that are known to be valid.
    pub(super) fn configure_unchecked(&self, config: &BulkheadConfig) {
        self.0.max_wait_nanos.store(nanos(config.max_wait), Ordering::Relaxed);
        self.0.seats.resize(config.max_concurrent, config.max_queued);
    }

    /// Calls under way.
    #[must_use]
    pub fn in_use(&self) -> u32 {
        self.0.seats.counts().0
    }

    /// How full it is.
    #[must_use]
    pub fn snapshot(&self) -> BulkheadSnapshot {
        let (in_use, waiting, limit) = self.0.seats.counts();
        BulkheadSnapshot { name: self.0.name.to_string(), in_use, waiting, limit }
    }

    pub(super) fn seats(&self) -> &Seats {
        &self.0.seats
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

/// A seat in a [`Bulkhead`]; dropping it gives it back.
#[derive(Debug)]
#[must_use = "a seat that is dropped at once guards nothing"]
pub struct BulkheadPermit<'a>(&'a Bulkhead);

impl Drop for BulkheadPermit<'_> {
    fn drop(&mut self) {
        self.0.seats().leave();
    }
}

struct Acquire<'a> {
    bulkhead: &'a Bulkhead,
    ticket: Option<Ticket>,
}

impl<'a> Future for Acquire<'a> {
    type Output = Result<BulkheadPermit<'a>, Rejection>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let bulkhead = self.bulkhead;
        let seated = match &self.ticket {
            Some(ticket) => bulkhead.seats().poll(ticket, cx).is_ready(),
            None => match bulkhead.seats().queue_up(cx) {
                Ok(ticket) => {
                    self.ticket = ticket;
                    self.ticket.is_none()
                }
                Err(Full) => return Poll::Ready(Err(bulkhead.rejection())),
            },
        };
        if !seated {
            return Poll::Pending;
        }
        self.ticket = None;
        Poll::Ready(Ok(BulkheadPermit(bulkhead)))
    }
}

impl Drop for Acquire<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = &self.ticket {
            self.bulkhead.seats().give_up(ticket);
        }
    }
}

#[cfg(test)]
mod tests;
