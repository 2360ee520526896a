//! Outlier detection: takes hosts that fail more than the others out of rotation for a time (gRFC A50).
//!
//! - `config.rs`: the settings; `rules.rs`: the settings of each rule.
//! - `host.rs`: the counts of one host, which calls update without a lock.
//! - `machine.rs`: the rules, a pure state machine under a lock that sweeps and ejections take.

mod config;
mod host;
mod machine;
mod rules;

pub use config::OutlierConfig;
pub use host::OutlierHost;
pub use rules::{ConsecutiveFailuresConfig, FailurePercentageConfig, SuccessRateConfig};

use futures_util::future::{Either, select};
use machine::Machine;
use std::{fmt, future::Future, pin::pin, time::Instant};

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
/// The detector only decides. A client reads [`OutlierHost::is_ejected`] where it picks a host, records the result of
/// each call, and runs [`run`](Self::run), or calls [`sweep`](Self::sweep) itself. Clones share their hosts.
///
/// ```
/// use comms_core::{clock::Clock, resilience::{ConsecutiveFailuresConfig, OutlierConfig, OutlierDetector}};
/// use std::time::Duration;
/// let clock = Clock::manual(Duration::ZERO);
/// let config = OutlierConfig::default().consecutive_failures(ConsecutiveFailuresConfig::default());
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
/// assert!(!first.is_ejected());
/// # Ok::<(), comms_core::Error>(())
/// ```
#[derive(Clone)]
pub struct OutlierDetector(Arc<Shared>);

struct Shared {
    machine: Mutex<Machine>,
    /// The threshold of the rule of consecutive failures; 0: the rule is off.
    consecutive_threshold: AtomicU32,
    listeners: Mutex<Vec<Listener>>,
    name: &'static str,
    clock: Clock,
}

type Listener = std::sync::Arc<dyn Fn(&OutlierChange) + Send + Sync>;

/// The ejection of a host, or its return to rotation.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutlierChange {
    /// The name of the host.
    pub host: std::sync::Arc<str>,
    /// The rule that ejected the host. `None`: the host is in rotation again.
    pub ejected: Option<EjectionReason>,
}

/// The rule that ejected a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EjectionReason {
    /// The success rate is far below that of the other hosts.
    SuccessRate,
    /// Most calls failed.
    FailurePercentage,
    /// The last calls failed, one after the other.
    ConsecutiveFailures,
}

impl EjectionReason {
    /// Returns the value of the `reason` label of metrics, for example `success_rate`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SuccessRate => "success_rate",
            Self::FailurePercentage => "failure_percentage",
            Self::ConsecutiveFailures => "consecutive_failures",
        }
    }
}

/// The state of one host, for an admin endpoint.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct HostSnapshot {
    /// The name of the host.
    pub host: String,
    /// Whether the host is ejected.
    pub ejected: bool,
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
            consecutive_threshold: AtomicU32::new(consecutive_threshold(&config)),
            machine: Mutex::new(Machine::new(config)),
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
        let (id, state) = self.lock().add(name.clone());
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
            let interval = self.lock().config().interval;
            match select(shutdown.as_mut(), pin!(self.0.clock.sleep(interval))).await {
                Either::Left(_) => return,
                Either::Right(_) => drop(self.sweep()),
            }
        }
    }

    /// Registers a listener that is called after every ejection and every return to rotation, on the thread that caused
    /// it. A listener must not block; it may call the detector.
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
        let mut machine = self.lock();
        self.0.consecutive_threshold.store(consecutive_threshold(&config), Ordering::Relaxed);
        machine.configure(config);
        Ok(())
    }

    /// Returns the state of each host, in the order in which they were added.
    #[must_use]
    pub fn snapshot(&self) -> Vec<HostSnapshot> {
        let now = self.0.clock.now();
        self.lock().snapshot(now)
    }

    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.0.name
    }

    /// Returns whether this number of failures in a row makes a host an outlier.
    fn ejects_after(&self, failures: u32) -> bool {
        let threshold = self.0.consecutive_threshold.load(Ordering::Relaxed);
        threshold != 0 && failures >= threshold
    }

    /// Changes the machine under the lock, and reports the changes outside of it.
    fn change(
        &self,
        change: impl FnOnce(&mut Machine, Instant, &Clock) -> Vec<OutlierChange>,
    ) -> Vec<OutlierChange> {
        let shared = &*self.0;
        let now = shared.clock.now();
        let (changes, ejected) = {
            let mut machine = self.lock();
            let changes = change(&mut machine, now, &shared.clock);
            (changes, machine.ejected())
        };
        // Also without a change: an ejected host may have left.
        metrics::gauge!(telemetry::OUTLIER_EJECTED, "name" => shared.name).set(ejected as f64);
        if changes.is_empty() {
            return changes;
        }
        let listeners = shared.listeners.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for change in &changes {
            self.report(change);
            listeners.iter().for_each(|listener| listener(change));
        }
        changes
    }

    fn report(&self, change: &OutlierChange) {
        let (name, host) = (self.0.name, &*change.host);
        match change.ejected {
            Some(reason) => {
                let reason = reason.as_str();
                tracing::warn!(service = name, host, reason, "host ejected from rotation");
                metrics::counter!(telemetry::OUTLIER_EJECTIONS, "name" => name, "reason" => reason)
                    .increment(1);
            }
            None => tracing::info!(service = name, host, "host returned to rotation"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Machine> {
        self.0.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn consecutive_threshold(config: &OutlierConfig) -> u32 {
    config.consecutive_failures.as_ref().map_or(0, |rule| rule.threshold)
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
