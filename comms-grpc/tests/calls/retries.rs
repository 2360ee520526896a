//! Which failures are retried, when, and how often.

use std::time::{Duration, Instant};

use comms_core::{
    ErrorKind,
    clock::Clock,
    context::{Context, Deadline},
    resilience::{Backoff, BulkheadConfig, Guard, Policy, PolicyConfig, RetryConfig},
};
use comms_grpc::{Channel, ChannelBuilder, from_status, keyed, tonic};
use h2::Reason;
use tonic::{Code, Request, Status};

use crate::{
    h2_peer::{Answer, H2Peer},
    support::{Observation, SECOND, TestRequest, call, millis, unary},
};

const METHOD: &str = "/test.Service/Unary";

fn builder(peer: &H2Peer) -> ChannelBuilder {
    Channel::builder(format!("http://{}", peer.address)).peer("test-service")
}

/// A policy that retries after 1 ms, without a breaker.
fn quick(attempts: u32) -> Policy {
    let backoff = Backoff::new(millis(1), millis(1)).unwrap();
    let retry = RetryConfig::default().max_attempts(attempts).backoff(backoff);
    Policy::new("quick", PolicyConfig::none().retry(retry)).unwrap()
}

async fn keyed_call(channel: &Channel) -> Result<Observation, Status> {
    let request = Request::new(TestRequest { action: "report".into(), millis: 0 });
    unary(channel.clone(), keyed(request, "order-7").unwrap()).await
}

/// Answers the first request with `first` and all others with success.
async fn first(first: Answer) -> H2Peer {
    H2Peer::start(move |number| if number == 0 { first.clone() } else { Answer::Success }).await
}

/// The peer may have executed each of these calls.
fn indeterminate() -> Vec<Answer> {
    vec![
        Answer::Cut,
        Answer::Reset(Reason::CANCEL),
        Answer::Reset(Reason::INTERNAL_ERROR),
        Answer::Reset(Reason::ENHANCE_YOUR_CALM),
        Answer::Status("14", vec![]),
        Answer::Status("8", vec![("grpc-retry-pushback-ms", "1")]),
    ]
}

#[tokio::test]
async fn a_call_that_may_have_been_executed_is_retried_only_with_a_key_or_an_idempotent_method() {
    for answer in indeterminate() {
        let peer = first(answer.clone()).await;
        let status = call(&builder(&peer).policy(quick(3)).build().unwrap(), "report", 0).await.unwrap_err();
        assert_eq!(from_status(&status).kind, ErrorKind::Indeterminate, "{status:?}");
        assert_eq!(peer.received().len(), 1, "at most once: {status:?}");

        let peer = first(answer.clone()).await;
        keyed_call(&builder(&peer).policy(quick(3)).build().unwrap()).await.unwrap();
        let received = peer.received();
        assert_eq!(received.len(), 2);
        assert!(received.iter().all(|r| r.headers["idempotency-key"] == "order-7"), "the same key");

        let peer = first(answer).await;
        let channel = builder(&peer).policy(quick(3)).idempotent_methods([METHOD]).build().unwrap();
        call(&channel, "report", 0).await.unwrap();
        assert_eq!(peer.received().len(), 2);
    }
}

#[tokio::test]
async fn a_call_with_a_proof_is_retried() {
    let proof = |kind| vec![("comms-not-executed", kind), ("grpc-retry-pushback-ms", "1")];
    for answer in [Answer::Status("14", proof("not_executed")), Answer::Status("8", proof("rejected"))] {
        let peer = first(answer).await;
        call(&builder(&peer).policy(quick(3)).build().unwrap(), "report", 0).await.unwrap();
        assert_eq!(peer.received().len(), 2);
    }
}

/// A refused stream is sent again at once, which is not an attempt (gRFC A6). A second refusal is a failed attempt.
#[tokio::test]
async fn a_transparent_retry_is_not_an_attempt() {
    let refused =
        |count| move |n| if n < count { Answer::Reset(Reason::REFUSED_STREAM) } else { Answer::Success };
    let peer = H2Peer::start(refused(1)).await;
    call(&builder(&peer).without_policy().build().unwrap(), "report", 0).await.unwrap();
    assert_eq!(peer.received().len(), 2);

    let peer = H2Peer::start(refused(3)).await;
    call(&builder(&peer).policy(quick(2)).build().unwrap(), "report", 0).await.unwrap();
    let earlier: Vec<_> = peer.received().iter().map(|r| previous_attempts(&r.headers)).collect();
    assert_eq!(earlier, [0, 0, 1, 1]);

    let peer = H2Peer::start(refused(99)).await;
    let status = call(&builder(&peer).policy(quick(2)).build().unwrap(), "report", 0).await.unwrap_err();
    assert_eq!(from_status(&status).kind, ErrorKind::NotExecuted);
    assert_eq!(peer.received().len(), 4, "two attempts, each sent twice");
}

