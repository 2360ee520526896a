//! The rules of ejection: a state machine without a lock, with time as an argument.

use std::time::{Duration, Instant};

use super::{
    EjectionReason, FailurePercentageConfig, HostSnapshot, OutlierChange, OutlierConfig, SuccessRateConfig,
    host::{Calls, HostState},
};
use crate::{clock::Clock, sync::Arc};

/// Differences of success rates below this are rounding errors.
const ROUNDING: f64 = 1e-9;

pub(super) struct Machine {
    config: OutlierConfig,
    hosts: Vec<Host>,
    next_id: u64,
}

struct Host {
    id: u64,
    name: std::sync::Arc<str>,
    state: Arc<HostState>,
    ejected_at: Option<Instant>,
    /// Grows with each ejection and decays with each sweep in rotation.
    multiplier: u32,
    /// The calls of the interval that the last sweep ended.
    calls: Calls,
}

impl Host {
    fn change(&self, ejected: Option<EjectionReason>) -> OutlierChange {
        OutlierChange { host: self.name.clone(), ejected }
    }

    fn eject(&mut self, reason: EjectionReason, now: Instant) -> OutlierChange {
        self.ejected_at = Some(now);
        self.multiplier = self.multiplier.saturating_add(1);
        self.state.change_rotation();
        self.change(Some(reason))
    }

    fn return_to_rotation(&mut self) -> OutlierChange {
        self.ejected_at = None;
        self.state.change_rotation();
        self.change(None)
    }
}

impl Machine {
    pub(super) const fn new(config: OutlierConfig) -> Self {
        Self { config, hosts: Vec::new(), next_id: 0 }
    }

    pub(super) const fn config(&self) -> &OutlierConfig {
        &self.config
    }

    pub(super) fn configure(&mut self, config: OutlierConfig) {
        self.config = config;
    }

    pub(super) fn add(&mut self, name: std::sync::Arc<str>) -> (u64, Arc<HostState>) {
        let (id, state) = (self.next_id, Arc::new(HostState::default()));
        self.next_id += 1;
        let host =
            Host { id, name, state: state.clone(), ejected_at: None, multiplier: 0, calls: Calls::default() };
        self.hosts.push(host);
        (id, state)
    }

    /// Removes a host. If only ejected hosts remain, the one that was ejected first returns to rotation.
    pub(super) fn remove(&mut self, id: u64) -> Option<OutlierChange> {
        self.hosts.retain(|host| host.id != id);
        if self.hosts.iter().any(|host| host.ejected_at.is_none()) {
            return None;
        }
        self.hosts.iter_mut().min_by_key(|host| host.ejected_at).map(Host::return_to_rotation)
    }

    /// Evaluates the calls since the last sweep: the timer of gRFC A50.
    pub(super) fn sweep(&mut self, now: Instant, clock: &Clock) -> Vec<OutlierChange> {
        let mut changes = Vec::new();
        for host in &mut self.hosts {
            host.calls = host.state.take_calls();
        }
        if let Some(rule) = self.config.success_rate.clone() {
            self.eject_by_success_rate(&rule, now, clock, &mut changes);
        }
        if let Some(rule) = self.config.failure_percentage.clone() {
            self.eject_by_failure_percentage(&rule, now, clock, &mut changes);
        }
        for host in &mut self.hosts {
            match host.ejected_at {
                None => host.multiplier = host.multiplier.saturating_sub(1),
                Some(at) => {
                    let ejected = now.saturating_duration_since(at);
                    if ejected > self.config.ejection_time(host.multiplier) {
                        changes.push(host.return_to_rotation());
                    }
                }
            }
        }
        changes
    }

