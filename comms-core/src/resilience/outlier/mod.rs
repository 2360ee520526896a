//! Outlier detection: takes hosts that fail more than the others out of rotation for a time (gRFC A50).
//!
//! - `config.rs`: the settings; `rules.rs`: the settings of each rule.
//! - `host.rs`: the counts of one host, which calls update without a lock.
//! - `machine.rs`: the rules, a pure state machine under a lock that sweeps and ejections take.
//! - `changes.rs`: reports the ejections and returns, in their order.

mod changes;
mod config;
mod host;
mod machine;
mod rules;

pub use changes::{EjectionReason, OutlierChange};
pub use config::OutlierConfig;
pub use host::OutlierHost;
pub use rules::{FailurePercentageConfig, SuccessRateConfig};

use futures_util::future::{Either, select};
use std::{collections::VecDeque, fmt, future::Future, pin::pin, time::Instant};

use self::{changes::Listener, machine::Machine};
use super::name::intern;
use crate::{
    Error,
    clock::Clock,
    sync::{Arc, AtomicU32, Mutex, MutexGuard, Ordering, PoisonError},
    telemetry,
};

/// Detects hosts of one service that fail more than the others, and ejects them for a time.
///
/// The rules are those of gRFC A50 (<https://github.com/grpc/proposal/blob/master/A50-xds-outlier-detection.md>):
/// success rate and failure percentage, evaluated at each sweep, and in addition consecutive failures, evaluated at each
/// call. An ejection lasts 30 s times the number of recent ejections, at most 300 s. Each sweep in rotation reduces that
/// number by one. At most 10 % of the hosts are ejected at once, at least one, and never the last one. If an ejected
/// host is the last that remains, it returns to rotation. A host that is ejected already is not ejected again.
///
/// A host that returns is on trial until a call succeeds ([`OutlierHost::is_on_trial`]). With the rule of consecutive
/// failures, the first failure on trial ejects it again. gRFC A50 has no such state.
///
/// The detector only decides. A client reads [`OutlierHost::is_ejected`] where it picks a host, records the result of
/// each call, and runs [`run`](Self::run), or calls [`sweep`](Self::sweep) itself. Clones share their hosts.
///
/// ```
/// use comms_core::{clock::Clock, resilience::{OutlierConfig, OutlierDetector}};
/// use std::time::Duration;
/// let clock = Clock::manual(Duration::ZERO);
/// let config = OutlierConfig::default().consecutive_failures(5);
/// let detector = OutlierDetector::new("payments", config, clock.clone())?;
/// let (first, second) = (detector.add("10.0.0.1:50051"), detector.add("10.0.0.2:50051"));
/// for _ in 0..5 {
///     first.record(false);
///     second.record(false);
/// }
/// assert!(first.is_ejected());
/// assert!(!second.is_ejected(), "the last host stays in rotation");
///
/// clock.advance(Duration::from_secs(31));
/// detector.sweep();
/// assert!(!first.is_ejected() && first.is_on_trial());
/// # Ok::<(), comms_core::Error>(())
/// ```
#[derive(Clone)]
pub struct OutlierDetector(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// The threshold of the rule of consecutive failures; 0: the rule is off.
    consecutive_threshold: AtomicU32,
    listeners: Mutex<Vec<Listener>>,
    name: &'static str,
    clock: Clock,
}

struct State {
    machine: Machine,
    /// The changes that no listener has received yet. At most one for each host and sweep is added.
    unreported: VecDeque<OutlierChange>,
    /// Whether a thread reports changes.
    is_reporting: bool,
}

/// The state of one host, for an admin endpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct HostSnapshot {
    /// The name of the host.
    pub host: String,
    /// Whether the host is ejected.
    pub ejected: bool,
    /// Whether the host has returned from an ejection and no call has succeeded since.
    pub on_trial: bool,
    /// Milliseconds until the ejection ends, at the first sweep after them. `None` if the host is in rotation.
    pub remaining_ejection_ms: Option<u64>,
    /// The number of recent ejections, by which the next ejection is longer.
    pub ejections: u32,
    /// Successful calls in the interval that the last sweep ended.
    pub successes: u32,
    /// Failed calls in the interval that the last sweep ended.
    pub failures: u32,
}

