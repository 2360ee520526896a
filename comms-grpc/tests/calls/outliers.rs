//! Endpoints that fail more than the others are ejected.

use std::time::{Duration, Instant};

use comms_core::{
    clock::Clock,
    context::{Context, Deadline},
    resilience::{BreakerConfig, BreakerState, HostSnapshot, OutlierConfig, Policy, PolicyConfig},
};
use comms_grpc::{Channel, ChannelBuilder, ServerConfig, tonic};
use futures::{future::join_all, stream, stream::StreamExt};
use http::uri::PathAndQuery;
use tonic::{Code, Request};
use tonic_prost::ProstCodec;

use crate::{
    endpoints::{builder, connect_all},
    h2_peer::{Answer, H2Peer},
    service_config::method,
    support::{Observation, SECOND, TestRequest, TestService, call, eventually, millis, start},
};

pub(crate) fn outlier(channel: &Channel, endpoint: usize) -> HostSnapshot {
    channel.snapshot().endpoints[endpoint].outlier.clone().unwrap()
}

/// Ejects after five failures in a row, for a short time.
pub(crate) fn short() -> OutlierConfig {
    OutlierConfig::default()
        .consecutive_failures(5)
        .max_ejection_percent(50)
        .interval(millis(20))
        .base_ejection_time(millis(200))
}

async fn never_answers() -> H2Peer {
    H2Peer::start(|_| Answer::Silence).await
}

async fn good() -> H2Peer {
    H2Peer::start(|_| Answer::Success).await
}

#[tokio::test]
async fn an_endpoint_that_fails_is_ejected_by_default() {
    let (bad, good) = (H2Peer::start(|_| Answer::Status("14", vec![])).await, good().await);
    let channel = builder(&[&bad, &good]).build().unwrap();
    connect_all(&channel).await;
    for _ in 0..30 {
        let _ = call(&channel, "report", 0).await;
    }
    assert_eq!(bad.received().len(), 5, "five failures in a row");
    let state = outlier(&channel, 0);
    assert!(state.ejected && state.remaining_ejection_ms.is_some_and(|left| left > 0), "{state:?}");
    assert!(!outlier(&channel, 1).ejected);
}

/// After its ejection, an endpoint that does not answer holds one call, and not its share of the calls.
#[tokio::test]
async fn an_endpoint_that_returns_gets_one_call_until_one_succeeds() {
    let peer = H2Peer::start(|n| match n {
        0..5 => Answer::Status("14", vec![]),
        5 => Answer::Silence,
        _ => Answer::Success,
    })
    .await;
    let good = good().await;
    let channel = builder(&[&peer, &good]).outliers(short()).timeout(millis(500)).build().unwrap();
    connect_all(&channel).await;
    while !outlier(&channel, 0).ejected {
        let _ = call(&channel, "report", 0).await;
    }
    eventually("the endpoint is on trial", || outlier(&channel, 0).on_trial).await;
    // One of two calls goes to the endpoint.
    let trial = tokio::spawn({
        let channel = channel.clone();
        async move { [call(&channel, "report", 0).await.is_ok(), call(&channel, "report", 0).await.is_ok()] }
    });
    eventually("the trial runs", || peer.received().len() == 6).await;
    for _ in 0..20 {
        call(&channel, "report", 0).await.unwrap();
    }
    assert_eq!(trial.await.unwrap().iter().filter(|ok| **ok).count(), 1);
    assert!(outlier(&channel, 0).ejected, "one failure on trial ejects again");
    assert_eq!(peer.received().len(), 6);

    eventually("the endpoint is on trial again", || outlier(&channel, 0).on_trial).await;
    for _ in 0..4 {
        call(&channel, "report", 0).await.unwrap();
    }
    let state = outlier(&channel, 0);
    assert!(!state.ejected && !state.on_trial, "{state:?}");
    assert_eq!(peer.received().len(), 8);
}

/// The deadline of the caller ends each call to the silent endpoint. The breaker does not count it, the detector does.
#[tokio::test]
async fn a_deadline_of_the_caller_counts_and_its_cancellation_does_not() {
    let (silent, good) = (never_answers().await, good().await);
    let guards = PolicyConfig::none().breaker(BreakerConfig::default());
    let channel = builder(&[&silent, &good]).endpoint_policy(guards).timeout(SECOND * 60).build().unwrap();
    let clock = Clock::system();
    let deadline = || Deadline::after(millis(20), &clock);
    let _ = Context::root(&clock).with_deadline(deadline()).scope(call(&channel, "report", 0)).await;
    let sent = || channel.snapshot().endpoints[0].started;
    while sent() < 10 {
        let _ = tokio::time::timeout(millis(5), call(&channel, "report", 0)).await;
    }
    assert!(!outlier(&channel, 0).ejected);
    for _ in 0..12 {
        let call = call(&channel, "report", 0);
        let _ = Context::root(&clock).with_deadline(deadline()).scope(call).await;
    }
    assert!(outlier(&channel, 0).ejected);
    assert_eq!(channel.snapshot().endpoints[0].breaker.as_ref().unwrap().state, BreakerState::Closed);
    assert_eq!(channel.snapshot().endpoints[0].in_flight, 0);
}