    fn eject_by_success_rate(
        &mut self,
        rule: &SuccessRateConfig,
        now: Instant,
        clock: &Clock,
        changes: &mut Vec<OutlierChange>,
    ) {
        let has_volume = |host: &Host| host.calls.total() >= u64::from(rule.request_volume);
        let rates =
            || self.hosts.iter().filter(|host| has_volume(host)).map(|host| host.calls.success_rate());
        let count = rates().count();
        if count == 0 || count < rule.minimum_hosts as usize {
            return;
        }
        let mean = rates().sum::<f64>() / count as f64;
        let variance = rates().map(|rate| (rate - mean).powi(2)).sum::<f64>() / count as f64;
        let least = mean - rule.stdev_factor * variance.sqrt() - ROUNDING;
        let is_outlier = |host: &Host| has_volume(host) && host.calls.success_rate() < least;
        let (reason, chance) = (EjectionReason::SuccessRate, rule.enforcement_percentage);
        self.eject_outliers(is_outlier, reason, chance, now, clock, changes);
    }

    fn eject_by_failure_percentage(
        &mut self,
        rule: &FailurePercentageConfig,
        now: Instant,
        clock: &Clock,
        changes: &mut Vec<OutlierChange>,
    ) {
        if self.hosts.len() < rule.minimum_hosts as usize {
            return;
        }
        let is_outlier = |host: &Host| {
            let (failures, total) = (u64::from(host.calls.failures), host.calls.total());
            total >= u64::from(rule.request_volume) && failures * 100 > total * u64::from(rule.threshold)
        };
        let (reason, chance) = (EjectionReason::FailurePercentage, rule.enforcement_percentage);
        self.eject_outliers(is_outlier, reason, chance, now, clock, changes);
    }

    /// Ejects outliers that are in rotation, as long as a further host may be ejected.
    fn eject_outliers(
        &mut self,
        is_outlier: impl Fn(&Host) -> bool,
        reason: EjectionReason,
        chance: u32,
        now: Instant,
        clock: &Clock,
        changes: &mut Vec<OutlierChange>,
    ) {
        let mut room = self.room();
        for host in &mut self.hosts {
            if room == 0 {
                return;
            }
            if host.ejected_at.is_none() && is_outlier(host) && is_enforced(chance, clock) {
                changes.push(host.eject(reason, now));
                room -= 1;
            }
        }
    }

    /// Ejects a host whose failures in a row have reached the threshold. If it may not be ejected, its count restarts.
    pub(super) fn eject_for_consecutive_failures(&mut self, id: u64, now: Instant) -> Option<OutlierChange> {
        let room = self.room();
        let host = self.hosts.iter_mut().find(|host| host.id == id && host.ejected_at.is_none())?;
        if room == 0 {
            host.state.restart_consecutive();
            return None;
        }
        Some(host.eject(EjectionReason::ConsecutiveFailures, now))
    }

    /// Returns how many further hosts may be ejected.
    fn room(&self) -> usize {
        self.config.max_ejected(self.hosts.len()).saturating_sub(self.ejected())
    }

    pub(super) fn ejected(&self) -> usize {
        self.hosts.iter().filter(|host| host.ejected_at.is_some()).count()
    }

    /// Returns the state of the hosts for which `includes` is true of their id.
    pub(super) fn snapshot(&self, now: Instant, includes: impl Fn(u64) -> bool) -> Vec<HostSnapshot> {
        let remaining = |host: &Host| {
            let ejected_for = now.saturating_duration_since(host.ejected_at?);
            let left: Duration = self.config.ejection_time(host.multiplier).saturating_sub(ejected_for);
            Some(left.as_millis() as u64)
        };
        let snapshot = |host: &Host| HostSnapshot {
            host: host.name.to_string(),
            ejected: host.ejected_at.is_some(),
            on_trial: host.state.is_on_trial(),
            remaining_ejection_ms: remaining(host),
            ejections: host.multiplier,
            successes: host.calls.successes,
            failures: host.calls.failures,
        };
        self.hosts.iter().filter(|host| includes(host.id)).map(snapshot).collect()
    }
}

fn is_enforced(percentage: u32, clock: &Clock) -> bool {
    clock.random_unit() * 100.0 < f64::from(percentage)
}