impl OutlierDetector {
    /// Creates a detector without hosts. `name` identifies it in metrics and logs, and is never freed.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if [`OutlierConfig::validate`] fails.
    pub fn new(name: &str, config: OutlierConfig, clock: Clock) -> Result<Self, Error> {
        config.validate()?;
        Ok(Self(Arc::new(Shared {
            consecutive_threshold: AtomicU32::new(config.consecutive_failures),
            state: Mutex::new(State {
                machine: Machine::new(config),
                unreported: VecDeque::new(),
                is_reporting: false,
            }),
            listeners: Mutex::default(),
            name: intern(name),
            clock,
        })))
    }

    /// Adds a host, in rotation and without a history. The host is removed when the handle is dropped.
    ///
    /// `host` names it in logs and snapshots, for example its address. Two hosts may have the same name.
    #[must_use = "a handle that is dropped at once removes the host"]
    pub fn add(&self, host: &str) -> OutlierHost {
        let name: std::sync::Arc<str> = host.into();
        let (id, state) = self.lock().machine.add(name.clone());
        OutlierHost { detector: self.clone(), id, name, state }
    }

    /// Evaluates the calls since the last sweep, ejects outliers and ends ejections whose time has passed. Returns the
    /// changes. Call it every [`OutlierConfig::interval`]; [`run`](Self::run) does so.
    pub fn sweep(&self) -> Vec<OutlierChange> {
        self.change(Machine::sweep)
    }

    /// Sweeps at each interval until `shutdown` resolves. A new interval ([`configure`](Self::configure)) takes effect
    /// after the running one.
    pub async fn run(&self, shutdown: impl Future<Output = ()>) {
        let mut shutdown = pin!(shutdown);
        loop {
            let interval = self.lock().machine.config().interval;
            match select(shutdown.as_mut(), pin!(self.0.clock.sleep(interval))).await {
                Either::Left(_) => return,
                Either::Right(_) => drop(self.sweep()),
            }
        }
    }

    /// Registers a listener that is called after every ejection and every return to rotation, in the order of the
    /// changes, one at a time. The thread of a change calls it, or a thread that is still reporting an earlier change. A
    /// listener must not block, because later changes wait for it. It may call the detector.
    pub fn on_change(&self, listener: impl Fn(&OutlierChange) + Send + Sync + 'static) {
        let mut listeners = self.0.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.push(std::sync::Arc::new(listener));
    }

    /// Replaces the settings. Ejected hosts stay ejected, for the new times.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if [`OutlierConfig::validate`] fails; the old settings
    /// stay in effect.
    pub fn configure(&self, config: OutlierConfig) -> Result<(), Error> {
        config.validate()?;
        let mut state = self.lock();
        self.0.consecutive_threshold.store(config.consecutive_failures, Ordering::Relaxed);
        state.machine.configure(config);
        Ok(())
    }

    /// Returns the state of each host, in the order in which they were added.
    #[must_use]
    pub fn snapshot(&self) -> Vec<HostSnapshot> {
        let now = self.0.clock.now();
        self.lock().machine.snapshot(now, |_| true)
    }

    fn snapshot_of(&self, host: &OutlierHost) -> HostSnapshot {
        let now = self.0.clock.now();
        // A host is known as long as its handle exists.
        self.lock().machine.snapshot(now, |id| id == host.id).pop().unwrap_or_default()
    }

    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.0.name
    }

    /// Returns whether this number of failures in a row makes a host an outlier.
    fn ejects_after(&self, failures: u32, on_trial: bool) -> bool {
        let threshold = self.0.consecutive_threshold.load(Ordering::Relaxed);
        threshold != 0 && (failures >= threshold || on_trial)
    }

    /// Changes the machine under the lock, and reports the changes outside of it.
    fn change(
        &self,
        change: impl FnOnce(&mut Machine, Instant, &Clock) -> Vec<OutlierChange>,
    ) -> Vec<OutlierChange> {
        let shared = &*self.0;
        let changes = {
            let mut state = self.lock();
            let changes = change(&mut state.machine, shared.clock.now(), &shared.clock);
            state.unreported.extend(changes.iter().cloned());
            // Also without a change: an ejected host may have left. Under the lock, so that an older value is not last.
            metrics::gauge!(telemetry::OUTLIER_EJECTED, "name" => shared.name)
                .set(state.machine.ejected() as f64);
            changes
        };
        if !changes.is_empty() {
            self.report_changes();
        }
        changes
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for OutlierDetector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutlierDetector")
            .field("name", &self.name())
            .field("hosts", &self.snapshot())
            .finish()
    }
}

#[cfg(test)]
mod tests;
