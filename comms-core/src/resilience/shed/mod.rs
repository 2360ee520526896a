//! Load shedding: a limit of requests in flight that refuses requests of a low priority first.
//!
//! - `config.rs`: the settings.
//! - `counts.rs`: the requests in flight of each priority in one atomic word, and the bound of each priority in another.
//! - `gradient.rs`: the adaptive limit, a pure state machine under a lock that only completed requests take.
//! - `admission.rs`: the admission of a request by its priority; `permit.rs`: its permit; `layer.rs`: the tower layer;
//!   `snapshot.rs`: the usage for operators.

mod admission;
mod config;
mod counts;
mod gradient;
mod layer;
mod permit;
mod snapshot;

pub use config::{AdaptiveLimitConfig, ShedConfig, ShedLimit};
pub use layer::{Shed, ShedCall, ShedLayer};
pub use permit::ShedPermit;
pub use snapshot::{InFlight, ShedSnapshot};

use gradient::{Gradient, Sample};
use metrics::{Counter, Gauge};
use std::{
    fmt,
    sync::OnceLock,
    time::{Duration, Instant},
};

use super::name::intern;
use crate::{
    Error,
    clock::Clock,
    context::Priority,
    sync::{Arc, AtomicU64, Mutex, MutexGuard, Ordering, PoisonError},
    telemetry,
};

/// A limit of requests in flight that sheds requests by [`Priority`] under overload.
///
/// A request is admitted while the requests in flight of *all* priorities are below the share of its priority: by
/// default 60 % of the limit for `Batch`, 90 % for `Standard`, and the whole limit for `Critical`. So batch work gives
/// way first, and from a limit of 10 on, requests of a lower priority never take the last permit of critical ones. Each
/// share is at least one permit. A shed request does not wait, and its rejection allocates nothing.
///
/// The limit is fixed, or adaptive within bounds: see [`AdaptiveLimitConfig`]. Clones share their permits.
///
/// ```
/// use comms_core::{clock::Clock, context::Priority, resilience::{Guard, ShedConfig, Shedder}};
/// let shedder = Shedder::new("orders", ShedConfig::fixed(10), Clock::system())?;
/// let held: Vec<_> = (0..6).map(|_| shedder.try_acquire(Priority::Batch)).collect::<Result<_, _>>()?;
/// let shed = shedder.try_acquire(Priority::Batch).unwrap_err();
/// assert_eq!(shed.guard, Guard::Shed);
/// assert!(shed.retry_after.is_some());
/// shedder.try_acquire(Priority::Critical)?.success();
/// # drop(held);
/// # Ok::<(), comms_core::Error>(())
/// ```
#[derive(Clone)]
pub struct Shedder(Arc<Shared>);

struct Shared {
    /// Requests in flight of each priority, see `counts.rs`.
    in_flight: AtomicU64,
    /// The bound of each priority, see `counts.rs`. Written only under the lock of `settings`.
    bounds: AtomicU64,
    retry_after_nanos: AtomicU64,
    settings: Mutex<Settings>,
    /// Shed requests of each priority since the creation.
    shed: [AtomicU64; 3],
    meter: Meter,
    name: &'static str,
    clock: Clock,
}

struct Settings {
    config: ShedConfig,
    /// Present if the limit is adaptive.
    gradient: Option<Gradient>,
}

/// The metric handles. A handle is created at its first use.
#[derive(Default)]
struct Meter {
    shed: [OnceLock<Counter>; 3],
    limit: OnceLock<Gauge>,
}

impl Shedder {
    /// Creates a shedder with all permits free. `name` identifies it in rejections and metrics, and is never freed.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if [`ShedConfig::validate`] fails.
    pub fn new(name: &str, config: ShedConfig, clock: Clock) -> Result<Self, Error> {
        config.validate()?;
        let settings = Settings::new(config, clock.now());
        Ok(Self(Arc::new(Shared {
            in_flight: AtomicU64::new(0),
            bounds: AtomicU64::new(settings.bounds()),
            retry_after_nanos: AtomicU64::new(nanos(settings.config.retry_after)),
            settings: Mutex::new(settings),
            shed: Default::default(),
            meter: Meter::default(),
            name: intern(name),
            clock,
        })))
    }

