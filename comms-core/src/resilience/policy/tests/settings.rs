//! Layers, readiness, settings and other protocols.

use super::*;

/// A service that is cloned, dropped or polled again after `poll_ready` must neither leak a permit nor call a service
/// that was not polled for readiness.
#[tokio::test(start_paused = true)]
async fn each_attempt_calls_a_service_that_was_polled_for_readiness() {
    #[derive(Default)]
    struct Strict {
        ready: bool,
    }
    impl Clone for Strict {
        fn clone(&self) -> Self {
            Self::default()
        }
    }
    impl Service<u32> for Strict {
        type Response = u32;
        type Error = Error;
        type Future = std::future::Ready<Result<u32, Error>>;
        fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Error>> {
            self.ready = true;
            Poll::Ready(Ok(()))
        }
        fn call(&mut self, n: u32) -> Self::Future {
            assert!(std::mem::take(&mut self.ready), "called without `poll_ready`");
            std::future::ready(if n == 0 { Err(Error::not_executed("away")) } else { Ok(n) })
        }
    }
    let policy = policy(|c| {
        c.retry = Some(retry(3));
        c.bulkhead = Some(BulkheadConfig::new(1));
    });
    let mut service = policy.layer().layer(Strict::default());
    for n in [1, 0, 2, 0] {
        let _clone = service.ready().await.unwrap().clone();
        assert_eq!(service.call(n).await.is_ok(), n > 0);
    }
    for _ in 0..10 {
        service.ready().await.unwrap();
        drop(service.clone());
        drop(service.call(1));
    }
    assert_eq!(policy.bulkhead().unwrap().in_use(), 0);

    // A permit that `poll_ready` of an inner service acquires is used or released.
    let limited = ConcurrencyLimitLayer::new(1).layer(Strict::default());
    let mut service = policy.layer().layer(limited);
    for _ in 0..10 {
        drop(service.ready().await.unwrap().call(1));
        assert_eq!(service.ready().await.unwrap().call(3).await.unwrap(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn configure_applies_to_the_next_call_and_keeps_the_state() {
    let policy = policy(|c| c.breaker = Some(BreakerConfig::default()));
    let echo = service_fn(|n: u32| async move { Ok::<_, Error>(n) });
    let mut service = policy.layer().layer(echo);
    assert_eq!(service.ready().await.unwrap().call(1).await.unwrap(), 1);
    for _ in 0..5 {
        policy.run(failing::<()>).await.unwrap_err();
    }
    let mut config = policy.snapshot().config;
    config.bulkhead = Some(BulkheadConfig::new(7));
    config.breaker = Some(BreakerConfig { failure_threshold: 9, ..BreakerConfig::default() });
    policy.configure(config.clone()).unwrap();
    assert!(service.ready().await.unwrap().call(1).await.is_err(), "the breaker is still open");
    assert_eq!(policy.snapshot().bulkhead.unwrap().max_concurrent, 7);
    config.breaker = None;
    policy.configure(config.clone()).unwrap();
    assert_eq!(service.ready().await.unwrap().call(1).await.unwrap(), 1, "the service sees the new version");
    config.timeout = Some(Duration::ZERO);
    let refused = policy.configure(config).unwrap_err();
    assert!(
        refused.chain().to_string().contains("policy p: `timeout` and `attempt_timeout` must be above zero"),
        "{refused}"
    );
    let mut config = PolicyConfig::none();
    config.timeout = Some(Duration::MAX);
    assert!(policy.configure(config).is_err(), "a deadline beyond the range of `Instant` is impossible");
}

#[tokio::test(start_paused = true)]
async fn shared_guards_are_not_reconfigured_by_a_policy() {
    let clock = Clock::system();
    let breaker = Breaker::new("peer", BreakerConfig::default(), clock.clone()).unwrap();
    let budget = RetryBudget::new(&RetryBudgetConfig::default(), clock).unwrap();
    let make = |name| {
        let builder = Policy::builder(name, PolicyConfig::background()).breaker(breaker.clone());
        builder.retry_budget(budget.clone()).build().unwrap()
    };
    let (charge, refund) = (make("charge"), make("refund"));
    for _ in 0..5 {
        drop(charge.run(failing::<()>).await);
    }
    assert!(refund.run(|| async { Ok(()) }).await.is_err(), "one breaker for both policies");
    refund.configure(PolicyConfig::none()).unwrap();
    assert_eq!(breaker.state(), BreakerState::Open);
    assert!(refund.breaker().is_some());
    while budget.try_withdraw() {}
    assert_eq!(charge.snapshot().budget, Some(0), "one budget for both policies");
}

#[test]
fn configuration_errors_name_their_cause() {
    let parse = |text: &str| serde_json::from_str::<PolicyConfig>(text).map_err(|e| e.to_string());
    assert_eq!(parse("{}").unwrap(), PolicyConfig::background());
    assert_eq!(parse(r#"{"breaker": false}"#).unwrap().breaker, None);
    assert_eq!(parse(r#"{"breaker": {}}"#).unwrap().breaker, Some(BreakerConfig::default()));
    for (text, reason) in [
        (r#"{"retries": {}}"#, "unknown field `retries`"),
        (r#"{"breaker": true}"#, "true is not a setting"),
        (r#"{"timeout": "soon"}"#, "\"soon\" is not a duration like \"250ms\""),
        (
            r#"{"retry": {"backoff": {"base": "2s", "cap": "1s"}}}"#,
            "`base` must be above zero and at most `cap`",
        ),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.contains(reason), "{text}: {error}");
    }
    let written = serde_json::to_string(&PolicyConfig::interactive()).unwrap();
    assert_eq!(parse(&written).unwrap(), PolicyConfig::interactive());
    let none = serde_json::to_string(&PolicyConfig::none()).unwrap();
    assert_eq!(parse(&none).unwrap(), PolicyConfig::none());
}

/// `Policy::interactive` and `Policy::background` build without the check.
#[test]
fn the_settings_of_the_constructors_are_valid() {
    for config in [PolicyConfig::background(), PolicyConfig::interactive(), PolicyConfig::none()] {
        config.validate().unwrap();
    }
    assert_eq!(Policy::background("p").snapshot().config, PolicyConfig::background());
    assert_eq!(Policy::interactive("p").snapshot().config, PolicyConfig::interactive());
}

/// A service of another protocol: failures are responses, and its error type is not [`Error`].
#[tokio::test(start_paused = true)]
async fn a_classifier_adapts_another_protocol() {
    #[derive(Clone)]
    struct Http;
    impl Classify<(), u16, Infallible> for Http {
        fn classify(&self, result: &Result<u16, Infallible>) -> Class {
            match result {
                Ok(500..) => Class::Failure { kind: ErrorKind::Indeterminate, retry_after: None },
                _ => Class::Success,
            }
        }
        fn reject(&self, _: Rejection) -> Infallible {
            unreachable!("the policy has no guard that rejects")
        }
        fn clone_request(&self, (): &()) -> Option<()> {
            Some(())
        }
        fn is_idempotent(&self, (): &()) -> bool {
            true
        }
    }
    let (policy, attempts) = (policy(|c| c.retry = Some(retry(3))), Arc::new(AtomicU32::new(0)));
    let counter = attempts.clone();
    let service = service_fn(move |()| {
        let attempt = counter.fetch_add(1, Ordering::Relaxed);
        async move { Ok::<_, Infallible>(if attempt < 2 { 503 } else { 200 }) }
    });
    assert_eq!(policy.layer_with(Http).layer(service).oneshot(()).await.unwrap(), 200);
    assert_eq!(attempts.load(Ordering::Relaxed), 3);
}

/// One configuration file serves programs with and without the feature, as long as it sets no rate limit.
#[cfg(not(feature = "rate-limit"))]
#[test]
fn without_the_feature_a_rate_limit_is_refused_with_the_name_of_the_feature() {
    let read = serde_json::from_str::<PolicyConfig>;
    assert_eq!(read(r#"{"rate_limit": false}"#).unwrap(), PolicyConfig::default());
    let error = read(r#"{"rate_limit": {"limit": 3}}"#).unwrap_err().to_string();
    assert!(error.contains("feature `rate-limit`"), "{error}");
    assert!(!serde_json::to_string(&PolicyConfig::default()).unwrap().contains("rate_limit"));
}
