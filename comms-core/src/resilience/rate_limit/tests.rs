use super::*;

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn keyed(limit: u32, max_keys: usize) -> (KeyedRateLimiter<u64>, Clock) {
    let clock = Clock::manual(Duration::ZERO);
    let config = RateLimitConfig::new(limit, millis(1_000));
    (KeyedRateLimiter::new("k", &config, max_keys, clock.clone()).unwrap(), clock)
}

#[test]
fn a_burst_is_permitted_at_once_and_later_calls_are_spaced() {
    let clock = Clock::manual(Duration::ZERO);
    let config = RateLimitConfig { burst: Some(3), ..RateLimitConfig::new(10, millis(1_000)) };
    let limiter = RateLimiter::new("mail", &config, clock.clone()).unwrap();
    assert_eq!((0..10).filter(|_| limiter.check().is_ok()).count(), 3);
    let rejection = limiter.check().unwrap_err();
    assert_eq!((rejection.guard, rejection.retry_after), (Guard::RateLimit, Some(millis(100))));
    for _ in 0..20 {
        clock.advance(millis(99));
        assert!(limiter.check().is_err());
        clock.advance(millis(1));
        assert!(limiter.check().is_ok());
    }
    clock.advance(millis(60_000));
    assert_eq!(
        (0..10).filter(|_| limiter.check().is_ok()).count(),
        3,
        "a pause refills one burst, not several"
    );
}

#[test]
fn each_key_has_its_own_limit() {
    let (limiter, _) = keyed(2, 1_000);
    for key in 0..100 {
        assert_eq!((0..5).filter(|_| limiter.check(&key).is_ok()).count(), 2);
    }
}

#[test]
fn a_flood_of_keys_is_bounded_and_evicts_no_busy_key() {
    for max_keys in [2, 3, 10, 63, 64, 127, 128, 1_000] {
        let store = Recent::new(max_keys);
        for key in 0..100_000 {
            let _ = store.measure_and_replace(&key, |_| Ok::<_, ()>(((), Nanos::new(1))));
        }
        assert!((max_keys / 3..=max_keys).contains(&store.len()), "{} of {max_keys}", store.len());
    }
    let (limiter, _) = keyed(1, 1_000);
    assert!(limiter.check(&0).is_ok());
    for key in 1..100_000 {
        let _ = limiter.check(&key);
        assert!(limiter.check(&0).is_err(), "repeated calls must not reset the limit, at {key}");
    }
}

#[test]
fn a_limiter_for_two_keys_remembers_a_key() {
    let (limiter, _) = keyed(1, 2);
    assert!(limiter.check(&7).is_ok());
    assert!(limiter.check(&7).is_err());
}

#[test]
fn invalid_settings_are_rejected() {
    let zero_burst = RateLimitConfig { burst: Some(0), ..RateLimitConfig::default() };
    let refused = [
        RateLimitConfig::new(0, millis(1)),
        RateLimitConfig::new(1, Duration::ZERO),
        RateLimitConfig::new(u32::MAX, millis(1)),
        zero_burst,
        RateLimitConfig::new(1, Duration::MAX),
        RateLimitConfig { burst: Some(u32::MAX), ..RateLimitConfig::new(1, Duration::from_secs(3_600)) },
    ];
    for config in refused {
        assert!(RateLimiter::new("r", &config, Clock::system()).is_err(), "{config:?}");
    }
    assert!(KeyedRateLimiter::<u8>::new("r", &RateLimitConfig::default(), 1, Clock::system()).is_err());
}