    /// Returns the tower layer for services whose error is [`Error`]. A request has the priority of the current
    /// [`Context`](crate::context::Context).
    ///
    /// The permit is held until the response future completes, and not while a response body streams. For bodies use
    /// [`try_acquire`](Self::try_acquire) and keep the permit in the body.
    #[must_use]
    pub fn layer(&self) -> ShedLayer {
        ShedLayer::new(self.clone())
    }

    /// Returns the limit of requests in flight.
    #[must_use]
    pub fn limit(&self) -> u32 {
        counts::of(self.0.bounds.load(Ordering::Relaxed), Priority::Critical)
    }

    /// Returns the requests in flight.
    #[must_use]
    pub fn in_flight(&self) -> InFlight {
        let word = self.0.in_flight.load(Ordering::Relaxed);
        let of = |priority| counts::of(word, priority);
        InFlight {
            batch: of(Priority::Batch),
            standard: of(Priority::Standard),
            critical: of(Priority::Critical),
        }
    }

    /// Replaces the settings with immediate effect. Requests in flight keep their permits. An adaptive limit that stays
    /// adaptive keeps its value, within the new bounds.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if [`ShedConfig::validate`] fails; the old settings
    /// stay in effect.
    pub fn configure(&self, config: ShedConfig) -> Result<(), Error> {
        config.validate()?;
        let now = self.0.clock.now();
        let mut settings = self.lock();
        self.0.retry_after_nanos.store(nanos(config.retry_after), Ordering::Relaxed);
        settings.configure(config, now);
        self.0.bounds.store(settings.bounds(), Ordering::Relaxed);
        self.show_limit(&settings);
        Ok(())
    }

    /// Returns the settings.
    #[must_use]
    pub fn config(&self) -> ShedConfig {
        self.lock().config.clone()
    }

    /// Returns the usage.
    #[must_use]
    pub fn snapshot(&self) -> ShedSnapshot {
        let average = self.lock().gradient.as_ref().and_then(Gradient::long_average);
        let shed = |priority: Priority| self.0.shed[priority as usize].load(Ordering::Relaxed);
        ShedSnapshot {
            name: self.0.name.to_owned(),
            limit: self.limit(),
            in_flight: self.in_flight(),
            shed_batch: shed(Priority::Batch),
            shed_standard: shed(Priority::Standard),
            shed_critical: shed(Priority::Critical),
            average_micros: average.map(|average| average.as_micros() as u64),
        }
    }

    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.0.name
    }

    fn clock(&self) -> &Clock {
        &self.0.clock
    }

    fn add_sample(&self, now: Instant, sample: Sample) {
        let mut settings = self.lock();
        // Absent if the limit was made a fixed one while the request was in flight.
        let complete = settings.gradient.as_mut().is_some_and(|gradient| gradient.add(now, sample));
        if complete {
            self.0.bounds.store(settings.bounds(), Ordering::Relaxed);
            self.show_limit(&settings);
        }
    }

    fn show_limit(&self, settings: &Settings) {
        let handle = || metrics::gauge!(telemetry::SHED_LIMIT, "name" => self.0.name);
        self.0.meter.limit.get_or_init(handle).set(f64::from(settings.limit()));
    }

    fn lock(&self) -> MutexGuard<'_, Settings> {
        self.0.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Settings {
    fn new(config: ShedConfig, now: Instant) -> Self {
        let mut settings = Self { config: config.clone(), gradient: None };
        settings.configure(config, now);
        settings
    }

    fn configure(&mut self, config: ShedConfig, now: Instant) {
        match (&config.limit, &mut self.gradient) {
            (ShedLimit::Fixed(_), gradient) => *gradient = None,
            (ShedLimit::Adaptive(adaptive), Some(gradient)) => gradient.configure(adaptive.clone()),
            (ShedLimit::Adaptive(adaptive), none) => *none = Some(Gradient::new(adaptive.clone(), now)),
        }
        self.config = config;
    }

    fn limit(&self) -> u32 {
        match (&self.config.limit, &self.gradient) {
            (_, Some(gradient)) => gradient.limit(),
            (ShedLimit::Fixed(limit), None) => *limit,
            (ShedLimit::Adaptive(adaptive), None) => adaptive.initial,
        }
    }

    fn bounds(&self) -> u64 {
        let ShedConfig { batch_share, standard_share, .. } = self.config;
        counts::bounds(self.limit(), batch_share, standard_share, self.gradient.is_some())
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl fmt::Debug for Shedder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.snapshot().fmt(f)
    }
}

#[cfg(test)]
mod tests;