fn previous_attempts(headers: &http::HeaderMap) -> u32 {
    headers.get("grpc-previous-rpc-attempts").map_or(0, |v| v.to_str().unwrap().parse().unwrap())
}

#[tokio::test]
async fn each_attempt_carries_its_number_and_its_remaining_time() {
    let peer = H2Peer::start(|n| if n < 2 { Answer::Status("14", vec![]) } else { Answer::Success }).await;
    let backoff = Backoff::new(millis(100), millis(100)).unwrap();
    let config =
        PolicyConfig::none().retry(RetryConfig::default().backoff(backoff)).attempt_timeout(SECOND * 3);
    let channel =
        builder(&peer).policy(Policy::new("slow", config).unwrap()).timeout(SECOND * 2).build().unwrap();
    keyed_call(&channel).await.unwrap();
    let received = peer.received();
    let timeouts: Vec<_> = received
        .iter()
        .map(|r| comms_core::context::parse_grpc_timeout(r.headers["grpc-timeout"].as_bytes()).unwrap())
        .collect();
    assert!(timeouts[0] <= SECOND * 2 && timeouts[1] <= timeouts[0] - millis(80), "{timeouts:?}");
    assert!(timeouts[2] <= timeouts[1] - millis(80), "{timeouts:?}");
    let earlier: Vec<_> = received.iter().map(|r| previous_attempts(&r.headers)).collect();
    assert_eq!(earlier, [0, 1, 2]);
    assert!(received.windows(2).all(|pair| pair[0].headers["traceparent"] == pair[1].headers["traceparent"]));

    // The limit of an attempt is also that of the peer.
    let config = PolicyConfig::none().attempt_timeout(millis(300));
    let channel = builder(&peer).policy(Policy::new("short", config).unwrap()).build().unwrap();
    call(&channel, "report", 0).await.unwrap();
    let timeout = peer.received()[3].headers["grpc-timeout"].clone();
    assert!(
        comms_core::context::parse_grpc_timeout(timeout.as_bytes()).unwrap() <= millis(300),
        "{timeout:?}"
    );
}

/// gRFC A6: the peer names the wait, or forbids another attempt.
#[tokio::test]
async fn a_pushback_is_the_wait_and_a_negative_or_malformed_one_forbids_the_retry() {
    let pushback = |value| Answer::Status("14", vec![("grpc-retry-pushback-ms", value)]);
    let peer = first(pushback("250")).await;
    let started = Instant::now();
    keyed_call(&builder(&peer).policy(quick(3)).build().unwrap()).await.unwrap();
    assert!(started.elapsed() >= millis(250), "{:?}", started.elapsed());

    for value in ["-1", "soon", "", "-9223372036854775808", "1.5"] {
        let peer = first(pushback(value)).await;
        let status = keyed_call(&builder(&peer).policy(quick(3)).build().unwrap()).await.unwrap_err();
        assert_eq!(from_status(&status).retry_after, Some(Duration::MAX), "{value:?}");
        assert_eq!(peer.received().len(), 1, "{value:?}");
    }
}

/// gRFC A6: the response headers commit the call.
#[tokio::test]
async fn a_call_whose_response_has_begun_is_not_retried() {
    let peer = first(Answer::CutAfterHeaders).await;
    let status = keyed_call(&builder(&peer).policy(quick(3)).build().unwrap()).await.unwrap_err();
    assert_eq!(from_status(&status).kind, ErrorKind::Indeterminate, "{status:?}");
    assert_eq!(peer.received().len(), 1);
}

#[tokio::test]
async fn a_request_within_the_replay_limit_is_sent_again_unchanged_and_a_longer_one_is_not() {
    let request = || {
        let request = Request::new(TestRequest { action: "x".repeat(10_000), millis: 0 });
        keyed(request, "order-7").unwrap()
    };
    let peer = first(Answer::Cut).await;
    let channel = builder(&peer).policy(quick(3)).build().unwrap();
    unary(channel, request()).await.unwrap();
    let received = peer.received();
    assert_eq!(received.len(), 2);
    assert!(received[0].body.len() > 10_000 && received[0].body == received[1].body);

    let peer = first(Answer::Cut).await;
    let channel = builder(&peer).policy(quick(3)).replay_limit(9_999).build().unwrap();
    let status = unary(channel, request()).await.unwrap_err();
    assert_eq!(from_status(&status).kind, ErrorKind::Indeterminate, "{status:?}");
    assert_eq!(peer.received().len(), 1);
}

