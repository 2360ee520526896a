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
fn a_burst_passes_at_once_and_then_calls_are_spaced() {
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
    assert_eq!((0..10).filter(|_| limiter.check().is_ok()).count(), 3, "a pause brings one burst, not many");
}

#[test]
fn keys_do_not_take_from_each_other() {
    let (limiter, _) = keyed(2, 1_000);
    for key in 0..100 {
        assert_eq!((0..5).filter(|_| limiter.check(&key).is_ok()).count(), 2);
    }
}

#[test]
fn a_flood_of_keys_takes_no_more_memory_and_a_busy_key_is_not_forgotten() {
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
        assert!(limiter.check(&0).is_err(), "asking again and again must not forgive, at {key}");
    }
}

#[test]
fn two_keys_are_the_least_that_are_remembered() {
    let (limiter, _) = keyed(1, 2);
    assert!(limiter.check(&7).is_ok());
    assert!(limiter.check(&7).is_err());
}

#[test]
fn refuses_what_makes_no_sense() {
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
