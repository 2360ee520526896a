//! Deposits, withdrawals and the refill of a budget.

use super::*;

fn budget(ratio: f64, min_per_second: u32, window: u64) -> (RetryBudget, Clock) {
    let clock = Clock::manual(Duration::ZERO);
    let config = RetryBudgetConfig { ratio, min_per_second, window: Duration::from_secs(window) };
    (RetryBudget::new(&config, clock.clone()).unwrap(), clock)
}

fn drain(budget: &RetryBudget) -> usize {
    (0..100_000).take_while(|_| budget.try_withdraw()).count()
}

/// Includes ratios that a sum of floats would round up or down.
#[test]
fn successes_deposit_their_ratio() {
    for (ratio, successes, retries) in
        [(0.2, 100, 20), (0.1, 100, 10), (0.51, 100, 51), (0.9, 100, 90), (1.0, 50, 50), (0.0, 1_000, 0)]
    {
        let (budget, _) = budget(ratio, 10, 10);
        drain(&budget);
        (0..successes).for_each(|_| budget.deposit());
        assert_eq!(drain(&budget), retries, "ratio {ratio}");
    }
}

#[test]
fn time_refills_min_per_second_up_to_the_reserve() {
    let (budget, clock) = budget(0.2, 10, 10);
    assert_eq!(drain(&budget), 100);
    clock.advance(Duration::from_secs(3));
    assert_eq!(drain(&budget), 30);
    clock.advance(Duration::from_millis(99));
    assert_eq!(drain(&budget), 0);
    clock.advance(Duration::from_millis(1));
    assert_eq!(drain(&budget), 1, "a failed withdrawal keeps the time of the last refill");
    clock.advance(Duration::from_secs(86_400 * 365));
    assert_eq!(drain(&budget), 100);
}

#[test]
fn without_min_per_second_only_successes_refill() {
    let (budget, clock) = budget(0.5, 0, 10);
    assert_eq!(drain(&budget), 1, "the reserve is at least one retry");
    clock.advance(Duration::from_secs(1_000));
    assert_eq!(drain(&budget), 0);
    budget.deposit();
    budget.deposit();
    assert_eq!(drain(&budget), 1);
}

#[test]
fn a_throttle_permits_a_retry_while_more_than_half_of_the_tokens_are_left() {
    let clock = Clock::manual(Duration::ZERO);
    for (max_tokens, retries) in [(1, 0), (2, 0), (3, 1), (10, 4), (100, 49), (1_000, 499)] {
        let budget = RetryBudget::throttle(max_tokens, 0.1, clock.clone()).unwrap();
        assert_eq!(budget.available() as usize, retries, "{max_tokens}");
        assert_eq!((0..5_000).filter(|_| budget.try_withdraw()).count(), retries, "{max_tokens}");
    }
    let budget = RetryBudget::throttle(10, 0.1, clock.clone()).unwrap();
    assert_eq!((0..100).filter(|_| budget.try_withdraw()).count(), 4);
    clock.advance(Duration::from_secs(86_400));
    (0..60).for_each(|_| budget.deposit());
    assert!(!budget.try_withdraw(), "6 tokens, and 5 after the failure");
    (0..20).for_each(|_| budget.deposit());
    assert!(budget.try_withdraw(), "7 tokens");
    for (max_tokens, ratio) in
        [(0, 0.1), (1_001, 0.1), (10, 0.0), (10, -1.0), (10, f64::NAN), (10, f64::INFINITY)]
    {
        assert!(RetryBudget::throttle(max_tokens, ratio, clock.clone()).is_err(), "{max_tokens} {ratio}");
    }
}

#[test]
fn threads_withdraw_each_token_once() {
    for _ in 0..50 {
        let (budget, _) = budget(0.0, 4, 1);
        let withdrawn: usize = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..4).map(|_| scope.spawn(|| (0..4).filter(|_| budget.try_withdraw()).count())).collect();
            threads.into_iter().map(|t| t.join().unwrap()).sum()
        });
        assert_eq!(withdrawn, 4);
    }
}

#[test]
fn invalid_settings_are_rejected() {
    let clock = Clock::system();
    for (ratio, min_per_second) in [(-0.1, 10), (1.1, 10), (f64::NAN, 10), (0.2, 100_000)] {
        let config = RetryBudgetConfig { ratio, min_per_second, ..RetryBudgetConfig::default() };
        assert!(RetryBudget::new(&config, clock.clone()).is_err());
    }
}