/// The second message of each call is longer than the channel permits.
#[tokio::test]
async fn a_request_body_that_fails_is_no_failure_of_the_peer() {
    let peers = [never_answers().await, never_answers().await];
    let guards = || PolicyConfig::none().breaker(BreakerConfig::default());
    let policy = Policy::new("test-service", guards()).unwrap();
    let channel = builder(&peers.each_ref())
        .policy(policy.clone())
        .endpoint_policy(guards())
        .service_config(method("\"maxRequestMessageBytes\": 100"))
        .build()
        .unwrap();
    for _ in 0..12 {
        let mut grpc = tonic::client::Grpc::new(channel.clone());
        grpc.ready().await.unwrap();
        let messages = stream::iter([10, 200]).then(|size| async move {
            tokio::time::sleep(millis(5)).await;
            TestRequest { action: "x".repeat(size), millis: 0 }
        });
        let path = PathAndQuery::from_static("/test.Service/Unary");
        let codec = ProstCodec::<TestRequest, Observation>::default();
        let status = grpc.client_streaming(Request::new(messages), path, codec).await.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    }
    for (index, endpoint) in channel.snapshot().endpoints.iter().enumerate() {
        assert_eq!((endpoint.failed, endpoint.in_flight), (0, 0));
        assert!(endpoint.started >= 5 && !outlier(&channel, index).ejected, "{endpoint:?}");
        assert_eq!(endpoint.breaker.as_ref().unwrap().state, BreakerState::Closed);
    }
    assert_eq!(policy.snapshot().breaker.unwrap().state, BreakerState::Closed);
}

#[tokio::test]
async fn a_channel_of_one_endpoint_detects_no_outliers() {
    let peer = never_answers().await;
    let channel = Channel::builder(format!("http://{}", peer.address)).timeout(millis(50)).without_policy();
    let channel = channel.build().unwrap();
    for _ in 0..6 {
        call(&channel, "report", 0).await.unwrap_err();
    }
    assert!(channel.snapshot().endpoints[0].outlier.is_none());
    assert!(peer.received().len() >= 5);
}

#[tokio::test]
async fn invalid_settings_are_refused_and_none_turns_detection_off() {
    let peers = [good().await, good().await];
    let invalid = builder(&peers.each_ref()).outliers(OutlierConfig::default().interval(Duration::ZERO));
    let error = format!("{:?}", invalid.build().unwrap_err());
    assert!(error.contains("interval"), "{error}");
    let off = builder(&peers.each_ref()).outliers(None).build().unwrap();
    assert!(off.snapshot().endpoints.iter().all(|endpoint| endpoint.outlier.is_none()));
}

/// Settings of the code that equal the default precede those of the config as well.
#[tokio::test]
async fn the_code_precedes_the_service_config() {
    let default = || {
        let config = OutlierConfig::default().consecutive_failures(5);
        config.max_ejection_percent(50).base_ejection_time(SECOND * 10)
    };
    let peers = [good().await, good().await];
    let detects = |of_code: Option<Option<OutlierConfig>>, rules: &str| {
        let child = r#""childPolicy": [{"round_robin": {}}]"#;
        let config = format!(
            r#"{{"loadBalancingConfig": [{{"outlier_detection_experimental": {{{child}{rules}}}}}]}}"#
        );
        let builder = builder(&peers.each_ref()).service_config(config);
        let builder = match of_code {
            Some(outliers) => builder.outliers(outliers),
            None => builder,
        };
        builder.build().unwrap().snapshot().endpoints[0].outlier.is_some()
    };
    let (off, on) = ("", r#", "successRateEjection": {}"#);
    assert!(!detects(None, off) && detects(None, on));
    assert!(detects(Some(Some(default())), off) && detects(Some(Some(short())), off));
    assert!(!detects(Some(None), on));
}

const CALLERS: usize = 4;

/// The result of [`load`].
#[derive(Debug)]
#[expect(dead_code, reason = "the output shows the 99th percentile, and no test depends on the time")]
struct Outcome {
    calls: usize,
    successes: usize,
    p99: Duration,
}

/// Sends calls from several callers at once to two endpoints that answer and two that never do. Prints the result.
async fn load(
    name: &str,
    calls_of_each: usize,
    configure: impl FnOnce(ChannelBuilder) -> ChannelBuilder,
) -> Outcome {
    let silent = [never_answers().await, never_answers().await];
    let good = || start(TestService::default(), ServerConfig::default());
    let good = [good().await, good().await];
    let uris = good.each_ref().map(|server| format!("http://{}", server.address));
    let channel = builder(&silent.each_ref()).endpoints(uris).timeout(millis(300));
    let channel = configure(channel).build().unwrap();
    connect_all(&channel).await;
    let callers = (0..CALLERS).map(|_| async {
        let mut times = Vec::new();
        for _ in 0..calls_of_each {
            let start = Instant::now();
            let is_ok = call(&channel, "report", 0).await.is_ok();
            times.push((start.elapsed(), is_ok));
        }
        times
    });
    let mut times: Vec<_> = join_all(callers).await.into_iter().flatten().collect();
    times.sort();
    let successes = times.iter().filter(|(_, is_ok)| *is_ok).count();
    let outcome = Outcome { calls: times.len(), successes, p99: times[times.len() * 99 / 100].0 };
    println!("{name}: {outcome:?}");
    outcome
}

/// Two of four endpoints accept connections and never answer. With ejection, the failures are those that detection
/// needs: five in a row for each of the two, and the calls that are in flight at that time.
#[tokio::test]
async fn half_of_the_endpoints_never_answer() {
    let none = load("no ejection", 10, |channel| channel.outliers(None)).await;
    let ejection = load("ejection by default", 320, |channel| channel).await;
    assert!(none.successes <= none.calls * 6 / 10, "{none:?}");
    assert!(ejection.successes >= ejection.calls - 2 * (5 + CALLERS), "{ejection:?}");
}
