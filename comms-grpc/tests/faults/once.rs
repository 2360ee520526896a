//! How often a handler runs, and which error the caller gets.

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

/// Cuts after each number of bytes, until a call passes without a cut. Every second cut is a reset.
async fn at_every_byte(fault: fn(usize, bool) -> Fault, key: Option<&'static str>) -> Vec<(String, Outcome)> {
    let mut outcomes = Vec::new();
    for from in (0..).step_by(32) {
        let calls = (from..from + 32).map(|after| (after, after % 2 == 1));
        let batch: Vec<_> = stream::iter(calls)
            .map(|(after, reset)| async move {
                (format!("after {after} bytes, reset {reset}"), call_through(fault(after, reset), key).await)
            })
            .buffered(64)
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
    let requests = at_every_byte(Fault::CutRequest, None).await;
    let responses = at_every_byte(Fault::CutResponse, None).await;
    requests.iter().chain(&responses).for_each(|(name, outcome)| check_unkeyed(name, outcome));
    for outcomes in [&requests, &responses] {
        assert!(outcomes.iter().any(|(_, o)| o.cut && o.begun == 1), "no cut was behind the handler");
        assert!(outcomes.last().is_some_and(|(_, o)| !o.cut && o.result.is_ok()), "the last call passes");
    }
    assert!(requests.iter().any(|(_, o)| o.cut && o.begun == 0), "no cut was before the handler");
}

/// The handler may run twice, so the key must make it harmless: the channel cannot know what the peer has done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_with_a_key_whose_request_is_cut_at_any_byte_succeeds() {
    for (name, outcome) in at_every_byte(Fault::CutRequest, Some("order-7")).await {
        let status = outcome.result.err();
        assert!(status.is_none(), "{name}: {status:?}");
        assert!((1..=2).contains(&outcome.begun), "{name}: the handler ran {} times", outcome.begun);
    }
}

/// The response headers commit a call, so a response that is cut behind them is reported and not repeated.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_with_a_key_whose_response_is_cut_is_repeated_until_its_headers_have_arrived() {
    let outcomes = at_every_byte(Fault::CutResponse, Some("order-7")).await;
    let committed = outcomes.iter().position(|(_, o)| o.result.is_err()).expect("a cut behind the headers");
    assert!(committed > 0 && outcomes[..committed].iter().any(|(_, o)| o.begun == 2), "no call was repeated");
    for (name, outcome) in outcomes {
        if let Err(status) = outcome.result {
            assert_eq!(from_status(&status).kind, ErrorKind::Indeterminate, "{name}: {status:?}");
            assert_eq!((outcome.begun, outcome.connections), (1, 1), "{name}: repeated after the headers");
        }
    }
}

fn html(stream: u32, status: &str) -> Vec<u8> {
    headers(stream, END_STREAM, &[(":status", status), ("content-type", "text/html")])
}

/// The faults of a proxy that answers by itself. `Ok` if the call must succeed on the second connection.
fn answers() -> Vec<(&'static str, Fault, Result<(), ErrorKind>)> {
    vec![
        (
            "refused stream",
            Fault::Answer(|stream| reset(stream, REFUSED_STREAM), false),
            Err(ErrorKind::NotExecuted),
        ),
        ("goaway below", Fault::Answer(|_| goaway(0, NO_ERROR), true), Ok(())),
        ("goaway below with a reason", Fault::Answer(|_| goaway(0, ENHANCE_YOUR_CALM), true), Ok(())),
        (
            "goaway at the call, then close",
            Fault::Answer(|_| goaway(1, NO_ERROR), true),
            Err(ErrorKind::Indeterminate),
        ),
        (
            "goaway above, then close",
            Fault::Answer(|_| goaway(0x7fff_ffff, NO_ERROR), true),
            Err(ErrorKind::Indeterminate),
        ),
        (
            "reset after an unknown time",
            Fault::Answer(|stream| reset(stream, ENHANCE_YOUR_CALM), true),
            Err(ErrorKind::Indeterminate),
        ),
        ("502", Fault::Answer(|stream| html(stream, "502"), true), Err(ErrorKind::Indeterminate)),
        ("503", Fault::Answer(|stream| html(stream, "503"), true), Err(ErrorKind::Indeterminate)),
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
        if expected == Err(ErrorKind::Indeterminate) {
            assert_eq!(outcome.connections, 1, "{name}: the call was repeated");
        }
    }
}

#[tokio::test]
async fn every_answer_of_a_proxy_is_repeated_with_a_key() {
    for (name, fault, expected) in answers() {
        let outcome = call_through(fault, Some("order-7")).await;
        match expected {
            Err(ErrorKind::NotExecuted) => assert_eq!(outcome.begun, 0, "{name}"),
            _ => assert!(outcome.result.is_ok() && outcome.begun == 1, "{name}: {:?}", outcome.result),
        }
    }
}

/// A connection that closes before the peer has spoken may have carried the call.
#[tokio::test]
async fn a_connection_that_is_closed_at_the_accept_claims_nothing_that_is_unknown() {
    let outcome = call_through(Fault::Refuse, None).await;
    check_unkeyed("closed at the accept", &outcome);
    eventually("the proxy has seen a connection", || outcome.connections > 0).await;
}
