//! The HTTP/2 frames that prove that a call was not executed.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use comms_core::ErrorKind;
use comms_grpc::{from_status, tonic};
use tonic::Code;

use crate::{
    frames::{
        CANCEL, DATA, END_STREAM, ENHANCE_YOUR_CALM, INTERNAL_ERROR, NO_ERROR, REFUSED_STREAM, frame, goaway,
        headers, peer, peers, reset, success,
    },
    support::{SECOND, call, channel, millis, server_streaming, single_attempt},
};

type Case = (&'static str, Vec<u8>, bool, ErrorKind);

/// Returns what the peer sends on `stream`, whether it closes the connection, and the kind of the failure.
fn cases(stream: u32) -> [Case; 13] {
    use ErrorKind::{Indeterminate, NotExecuted};
    let unavailable = [("content-type", "application/grpc"), ("grpc-status", "14")];
    let mut unavailable = headers(stream, 0, &unavailable);
    unavailable.extend(frame(DATA, END_STREAM, stream, &[]));
    let head = headers(stream, 0, &[("content-type", "application/grpc")]);
    let refused_late = [head, reset(stream, REFUSED_STREAM)].concat();
    [
        ("refused stream", reset(stream, REFUSED_STREAM), false, NotExecuted),
        ("goaway below the stream", goaway(0, NO_ERROR), false, NotExecuted),
        ("goaway below the stream, then close", goaway(0, NO_ERROR), true, NotExecuted),
        ("goaway below the stream with a reason", goaway(0, ENHANCE_YOUR_CALM), true, NotExecuted),
        ("goaway at the stream, then close", goaway(stream, NO_ERROR), true, Indeterminate),
        (
            "goaway with a reason at the stream, then close",
            goaway(stream, INTERNAL_ERROR),
            true,
            Indeterminate,
        ),
        ("goaway of a graceful shutdown, then close", goaway(0x7fff_ffff, NO_ERROR), true, Indeterminate),
        ("enhance your calm", reset(stream, ENHANCE_YOUR_CALM), false, Indeterminate),
        ("cancelled", reset(stream, CANCEL), false, Indeterminate),
        ("reset without error", reset(stream, NO_ERROR), false, Indeterminate),
        ("closed", vec![], true, Indeterminate),
        ("UNAVAILABLE", unavailable, false, Indeterminate),
        ("refused after the response headers", refused_late, false, Indeterminate),
    ]
}

/// A call without a proof is sent once. A call with a proof is sent once more, which does not need a policy.
#[tokio::test]
async fn a_failure_with_a_proof_is_not_executed_and_any_other_is_indeterminate() {
    for (index, (name, _, _, kind)) in cases(1).into_iter().enumerate() {
        let sent = Arc::new(AtomicUsize::new(0));
        let count = sent.clone();
        let address = peer(move |stream| {
            count.fetch_add(1, SeqCst);
            let (_, bytes, cut, _) = cases(stream)[index].clone();
            (bytes, cut)
        })
        .await;
        let status = call(&single_attempt(address, SECOND * 60), "report", 0).await.unwrap_err();
        assert_ne!(status.code(), Code::DeadlineExceeded, "{name}: {status}");
        assert_eq!(from_status(&status).kind, kind, "{name}: {status:?}");
        let proven = kind == ErrorKind::NotExecuted;
        assert_eq!(proven, status.code() == Code::Unavailable && name != "UNAVAILABLE", "{name}");
        assert_eq!(sent.load(SeqCst), if proven { 2 } else { 1 }, "{name}");
    }
}

/// h2 reports a GOAWAY only to the streams above its last stream id.
#[tokio::test]
async fn a_goaway_between_two_calls_is_a_proof_only_for_the_later_call() {
    let address = peers(|connection, stream| match (connection, stream) {
        (0, 1) => (vec![], false),
        (0, _) => (goaway(1, NO_ERROR), true),
        (_, stream) => (success(stream), false),
    })
    .await;
    let channel = single_attempt(address, SECOND * 60);
    let first = tokio::spawn({
        let channel = channel.clone();
        async move { call(&channel, "report", 0).await.unwrap_err() }
    });
    tokio::time::sleep(millis(200)).await;
    call(&channel, "report", 0).await.expect("the later call is sent again, on a new connection");
    let first = first.await.unwrap();
    assert_eq!(from_status(&first).kind, ErrorKind::Indeterminate, "{first}");
}

/// The stream below the last stream id of a GOAWAY continues on the old connection, while new calls use a new one.
#[tokio::test]
async fn a_call_below_a_goaway_ends_on_the_old_connection() {
    let address = peers(|connection, stream| match (connection, stream) {
        (0, 1) => (goaway(1, NO_ERROR), false),
        // Nothing is sent on the old connection after the GOAWAY, so the answer to stream 1 comes with the next frame.
        (_, stream) => (success(stream), false),
    })
    .await;
    let channel = single_attempt(address, SECOND);
    let first = tokio::spawn({
        let channel = channel.clone();
        async move { call(&channel, "report", 0).await.unwrap_err() }
    });
    tokio::time::sleep(millis(200)).await;
    for _ in 0..3 {
        call(&channel, "report", 0).await.unwrap();
    }
    // The call still waits for its answer, until its deadline.
    assert!(!first.is_finished());
    assert_eq!(first.await.unwrap().code(), Code::DeadlineExceeded);
}

/// A response that has begun shows that the handler has run, whatever the peer sends afterwards.
#[tokio::test]
async fn no_frame_after_the_response_headers_is_a_proof() {
    let marked = [("grpc-status", "14"), ("comms-not-executed", "not_executed")];
    for end in [reset(1, REFUSED_STREAM), goaway(0, NO_ERROR), headers(1, END_STREAM, &marked)] {
        let head = headers(1, 0, &[("content-type", "application/grpc")]);
        let bytes = [head, end].concat();
        let address = peer(move |_| (bytes.clone(), false)).await;
        let status = match server_streaming(channel(address, SECOND * 60), "three", 0).await {
            Ok(mut stream) => stream.message().await.unwrap_err(),
            Err(status) => status,
        };
        assert_eq!(from_status(&status).kind, ErrorKind::Indeterminate, "{status:?}");
        assert!(status.metadata().get("comms-not-executed").is_none());
    }
}

/// tonic panics on malformed details, and loses the code if the message is malformed.
#[tokio::test]
async fn malformed_details_and_messages_neither_panic_nor_lose_the_code() {
    for (code, kind) in [("3", ErrorKind::Invalid), ("0", ErrorKind::Indeterminate)] {
        let fields = [("grpc-status", code), ("grpc-message", "%FF"), ("grpc-status-details-bin", "*")];
        let bytes = [headers(1, 0, &[("content-type", "application/grpc")]), headers(1, END_STREAM, &fields)];
        let in_head = [headers(1, 0, &fields), frame(DATA, END_STREAM, 1, &[])];
        for bytes in [bytes.concat(), in_head.concat()] {
            let address = peer(move |_| (bytes.clone(), false)).await;
            // A success without a message is an error as well.
            let status = call(&channel(address, SECOND * 60), "report", 0).await.unwrap_err();
            assert_eq!(from_status(&status).kind, kind, "{code}: {status:?}");
        }
    }
}
