//! How often a handler runs, and what the caller is told.

use std::sync::atomic::Ordering::SeqCst;

use comms_core::ErrorKind;
use comms_grpc::{ServerConfig, from_status, keyed, tonic};
use futures::{StreamExt, stream};

use crate::{
    frames::{END_STREAM, ENHANCE_YOUR_CALM, NO_ERROR, REFUSED_STREAM, goaway, headers, reset},
    proxy::{self, Fault},
    support::{Observation, SECOND, TestRequest, TestService, channel, eventually, start, unary},
};

/// The result of one call through a faulty connection.
struct Outcome {
    result: Result<Observation, tonic::Status>,
    /// How often the handler has begun, when nothing of the call was in flight any more.
    begun: usize,
    /// Whether the fault has ended the first connection.
    cut: bool,
    connections: usize,
}

/// Makes one call through a proxy with this fault, and waits until nothing of it runs any more.
async fn call_through(fault: Fault, key: Option<&str>) -> Outcome {
    let service = TestService::default();
    let server = start(service.clone(), ServerConfig::default()).await;
    let proxy = proxy::start(server.address, fault).await;
    let channel = channel(proxy.address, SECOND * 10);
    let request = tonic::Request::new(TestRequest { action: "report".into(), millis: 0 });
    let request = match key {
        Some(key) => keyed(request, key).unwrap(),
        None => request,
    };
    let result = unary(channel.clone(), request).await;
    let (connections, cut) = (proxy.connections.load(SeqCst), proxy.cut.load(SeqCst) > 0);
    drop((channel, proxy));
    // The shutdown of the server waits for the calls that have arrived.
    server.stop.send(()).unwrap();
    server.ended.await.unwrap().unwrap();
    Outcome { result, begun: service.begun.load(SeqCst), cut, connections }
}

/// Checks what every outcome of a call without a key must fulfil.
fn check_unkeyed(name: &str, outcome: &Outcome) {
    assert!(outcome.begun <= 1, "{name}: the handler ran {} times", outcome.begun);
    match &outcome.result {
        Ok(_) => assert_eq!(outcome.begun, 1, "{name}: a response without a handler"),
        Err(status) => {
            let error = from_status(status);
            let claims_nothing_happened = matches!(error.kind, ErrorKind::NotExecuted | ErrorKind::Rejected);
            assert!(
                !claims_nothing_happened || outcome.begun == 0,
                "{name}: {error:?} after the handler ran"
            );
        }
    }
}

/// Cuts after each number of bytes, in both directions, until a call passes without a cut.
async fn at_every_byte(fault: fn(usize, bool) -> Fault, key: Option<&'static str>) -> Vec<(String, Outcome)> {
    let mut outcomes = Vec::new();
    for from in (0..).step_by(32) {
        let calls = (from..from + 32).flat_map(|after| [(after, false), (after, true)]);
        let batch: Vec<_> = stream::iter(calls)
            .map(|(after, reset)| async move {
                (format!("after {after} bytes, reset {reset}"), call_through(fault(after, reset), key).await)
            })
            .buffered(8)
            .collect()
            .await;
        let is_last = batch.iter().all(|(_, outcome)| !outcome.cut);
        outcomes.extend(batch);
        if is_last {
            break;
        }
    }
    outcomes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_without_a_key_that_is_cut_at_any_byte_runs_at_most_once() {
    for fault in [Fault::CutRequest as fn(usize, bool) -> Fault, Fault::CutResponse] {
        let outcomes = at_every_byte(fault, None).await;
        outcomes.iter().for_each(|(name, outcome)| check_unkeyed(name, outcome));
        assert!(outcomes.iter().any(|(_, o)| o.cut && o.begun == 1), "no cut was behind the handler");
        assert!(outcomes.iter().any(|(_, o)| o.cut && o.begun == 0), "no cut was before the handler");
        assert!(outcomes.last().is_some_and(|(_, o)| !o.cut && o.result.is_ok()), "the last call passes");
    }
}

/// The handler may run twice, so the key must make it harmless: the channel cannot know what the peer has done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_with_a_key_that_is_cut_at_any_byte_succeeds() {
    for fault in [Fault::CutRequest as fn(usize, bool) -> Fault, Fault::CutResponse] {
        for (name, outcome) in at_every_byte(fault, Some("order-7")).await {
            let status = outcome.result.err();
            assert!(status.is_none(), "{name}: {status:?}");
            assert!((1..=2).contains(&outcome.begun), "{name}: the handler ran {} times", outcome.begun);
        }
    }
}

/// The faults of a proxy that answers by itself. `Ok` if the call must succeed on the second connection.
fn answers() -> Vec<(&'static str, Fault, Result<(), ErrorKind>)> {
    let http = |status: &'static str| {
        Fault::Answer(headers(1, END_STREAM, &[(":status", status), ("content-type", "text/html")]))
    };
    vec![
        ("refused stream", Fault::Answer(reset(1, REFUSED_STREAM)), Ok(())),
        ("goaway below", Fault::Answer(goaway(0, NO_ERROR)), Ok(())),
        ("goaway below with a reason", Fault::Answer(goaway(0, ENHANCE_YOUR_CALM)), Ok(())),
        ("goaway at the call, then close", Fault::Answer(goaway(1, NO_ERROR)), Err(ErrorKind::Indeterminate)),
        (
            "goaway above, then close",
            Fault::Answer(goaway(0x7fff_ffff, NO_ERROR)),
            Err(ErrorKind::Indeterminate),
        ),
        (
            "reset after an unknown time",
            Fault::Answer(reset(1, ENHANCE_YOUR_CALM)),
            Err(ErrorKind::Indeterminate),
        ),
        ("502", http("502"), Err(ErrorKind::Indeterminate)),
        ("503", http("503"), Err(ErrorKind::Indeterminate)),
        ("goaway before the answer", Fault::GoawayBeforeAnswer, Ok(())),
    ]
}

#[tokio::test]
async fn only_a_refusal_with_a_proof_is_repeated_without_a_key() {
    for (name, fault, expected) in answers() {
        let outcome = call_through(fault, None).await;
        check_unkeyed(name, &outcome);
        let result = outcome.result.map(drop).map_err(|status| from_status(&status).kind);
        assert_eq!(result, expected, "{name}");
        if expected.is_err() {
            assert_eq!(outcome.connections, 1, "{name}: the call was repeated");
        }
    }
}

#[tokio::test]
async fn every_answer_of_a_proxy_is_repeated_with_a_key() {
    for (name, fault, _) in answers() {
        let outcome = call_through(fault, Some("order-7")).await;
        assert!(outcome.result.is_ok(), "{name}: {:?}", outcome.result);
        assert_eq!(outcome.begun, 1, "{name}");
    }
}

/// A connection that closes before the peer has spoken may have carried the call.
#[tokio::test]
async fn a_connection_that_is_closed_at_the_accept_claims_nothing_that_is_unknown() {
    let outcome = call_through(Fault::Refuse, None).await;
    check_unkeyed("closed at the accept", &outcome);
    eventually("the proxy has seen a connection", || outcome.connections > 0).await;
}
