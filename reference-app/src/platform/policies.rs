//! The policies of this process's calls to other services, by name. Readiness and the admin listener show them.

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

/// The policies by name. Clones share them.
#[derive(Clone, Default)]
pub struct Policies(Arc<Mutex<BTreeMap<&'static str, Policy>>>);

impl Policies {
    /// Adds the policy `name`. While its breaker is not closed, readiness is degraded, and the process stays in
    /// rotation: another process would call the same peer.
    ///
    /// # Errors
    /// Returns `Invalid`, naming the policy, if a setting is invalid.
    pub fn add(
        &self,
        name: &'static str,
        config: PolicyConfig,
        clock: &Clock,
        health: &Health,
    ) -> Result<Policy, Error> {
        let policy = Policy::builder(name, config).clock(clock.clone()).build()?;
        let watched = policy.clone();
        health.check(&format!("policy {name}"), move || readiness(&watched));
        self.lock().insert(name, policy.clone());
        Ok(policy)
    }

    /// Returns the policy `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Policy> {
        self.lock().get(name).cloned()
    }

    /// Returns the names of all policies, sorted.
    #[must_use]
    pub fn names(&self) -> Vec<&'static str> {
        self.lock().keys().copied().collect()
    }

    /// Returns the settings and the state of all policies, sorted by name.
    #[must_use]
    pub fn snapshots(&self) -> Vec<PolicySnapshot> {
        self.lock().values().map(Policy::snapshot).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Policy>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn readiness(policy: &Policy) -> State {
    let Some(breaker) = policy.breaker().map(|breaker| breaker.snapshot()) else { return State::ready() };
    match breaker.state {
        BreakerState::Closed | BreakerState::ForcedClosed => State::ready(),
        BreakerState::HalfOpen => {
            State::degraded("the circuit breaker is half-open: probe calls decide whether it closes")
        }
        BreakerState::ForcedOpen => {
            let reset = format!("POST /policies/{}/breaker/reset", policy.name());
            State::degraded(format!("the circuit breaker is forced open until {reset}"))
        }
        BreakerState::Open => {
            let left = Duration::from_millis(breaker.remaining_open_ms.unwrap_or_default());
            State::degraded(format!(
                "the circuit breaker is open; the next probe call is allowed in {}",
                rounded(left)
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use comms_core::health::Status;

    use super::*;

    #[test]
    fn a_breaker_that_is_not_closed_degrades_readiness() {
        let (clock, health, policies) = (Clock::manual(Duration::ZERO), Health::new(), Policies::default());
        let policy = policies.add("payment", PolicyConfig::background(), &clock, &health).unwrap();
        let breaker = policy.breaker().unwrap();
        let reason = || health.readiness().reason("policy payment").map(str::to_owned);
        assert_eq!((health.readiness().status, reason()), (Status::Ready, None));
        (0..5).for_each(|_| breaker.acquire().unwrap().failure());
        assert!(
            reason().unwrap().starts_with("the circuit breaker is open; the next probe call is allowed in")
        );
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
