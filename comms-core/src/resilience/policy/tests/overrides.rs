//! Calls with other limits and retries than their policy, and protocols that name the failures to retry.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering::Relaxed},
};

use tower::{Layer, ServiceExt, service_fn};

use super::{failing, millis, policy, retry};
use crate::{
    Error, ErrorKind,
    clock::Clock,
    resilience::{
        Backoff, BreakerConfig, BreakerState, ByKind, Class, Classify, Policy, PolicyOverrides, Rejection,
        Retry, RetryBudget, RetryBudgetConfig, RetryConfig,
    },
};

/// Makes a call that fails as `NotExecuted`, and returns the number of attempts.
async fn attempts(policy: &Policy, overrides: PolicyOverrides) -> u32 {
    let made = Arc::new(AtomicU32::new(0));
    let count = made.clone();
    let service = service_fn(move |()| {
        count.fetch_add(1, Relaxed);
        failing::<()>()
    });
    policy.layer().overrides(overrides).layer(service).oneshot(()).await.unwrap_err();
    made.load(Relaxed)
}

fn budgeted() -> RetryConfig {
    retry(3).budget(RetryBudgetConfig::default())
}

fn short(max_attempts: u32) -> PolicyOverrides {
    PolicyOverrides::default().attempts(max_attempts, Backoff::new(millis(1), millis(1)).unwrap()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn overrides_change_attempts_and_keep_the_guards_of_the_policy() {
    let policy = policy(|c| {
        (c.retry, c.breaker) = (Some(budgeted()), Some(BreakerConfig::default().failure_threshold(4)));
    });
    let before = policy.retry_budget().unwrap().available();
    assert_eq!(attempts(&policy, short(2)).await, 2);
    assert_eq!(policy.retry_budget().unwrap().available(), before - 1, "the budget is that of the policy");
    assert_eq!(attempts(&policy, short(2)).await, 2);
    assert_eq!(policy.breaker().unwrap().state(), BreakerState::Open, "four failures opened one breaker");
}

#[tokio::test(start_paused = true)]
async fn overrides_turn_on_no_retries_that_the_policy_does_not_have() {
    let policy = policy(|c| c.retry = None);
    assert_eq!(attempts(&policy, short(4)).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_service_with_overrides_follows_new_settings_of_its_policy() {
    let policy = policy(|c| c.retry = Some(retry(3)));
    let service = service_fn(|()| failing::<()>());
    let service = policy.layer().overrides(short(2)).layer(service);
    service.clone().oneshot(()).await.unwrap_err();
    let mut config = policy.snapshot().config;
    config.breaker = Some(BreakerConfig::default());
    policy.configure(config).unwrap();
    policy.breaker().unwrap().force_open();
    assert_eq!(service.oneshot(()).await.unwrap_err().kind, ErrorKind::Rejected);
}

#[tokio::test(start_paused = true)]
async fn the_shorter_time_limit_applies() {
    let clock = Clock::system();
    for (own, other, shortest) in [(100, 50, 50), (50, 100, 50)] {
        let policy = policy(|c| (c.timeout, c.attempt_timeout) = (Some(millis(own)), None));
        for overrides in [
            PolicyOverrides::default().timeout(millis(other)).unwrap(),
            PolicyOverrides::default().attempt_timeout(millis(other)).unwrap(),
        ] {
            let service = service_fn(|()| std::future::pending::<Result<(), Error>>());
            let started = clock.now();
            let service = policy.layer().overrides(overrides).layer(service);
            service.oneshot(()).await.unwrap_err();
            assert_eq!(clock.now() - started, millis(shortest));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_budget_of_overrides_replaces_that_of_the_policy() {
    let policy = policy(|c| c.retry = Some(budgeted()));
    let before = policy.retry_budget().unwrap().available();
    let throttle = RetryBudget::throttle(3, 1.0, Clock::system()).unwrap();
    assert_eq!(attempts(&policy, short(5).retry_budget(throttle)).await, 2);
    assert_eq!(policy.retry_budget().unwrap().available(), before);
}

#[test]
fn invalid_overrides_are_refused() {
    let (overrides, backoff) = (PolicyOverrides::default, Backoff::default());
    let errors = [
        overrides().attempts(0, backoff).unwrap_err(),
        overrides().timeout(millis(0)).unwrap_err(),
        overrides().attempt_timeout(std::time::Duration::MAX).unwrap_err(),
    ];
    assert!(errors.iter().all(|error| error.kind == ErrorKind::Invalid), "{errors:?}");
}

/// Retries what its own table permits, whatever the kind.
#[derive(Clone)]
struct Listed(Retry);

impl<T> Classify<bool, T, Error> for Listed {
    fn classify(&self, result: &Result<T, Error>) -> Class {
        Classify::<(), T, Error>::classify(&ByKind::default(), result)
    }
    fn reject(&self, rejection: Rejection) -> Error {
        rejection.into()
    }
    fn clone_request(&self, request: &bool) -> Option<bool> {
        Some(*request)
    }
    fn is_idempotent(&self, request: &bool) -> bool {
        *request
    }
    fn retry(&self, _: &Result<T, Error>, _: ErrorKind) -> Retry {
        self.0
    }
}

#[tokio::test(start_paused = true)]
async fn a_classifier_names_the_failures_to_retry() {
    for (listed, idempotent, expected) in [
        (Retry::No, true, 1),
        (Retry::IfRepeatable, false, 1),
        (Retry::IfRepeatable, true, 3),
        (Retry::Yes, false, 3),
    ] {
        let policy = policy(|c| c.retry = Some(retry(3)));
        let made = Arc::new(AtomicU32::new(0));
        let count = made.clone();
        let service = service_fn(move |_: bool| {
            count.fetch_add(1, Relaxed);
            std::future::ready(Err::<(), _>(Error::conflict("changed")))
        });
        policy.layer_with(Listed(listed)).layer(service).oneshot(idempotent).await.unwrap_err();
        assert_eq!(made.load(Relaxed), expected, "{listed:?} {idempotent}");
    }
}
