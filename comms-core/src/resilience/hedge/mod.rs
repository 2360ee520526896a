//! Hedged calls: a second attempt of an idempotent call that takes long, while the first one goes on (gRFC A6).
//!
//! - `config.rs`: the settings; `budget.rs`: the budget that pays for hedges.
//! - `window.rs`: percentiles of recent durations; `meter.rs`: the counters.
//! - `service.rs`: the tower layer and service; `attempt.rs`: one attempt.
//! - `call.rs`: the attempts of a call; `call_state.rs`: the decisions after each of them.

mod attempt;
mod budget;
mod call;
mod call_state;
mod config;
mod meter;
mod service;
mod window;

pub use call::HedgeCall;
pub use config::{HedgeConfig, HedgeDelay};
pub use service::{HedgeLayer, HedgeService};

use budget::Budget;
use meter::{DenialReason, Meter};
use std::{
    fmt,
    time::{Duration, Instant},
};
use window::Window;

use super::{RetryBudget, name::intern};
use crate::{
    Error,
    clock::Clock,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Hedges the idempotent calls to one service: sends another attempt when the attempts in flight take long, and returns
/// the first success.
///
/// - A call is hedged only if [`Classify::is_idempotent`](super::Classify::is_idempotent) returns true for its request,
///   because several attempts may be executed.
/// - Each attempt after the first one is paid from a [`RetryBudget`], so that hedges do not multiply the load of an
///   overloaded peer. Without a token the call goes on with the attempts in flight.
/// - A failure of kind `NotExecuted` or `Indeterminate` sends the next attempt at once, and one of kind `Rejected` after
///   the wait that the peer requests. A wait that a peer requests with any failure (pushback) delays every further
///   attempt. A pushback of [`Duration::MAX`], or of more than 5 min, stops further attempts.
/// - The first success ends the call, and so does an answer of a handler: `Invalid`, `NotFound`, `Internal` or `Fatal`
///   ([`Classify::is_conclusive`](super::Classify::is_conclusive)). The other attempts are dropped, which cancels them.
/// - Any other failure concerns its attempt alone: the call waits for the attempts in flight, and ends if there are none.
///   The result is the last failure, or an `Indeterminate` one if there was any.
/// - A refusal by a guard of this process ([`Classify::is_local_refusal`](super::Classify::is_local_refusal)) is no evidence
///   about the peer: it sends no further attempt, and costs no token.
/// - No attempt is sent whose delay reaches the deadline of the [`Context`](crate::context::Context). The service ends its
///   attempts at the deadline itself, as a [`Policy`](super::Policy) does.
///
/// Use hedges or retries for a call, not both: place the layer around a [`Policy`](super::Policy) with `retry` off, so
/// that the breaker and the bulkhead of the policy see each attempt. The first attempt allocates nothing, a hedge
/// allocates its future. Clones share their measurements.
///
/// ```
/// use comms_core::{Error, clock::Clock};
/// use comms_core::resilience::{ByKind, Hedge, HedgeConfig, HedgeDelay, RetryBudget, RetryBudgetConfig};
/// use std::{sync::atomic::{AtomicU32, Ordering}, time::Duration};
/// use tower::{Layer, ServiceExt, service_fn};
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Error> {
/// let clock = Clock::system();
/// let budget = RetryBudget::new(&RetryBudgetConfig::default(), clock.clone())?;
/// let config = HedgeConfig::default().delay(HedgeDelay::Fixed(Duration::from_millis(50)));
/// let hedge = Hedge::new("prices", config, budget, clock.clone())?;
/// // The first attempt hangs.
/// static ATTEMPTS: AtomicU32 = AtomicU32::new(0);
/// let price = service_fn(|_book: &'static str| async {
///     match ATTEMPTS.fetch_add(1, Ordering::Relaxed) {
///         0 => std::future::pending().await,
///         _ => Ok::<u32, Error>(42),
///     }
/// });
/// let service = hedge.layer(ByKind::idempotent()).layer(price);
/// assert_eq!(service.oneshot("atlas").await?, 42);
/// assert_eq!(hedge.snapshot().wins, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Hedge(Arc<Shared>);

struct Shared {
    measured: Arc<Measured>,
    budget: Budget,
}

/// The settings and measurements, which hedges that are paid from other budgets share.
struct Measured {
    state: Mutex<State>,
    meter: Meter,
    name: &'static str,
    clock: Clock,
}

struct State {
    config: HedgeConfig,
    /// Present if the delay is a percentile.
    window: Option<Window>,
}

/// The settings of one call.
struct Plan {
    delay: Option<Duration>,
    max_attempts: u32,
    is_measured: bool,
}

/// The measurements of a hedge at one moment, for an admin endpoint.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct HedgeSnapshot {
    /// The name of the hedge.
    pub name: String,
    /// The current delay in microseconds. `None` while the window has too few samples.
    pub delay_micros: Option<u64>,
    /// First attempts in the window. 0 if the delay is fixed.
    pub samples: u32,
    /// Hedged attempts since the creation, also those that a guard of this process refused.
    pub hedges: u64,
    /// Calls since the creation that succeeded with a hedged attempt.
    pub wins: u64,
}

impl Hedge {
    /// Creates a hedge without samples. `name` identifies it in metrics, and is never freed. Each successful call deposits
    /// its share into `budget`.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if [`HedgeConfig::validate`] fails.
    pub fn new(name: &str, config: HedgeConfig, budget: RetryBudget, clock: Clock) -> Result<Self, Error> {
        Self::with_budget(name, config, Budget::Own(budget), clock)
    }

    fn with_budget(name: &str, config: HedgeConfig, budget: Budget, clock: Clock) -> Result<Self, Error> {
        config.validate()?;
        let state = Mutex::new(State { window: window_of(&config, clock.now()), config });
        let name = intern(name);
        let measured = Arc::new(Measured { state, meter: Meter::new(name), name, clock });
        Ok(Self(Arc::new(Shared { measured, budget })))
    }

    /// Returns the tower layer. `classify` decides which requests are idempotent and which results are failures, for
    /// example [`ByKind::idempotent()`](super::ByKind::idempotent).
    pub fn layer<C>(&self, classify: C) -> HedgeLayer<C> {
        HedgeLayer::new(self.clone(), classify)
    }

    /// Replaces the settings for calls that start afterwards. The samples are kept if `window` is the same.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if [`HedgeConfig::validate`] fails; the old settings
    /// stay in effect.
    pub fn configure(&self, config: HedgeConfig) -> Result<(), Error> {
        config.validate()?;
        let now = self.0.measured.clock.now();
        let mut state = self.lock();
        let keeps_samples = matches!(config.delay, HedgeDelay::Percentile(_))
            && state.window.is_some()
            && config.window == state.config.window;
        match &mut state.window {
            Some(window) if keeps_samples => window.recalculate(),
            window => *window = window_of(&config, now),
        }
        state.config = config;
        Ok(())
    }

    /// Returns the settings.
    #[must_use]
    pub fn config(&self) -> HedgeConfig {
        self.lock().config.clone()
    }

    /// Returns the measurements.
    #[must_use]
    pub fn snapshot(&self) -> HedgeSnapshot {
        let now = self.0.measured.clock.now();
        let delay = self.plan(now).delay;
        let samples = self.lock().window.as_mut().map_or(0, |window| window.samples(now));
        let (hedges, wins) = self.0.measured.meter.counts();
        HedgeSnapshot {
            name: self.0.measured.name.to_owned(),
            delay_micros: delay.map(|delay| delay.as_micros() as u64),
            samples,
            hedges,
            wins,
        }
    }

    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.0.measured.name
    }

    fn clock(&self) -> &Clock {
        &self.0.measured.clock
    }

    fn plan(&self, now: Instant) -> Plan {
        let state = &mut *self.lock();
        let (max_attempts, min_samples) = (state.config.max_attempts, state.config.min_samples);
        let delay = match (state.config.delay, &mut state.window) {
            (HedgeDelay::Fixed(delay), _) => Some(delay),
            (HedgeDelay::Percentile(share), Some(window)) => window.percentile(share, min_samples, now),
            (HedgeDelay::Percentile(_), None) => None,
        };
        Plan { delay, max_attempts, is_measured: state.window.is_some() }
    }

    /// Records the duration of a first attempt.
    fn record(&self, duration: Duration, now: Instant) {
        if let Some(window) = &mut self.lock().window {
            window.record(duration, now);
        }
    }

    /// Records the success of a call.
    fn succeeded(&self, first_attempt: bool) {
        self.0.budget.deposit();
        if !first_attempt {
            self.0.measured.meter.count_win();
        }
    }

    /// Withdraws the token of a hedge. Returns whether there was one.
    fn withdraw(&self) -> bool {
        if !self.0.budget.try_withdraw() {
            self.denied(DenialReason::Budget);
            return false;
        }
        self.0.measured.meter.count_hedge();
        true
    }

    /// Returns the token of a hedge that a guard of this process refused.
    fn refused_locally(&self) {
        self.0.budget.put_back();
        self.denied(DenialReason::Guard);
    }

    fn denied(&self, reason: DenialReason) {
        self.0.measured.meter.count_denial(reason);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.measured.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn window_of(config: &HedgeConfig, now: Instant) -> Option<Window> {
    matches!(config.delay, HedgeDelay::Percentile(_)).then(|| Window::new(config.window, now))
}

impl fmt::Debug for Hedge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.snapshot().fmt(f)
    }
}

#[cfg(test)]
mod tests;