/// The wait before the next attempt would end after the deadline, so the call fails at once with the peer's failure.
#[tokio::test]
async fn the_deadline_covers_the_waits_between_attempts() {
    let clock = Clock::system();
    let deadline = Deadline::after(SECOND * 20, &clock);
    for (timeout, deadline) in [(SECOND * 20, None), (SECOND * 60, Some(deadline))] {
        let peer = H2Peer::start(|_| Answer::Status("14", vec![("grpc-retry-pushback-ms", "30000")])).await;
        let channel = builder(&peer).policy(quick(3)).timeout(timeout).build().unwrap();
        let context = deadline.map_or_else(Context::default, |at| Context::default().with_deadline(at));
        let calling = context.scope(keyed_call(&channel));
        let status = tokio::time::timeout(SECOND * 10, calling).await.expect("fails at once").unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
        assert_eq!(peer.received().len(), 1);
    }
}

/// The default breaker opens at twenty failures, so that no single call opens it. A timeout of the channel counts as one.
#[tokio::test]
async fn the_default_policy_opens_its_breaker_when_the_peer_does_not_answer() {
    let peer = H2Peer::start(|_| Answer::Silence).await;
    let channel = builder(&peer).timeout(millis(50)).build().unwrap();
    for _ in 0..20 {
        let status = call(&channel, "report", 0).await.unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
        assert_eq!(from_status(&status).kind, ErrorKind::Indeterminate);
    }
    let status = call(&channel, "report", 0).await.unwrap_err();
    let error = from_status(&status);
    assert_eq!((error.kind, status.code()), (ErrorKind::Rejected, Code::Unavailable));
    assert_eq!(error.rejection().map(|rejection| rejection.guard), Some(Guard::Breaker));
    assert!(error.retry_after.is_some_and(|wait| wait > SECOND), "{error:?}");
    assert!(error.cause().downcast_ref::<Status>().is_some(), "the status is the cause");
    assert_eq!(peer.received().len(), 20);
}

#[tokio::test]
async fn a_call_that_a_bulkhead_refuses_is_rejected_with_the_guard() {
    let peer = H2Peer::start(|_| Answer::Silence).await;
    let config = PolicyConfig::none().bulkhead(BulkheadConfig::new(1));
    let channel =
        builder(&peer).timeout(SECOND).policy(Policy::new("full", config).unwrap()).build().unwrap();
    let (first, second) = tokio::join!(call(&channel, "report", 0), call(&channel, "report", 0));
    assert_eq!(first.unwrap_err().code(), Code::DeadlineExceeded);
    let error = from_status(&second.unwrap_err());
    assert_eq!(error.kind, ErrorKind::Rejected);
    assert_eq!(error.rejection().map(|rejection| rejection.guard), Some(Guard::Bulkhead));
}

#[tokio::test]
async fn a_method_can_have_a_policy_of_its_own() {
    let peer = H2Peer::start(|_| Answer::Status("14", vec![])).await;
    let channel = builder(&peer).policy(quick(5)).method_policy(METHOD, quick(2)).build().unwrap();
    keyed_call(&channel).await.unwrap_err();
    assert_eq!(peer.received().len(), 2);
}

/// An outage is not multiplied by the attempts: the budget allows 100 retries at once, and 10 in each second.
#[tokio::test(flavor = "multi_thread")]
async fn the_retries_of_a_thousand_calls_to_a_failing_peer_stay_within_the_budget() {
    let peer = H2Peer::start(|_| Answer::Status("14", vec![])).await;
    let channel = builder(&peer).policy(quick(5)).timeout(SECOND * 30).build().unwrap();
    let started = Instant::now();
    for _ in 0..10 {
        let calls = futures::future::join_all((0..100).map(|_| keyed_call(&channel))).await;
        assert!(calls.iter().all(Result::is_err));
    }
    let attempts = peer.received().len();
    let most = 1_000 + 100 + 10 * (started.elapsed().as_secs() as usize + 1);
    assert!(attempts > 1_050 && attempts <= most, "{attempts} attempts, at most {most}");
}
