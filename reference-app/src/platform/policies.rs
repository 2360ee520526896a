//! The policies of this process: one per destination it calls, shown by readiness and by the admin listener.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use comms_core::{
    Error,
    clock::{Clock, rounded},
    health::{Health, State},
    resilience::{BreakerState, Policy, PolicyConfig, PolicySnapshot},
};

/// The policies by destination. Clones share them.
#[derive(Clone, Default)]
pub struct Policies(Arc<Mutex<BTreeMap<&'static str, Policy>>>);

impl Policies {
    /// Adds the policy of the calls to `destination`. While its breaker is not closed, readiness is degraded:
    /// every caller shares the peer, so taking this process out of rotation would help nobody.
    ///
    /// # Errors
    /// `Invalid` for settings that make no sense, naming the destination.
    pub fn add(
        &self,
        destination: &'static str,
        config: PolicyConfig,
        clock: &Clock,
        health: &Health,
    ) -> Result<Policy, Error> {
        let policy = Policy::builder(destination, config).clock(clock.clone()).build()?;
        let watched = policy.clone();
        health.check(&format!("policy {destination}"), move || state(&watched));
        self.lock().insert(destination, policy.clone());
        Ok(policy)
    }

    /// The policy of the calls to `destination`.
    #[must_use]
    pub fn get(&self, destination: &str) -> Option<Policy> {
        self.lock().get(destination).cloned()
    }

    /// The destinations, sorted.
    #[must_use]
    pub fn names(&self) -> Vec<&'static str> {
        self.lock().keys().copied().collect()
    }

    /// Settings and state of all, by name.
    #[must_use]
    pub fn snapshots(&self) -> Vec<PolicySnapshot> {
        self.lock().values().map(Policy::snapshot).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Policy>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn state(policy: &Policy) -> State {
    let Some(breaker) = policy.breaker().map(|breaker| breaker.snapshot()) else { return State::ready() };
    match breaker.state {
        BreakerState::Closed | BreakerState::ForcedClosed => State::ready(),
        BreakerState::HalfOpen => State::degraded("the circuit breaker is half-open: probes decide"),
        BreakerState::ForcedOpen => {
            let reset = format!("POST /policies/{}/breaker/reset", policy.name());
            State::degraded(format!("the circuit breaker is forced open until {reset}"))
        }
        BreakerState::Open => {
            let left = Duration::from_millis(breaker.remaining_open_ms.unwrap_or_default());
            State::degraded(format!("the circuit breaker is open; the next call probes in {}", rounded(left)))
        }
    }
}

#[cfg(test)]
mod tests {
    use comms_core::health::Status;

    use super::*;

    #[test]
    fn readiness_follows_the_breaker_and_stays_in_rotation() {
        let (clock, health, policies) = (Clock::manual(Duration::ZERO), Health::new(), Policies::default());
        let policy = policies.add("payment", PolicyConfig::background(), &clock, &health).unwrap();
        let breaker = policy.breaker().unwrap();
        let reason = || health.readiness().reason("policy payment").map(str::to_owned);
        assert_eq!((health.readiness().status, reason()), (Status::Ready, None));
        (0..5).for_each(|_| breaker.acquire().unwrap().failure());
        assert!(reason().unwrap().starts_with("the circuit breaker is open; the next call probes in"));
        assert_eq!((health.readiness().status, health.is_ready()), (Status::Degraded, true));
        clock.advance(Duration::from_secs(66));
        let probe = breaker.acquire().unwrap();
        assert!(reason().unwrap().contains("half-open"));
        probe.success();
        breaker.force_open();
        assert!(reason().unwrap().contains("POST /policies/payment/breaker/reset"));
        breaker.force_closed();
        assert_eq!(reason(), None);
        breaker.reset();
        assert_eq!(health.readiness().status, Status::Ready);
    }

    #[test]
    fn a_policy_without_a_breaker_is_ready() {
        let (health, policies) = (Health::new(), Policies::default());
        policies.add("order", PolicyConfig::none(), &Clock::system(), &health).unwrap();
        assert_eq!(health.readiness().status, Status::Ready);
        assert_eq!((policies.names(), policies.snapshots().len()), (vec!["order"], 1));
        assert!(policies.get("order").is_some() && policies.get("payment").is_none());
    }
}
