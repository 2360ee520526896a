//! The HTTP/2 frames that prove that a call was not executed.

use comms_core::ErrorKind;
use comms_grpc::{ServerConfig, from_status, tonic};
use tokio::net::TcpListener;
use tonic::Code;

use crate::{
    frames::{
        CANCEL, DATA, END_STREAM, ENHANCE_YOUR_CALM, INTERNAL_ERROR, NO_ERROR, REFUSED_STREAM, frame, goaway,
        headers, peer, reset, serve_frames,
    },
    support::{SECOND, TestService, call, channel, millis, server_streaming, start_on},
};

#[tokio::test]
async fn a_failure_with_a_proof_is_not_executed_and_any_other_is_indeterminate() {
    use ErrorKind::{Indeterminate, NotExecuted};
    let trailers_only = |status: &'static str| {
        let mut answer = headers(1, 0, &[("content-type", "application/grpc"), ("grpc-status", status)]);
        answer.extend(frame(DATA, END_STREAM, 1, &[]));
        answer
    };
    let head = headers(1, 0, &[("content-type", "application/grpc")]);
    let cases: [(&str, Vec<u8>, bool, ErrorKind); 13] = [
        ("refused stream", reset(1, REFUSED_STREAM), false, NotExecuted),
        ("goaway below the stream", goaway(0, NO_ERROR), false, NotExecuted),
        ("goaway below the stream, then close", goaway(0, NO_ERROR), true, NotExecuted),
        ("goaway below the stream with a reason", goaway(0, ENHANCE_YOUR_CALM), true, NotExecuted),
        ("goaway at the stream, then close", goaway(1, NO_ERROR), true, Indeterminate),
        ("goaway with a reason at the stream, then close", goaway(1, INTERNAL_ERROR), true, Indeterminate),
        ("goaway of a graceful shutdown, then close", goaway(0x7fff_ffff, NO_ERROR), true, Indeterminate),
        ("enhance your calm", reset(1, ENHANCE_YOUR_CALM), false, Indeterminate),
        ("cancelled", reset(1, CANCEL), false, Indeterminate),
        ("reset without error", reset(1, NO_ERROR), false, Indeterminate),
        ("closed", vec![], true, Indeterminate),
        ("UNAVAILABLE", trailers_only("14"), false, Indeterminate),
        (
            "refused after the response headers",
            [head, reset(1, REFUSED_STREAM)].concat(),
            false,
            Indeterminate,
        ),
    ];
    for (name, bytes, cut, kind) in cases {
        let address = peer(move |_| (bytes.clone(), cut)).await;
        let status = call(&channel(address, SECOND * 5), "report", 0).await.unwrap_err();
        assert_ne!(status.code(), Code::DeadlineExceeded, "{name}: {status}");
        assert_eq!(from_status(&status).kind, kind, "{name}: {status:?}");
        assert_eq!(
            kind == NotExecuted,
            status.code() == Code::Unavailable && name != "UNAVAILABLE",
            "{name}"
        );
    }
}

/// h2 reports a GOAWAY only to the streams above its last stream id.
#[tokio::test]
async fn a_goaway_between_two_calls_is_a_proof_only_for_the_later_call() {
    let address = peer(|stream| match stream {
        1 => (vec![], false),
        _ => (goaway(1, NO_ERROR), true),
    })
    .await;
    let channel = channel(address, SECOND * 5);
    let first = tokio::spawn({
        let channel = channel.clone();
        async move { call(&channel, "report", 0).await.unwrap_err() }
    });
    tokio::time::sleep(millis(200)).await;
    let second = call(&channel, "report", 0).await.unwrap_err();
    assert_eq!(from_status(&second).kind, ErrorKind::NotExecuted, "{second}");
    let first = first.await.unwrap();
    assert_eq!(from_status(&first).kind, ErrorKind::Indeterminate, "{first}");
}

/// A response that has begun shows that the handler has run, whatever the peer sends afterwards.
#[tokio::test]
async fn no_frame_after_the_response_headers_is_a_proof() {
    let marked = [("grpc-status", "14"), ("comms-not-executed", "not_executed")];
    for end in [reset(1, REFUSED_STREAM), goaway(0, NO_ERROR), headers(1, END_STREAM, &marked)] {
        let head = headers(1, 0, &[("content-type", "application/grpc")]);
        let bytes = [head, end].concat();
        let address = peer(move |_| (bytes.clone(), false)).await;
        let status = match server_streaming(channel(address, SECOND * 5), "three", 0).await {
            Ok(mut stream) => stream.message().await.unwrap_err(),
            Err(status) => status,
        };
        assert_eq!(from_status(&status).kind, ErrorKind::Indeterminate, "{status:?}");
        assert!(status.metadata().get("comms-not-executed").is_none());
    }
}

#[tokio::test]
async fn a_call_after_a_goaway_uses_a_new_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let channel = channel(listener.local_addr().unwrap(), SECOND * 5);
    let server = tokio::spawn(async move {
        serve_frames(listener.accept().await.unwrap().0, |_| (goaway(0, NO_ERROR), true)).await;
        listener
    });
    let status = call(&channel, "report", 0).await.unwrap_err();
    assert_eq!(from_status(&status).kind, ErrorKind::NotExecuted, "{status}");
    let _server = start_on(server.await.unwrap(), TestService::default(), ServerConfig::default());
    call(&channel, "report", 0).await.unwrap();
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
            let status = call(&channel(address, SECOND * 5), "report", 0).await.unwrap_err();
            assert_eq!(from_status(&status).kind, kind, "{code}: {status:?}");
        }
    }
}
