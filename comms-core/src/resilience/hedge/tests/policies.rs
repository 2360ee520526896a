//! Hedges around a policy: its guards, and its budget.

use super::*;
use crate::resilience::{BreakerConfig, BulkheadConfig, Policy, PolicyConfig, PolicyOverrides, RetryConfig};

/// Returns a policy without retries, whose budget has a reserve of one token and gets half a token for each success.
fn policy(config: PolicyConfig) -> Policy {
    let budget = RetryBudgetConfig::default().min_per_second(0).ratio(0.5);
    let budget = RetryBudget::new(&budget, Clock::system()).unwrap();
    Policy::builder("p", config).retry_budget(budget).build().unwrap()
}

fn around(policy: &Policy) -> Hedge {
    let config = HedgeConfig::default().delay(HedgeDelay::Fixed(millis(50)));
    Hedge::for_policy("h", config, policy).unwrap()
}

async fn guarded(hedge: &Hedge, policy: &Policy, peer: &Peer) -> (Answer, u64) {
    let began = Now::now();
    let service = hedge.layer(ByKind::idempotent()).layer(policy.layer().layer(peer.clone()));
    let result = service.oneshot(7).await;
    (result.map_err(|error| error.kind), (Now::now() - began).as_millis() as u64)
}

#[tokio::test(start_paused = true)]
async fn a_local_refusal_sends_no_attempt_and_costs_no_token() {
    let open = policy(PolicyConfig::none().breaker(BreakerConfig::default()));
    open.breaker().unwrap().force_open();
    let (hedge, peer) = (around(&open), Peer::new(&[(5, Ok(1))]));
    assert_eq!(guarded(&hedge, &open, &peer).await, (Err(Rejected), 0));
    assert_eq!((peer.begun(), hedge.snapshot().hedges), (0, 0));

    let full = policy(PolicyConfig::none().bulkhead(BulkheadConfig::new(1)));
    let (hedge, peer) = (around(&full), Peer::new(&[(500, Ok(1))]));
    for _ in 0..3 {
        assert_eq!(guarded(&hedge, &full, &peer).await, (Ok(1), 500));
        assert_eq!(full.retry_budget().unwrap().available(), 1, "the token is put back");
    }
    assert_eq!((peer.begun(), hedge.snapshot().wins), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn a_success_deposits_once() {
    let policy = policy(PolicyConfig::none());
    let (hedge, budget) = (around(&policy), policy.retry_budget().unwrap());
    assert!(budget.try_withdraw());
    for expected in [0, 1] {
        guarded(&hedge, &policy, &Peer::new(&[(5, Ok(1))])).await.0.unwrap();
        assert_eq!(budget.available(), expected);
    }
    let slow = || Peer::new(&[(500, Ok(1)), (5, Ok(2))]);
    assert_eq!(guarded(&hedge, &policy, &slow()).await, (Ok(2), 55));
    assert_eq!(guarded(&hedge, &policy, &slow()).await, (Ok(1), 500), "half a token is there");
}

#[tokio::test(start_paused = true)]
async fn the_budget_is_the_current_one_of_the_policy() {
    let retry = |budget: Option<RetryBudgetConfig>| {
        PolicyConfig::none().retry(RetryConfig::default().max_attempts(1).budget(budget))
    };
    let unlimited = Policy::new("p", retry(None)).unwrap();
    assert_eq!(Hedge::for_policy("h", HedgeConfig::default(), &unlimited).unwrap_err().kind, Invalid);

    let policy = Policy::new("p", retry(Some(RetryBudgetConfig::default()))).unwrap();
    let hedge = around(&policy);
    let slow = || Peer::new(&[(500, Ok(1)), (5, Ok(2))]);
    assert_eq!(guarded(&hedge, &policy, &slow()).await, (Ok(2), 55));
    policy.configure(retry(None)).unwrap();
    assert_eq!(guarded(&hedge, &policy, &slow()).await, (Ok(1), 500), "without a budget nothing is hedged");
    policy.configure(retry(Some(RetryBudgetConfig::default()))).unwrap();
    assert_eq!(guarded(&hedge, &policy, &slow()).await, (Ok(2), 55));
}

/// The overrides of one method change while its calls run.
#[tokio::test(start_paused = true)]
async fn a_hedge_that_is_paid_from_another_budget_keeps_its_measurements() {
    let policy = policy(PolicyConfig::none());
    let throttle = RetryBudget::throttle(40, 0.1, Clock::system()).unwrap();
    let throttled = PolicyOverrides::default().retry_budget(throttle.clone());
    let hedge = around(&policy);
    let other = hedge.with_overrides(&policy, &throttled).unwrap();
    let slow = || Peer::new(&[(500, Ok(1)), (5, Ok(2))]);
    let before = throttle.available();
    guarded(&other, &policy, &slow()).await.0.unwrap();
    assert_eq!((policy.retry_budget().unwrap().available(), throttle.available()), (1, before - 1));
    guarded(&hedge, &policy, &slow()).await.0.unwrap();
    assert_eq!((policy.retry_budget().unwrap().available(), throttle.available()), (0, before - 1));
    assert_eq!((hedge.snapshot().hedges, other.snapshot().wins), (2, 2));
    let without = Policy::new("p", PolicyConfig::none()).unwrap();
    let refused = other.with_overrides(&without, &PolicyOverrides::default());
    assert_eq!(refused.unwrap_err().kind, Invalid);
    other.with_overrides(&without, &throttled).unwrap();
}

/// The breaker sees each attempt, and an attempt that lost is no evidence.
#[tokio::test(start_paused = true)]
async fn losers_are_neutral_to_the_breaker() {
    let policy = policy(PolicyConfig::none().breaker(BreakerConfig::default().failure_threshold(1)));
    let hedge = around(&policy);
    guarded(&hedge, &policy, &Peer::new(&[(500, Ok(1)), (5, Ok(2))])).await.0.unwrap();
    assert_eq!(policy.breaker().unwrap().state(), crate::resilience::BreakerState::Closed);
    (0..2).for_each(|_| policy.retry_budget().unwrap().deposit());
    let failing = Peer::new(&[(500, Ok(1)), (5, Err(Indeterminate))]);
    guarded(&hedge, &policy, &failing).await.0.unwrap();
    assert_eq!(policy.breaker().unwrap().state(), crate::resilience::BreakerState::Open);
}
