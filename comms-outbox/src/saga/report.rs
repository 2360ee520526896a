//! What a coordinator reports: metrics, logs and readiness.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use comms_core::{
    health,
    saga::{Definitions, Effect, Phase},
    telemetry,
};

use super::{RunChange, RunCount, RunId};

/// Reports to metrics and health.
pub(super) struct Reporter {
    health: Option<health::Component>,
    state: Mutex<State>,
}

/// What the last reads and sweeps have found.
#[derive(Default)]
struct State {
    /// Why the database cannot be used.
    away: Option<String>,
    held: u64,
    failing: u64,
    /// The runs of each saga and version that is not registered.
    unregistered: BTreeMap<(String, u32), u64>,
    /// The sagas and phases of which a gauge is set.
    counted: BTreeSet<(String, &'static str)>,
}

impl Reporter {
    pub(super) fn new(health: Option<health::Component>) -> Self {
        Self { health, state: Mutex::default() }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        if let Some(health) = &self.health {
            state.report(health);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The database answered.
    pub(super) fn answered(&self) {
        self.change(|state| state.away = None);
    }

    /// The database cannot be used.
    pub(super) fn failed(&self, reason: String) {
        self.change(|state| state.away = Some(reason));
    }

    /// A timer of `run` failed. The next sweep counts such runs.
    pub(super) fn run_failed(&self, run: &RunId) {
        metrics::counter!(telemetry::SAGA_FAILURES, "saga" => run.saga.clone()).increment(1);
        self.change(|state| state.failing = state.failing.max(1));
    }

    /// A message belonged to no run.
    pub(super) fn unmatched(&self, run: &RunId) {
        tracing::debug!(%run, "a message belongs to no run");
        metrics::counter!(telemetry::SAGA_UNMATCHED, "saga" => run.saga.clone()).increment(1);
    }

    pub(super) fn lag(&self, lag: Duration) {
        metrics::gauge!(telemetry::SAGA_TIMER_LAG_SECONDS).set(lag.as_secs_f64());
    }

    /// Counts a change, and reports its alarms.
    pub(super) fn transition(&self, change: &RunChange) {
        let (saga, id) = (&change.instance.saga, &change.instance.id);
        let labels = [("saga", saga.clone()), ("input", change.input.label().to_owned())];
        metrics::counter!(telemetry::SAGA_TRANSITIONS, &labels).increment(1);
        for effect in &change.effects {
            let Effect::Alarm { step, reason } = effect else { continue };
            tracing::error!(%saga, run = %id, %step, %reason, "a step is held: it needs an operator");
            metrics::counter!(telemetry::SAGA_ALARMS, "saga" => saga.clone()).increment(1);
            self.change(|state| state.held = state.held.max(1));
        }
    }

    /// Reports the runs that have not ended.
    pub(super) fn counts(&self, counts: &[RunCount], definitions: &Definitions) {
        let (mut by_phase, mut unregistered) = (BTreeMap::new(), BTreeMap::new());
        for RunCount { saga, version, phase, runs, .. } in counts {
            *by_phase.entry((saga.clone(), phase.as_str())).or_insert(0) += runs;
            if !definitions.contains(saga, *version) {
                *unregistered.entry((saga.clone(), *version)).or_insert(0) += runs;
            }
        }
        for ((saga, version), runs) in &unregistered {
            tracing::error!(%saga, version, runs, "runs have a version that is not registered: register it");
        }
        self.change(|state| {
            state.gauges(by_phase, &unregistered);
            state.held =
                counts.iter().filter(|count| count.phase == Phase::Held).map(|count| count.runs).sum();
            state.failing = counts.iter().map(|count| count.failing).sum();
            state.unregistered = unregistered;
        });
    }
}

impl State {
    fn report(&self, health: &health::Component) {
        let unregistered: u64 = self.unregistered.values().sum();
        if let Some(reason) = &self.away {
            health.unready(reason.clone());
        } else if self.held > 0 {
            health.degraded(format!("{} runs are held and need an operator", self.held));
        } else if unregistered > 0 {
            health.degraded(format!("{unregistered} runs have a version that is not registered"));
        } else if self.failing > 0 {
            health.degraded(format!("the timers of {} runs fail and are repeated", self.failing));
        } else {
            health.ready();
        }
    }

    /// Sets the gauges, and those of the last sweep to 0 that have no runs any more.
    #[allow(clippy::cast_precision_loss)]
    fn gauges(
        &mut self,
        by_phase: BTreeMap<(String, &'static str), u64>,
        unregistered: &BTreeMap<(String, u32), u64>,
    ) {
        self.counted.extend(by_phase.keys().cloned());
        for (saga, phase) in &self.counted {
            let runs = by_phase.get(&(saga.clone(), *phase)).copied().unwrap_or(0);
            let labels = [("saga", saga.clone()), ("phase", (*phase).to_owned())];
            metrics::gauge!(telemetry::SAGA_RUNS, &labels).set(runs as f64);
        }
        let known: BTreeSet<_> = self.unregistered.keys().chain(unregistered.keys()).cloned().collect();
        for (saga, version) in known {
            let runs = unregistered.get(&(saga.clone(), version)).copied().unwrap_or(0);
            let labels = [("saga", saga), ("version", version.to_string())];
            metrics::gauge!(telemetry::SAGA_UNREGISTERED, &labels).set(runs as f64);
        }
    }
}
