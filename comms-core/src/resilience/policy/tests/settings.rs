//! Layers, readiness, settings and other protocols.

use super::*;

/// A readied service that is cloned, dropped or polled again must neither leak a permit nor call a service that
/// was not readied.
#[tokio::test(start_paused = true)]
async fn readiness_belongs_to_the_service_that_was_readied() {
    #[derive(Default)]
    struct Strict {
        readied: bool,
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
            self.readied = true;
            Poll::Ready(Ok(()))
        }
        fn call(&mut self, n: u32) -> Self::Future {
            assert!(std::mem::take(&mut self.readied), "called without being readied");
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

    // A permit that readiness holds further in is used or freed, never kept.
    let limited = ConcurrencyLimitLayer::new(1).layer(Strict::default());
    let mut service = policy.layer().layer(limited);
    for _ in 0..10 {
        drop(service.ready().await.unwrap().call(1));
        assert_eq!(service.ready().await.unwrap().call(3).await.unwrap(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn a_swap_holds_for_the_next_call_and_keeps_the_state() {
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
    assert!(service.ready().await.unwrap().call(1).await.is_err(), "still open");
    assert_eq!(policy.snapshot().bulkhead.unwrap().limit, 7);
    config.breaker = None;
    policy.configure(config.clone()).unwrap();
    assert_eq!(service.ready().await.unwrap().call(1).await.unwrap(), 1, "the service sees the new version");
    config.timeout = Some(Duration::ZERO);
    let refused = policy.configure(config).unwrap_err();
    assert!(refused.chain().to_string().contains("policy p: a timeout must not be zero"), "{refused}");
    let mut config = PolicyConfig::none();
    config.timeout = Some(Duration::MAX);
    assert!(policy.configure(config).is_err(), "no point in time is out of range");
}

#[tokio::test(start_paused = true)]
async fn guards_that_were_given_are_shared_and_left_alone() {
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
    assert!(refund.run(|| async { Ok(()) }).await.is_err(), "one breaker for the destination");
    refund.configure(PolicyConfig::none()).unwrap();
    assert_eq!(breaker.state(), BreakerState::Open);
    assert!(refund.breaker().is_some());
    while budget.try_withdraw() {}
    assert_eq!(charge.snapshot().budget, Some(0), "one budget, too");
}

#[test]
fn configuration_says_no_with_a_reason() {
    let parse = |text: &str| serde_json::from_str::<PolicyConfig>(text).map_err(|e| e.to_string());
    assert_eq!(parse("{}").unwrap(), PolicyConfig::background());
    assert_eq!(parse(r#"{"breaker": false}"#).unwrap().breaker, None);
    assert_eq!(parse(r#"{"breaker": {}}"#).unwrap().breaker, Some(BreakerConfig::default()));
    for (text, reason) in [
        (r#"{"retries": {}}"#, "unknown field `retries`"),
        (r#"{"breaker": true}"#, "settings, or false"),
        (r#"{"timeout": "soon"}"#, "\"soon\" is not a duration like \"250ms\""),
        (r#"{"retry": {"backoff": {"base": "2s", "cap": "1s"}}}"#, "0 < base <= cap"),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.contains(reason), "{text}: {error}");
    }
    let written = serde_json::to_string(&PolicyConfig::interactive()).unwrap();
    assert_eq!(parse(&written).unwrap(), PolicyConfig::interactive());
    let none = serde_json::to_string(&PolicyConfig::none()).unwrap();
    assert_eq!(parse(&none).unwrap(), PolicyConfig::none());
}

/// A service of another protocol: failures come as responses, and its error is not ours.
#[tokio::test(start_paused = true)]
async fn another_protocol_is_classified_by_its_own_rules() {
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
            unreachable!("no guard is on")
        }
        fn again(&self, (): &()) -> Option<()> {
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
