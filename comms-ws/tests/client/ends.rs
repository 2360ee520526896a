//! How a client ends: by a final failure, by `close`, or because its stream is dropped.

use comms_core::{Error, ErrorKind};
use serde_json::json;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, frame::coding::CloseCode};

use crate::support::{Server, start};

#[tokio::test]
async fn final_codes_end_the_client_with_advice() {
    for (code, kind, advice) in [
        (1002, ErrorKind::Internal, "update the older one"),
        (1003, ErrorKind::Internal, "update the older one"),
        (1007, ErrorKind::Internal, "update the older one"),
        (1008, ErrorKind::Invalid, "less often"),
        (1009, ErrorKind::Invalid, "shorter topics and filters"),
        (4403, ErrorKind::PermissionDenied, "get access"),
    ] {
        let server = Server::start().await;
        let mut client = start(&server, |builder| builder);
        let mut peer = server.accept().await;
        peer.welcome("a:1:0:m", None).await;
        peer.event("a", 1).await;
        peer.close(code).await;
        assert_eq!(client.items(3).await, ["connected", "subscribed a", "event a 1"]);
        let error = client.error().await;
        assert_eq!(error.kind, kind, "{code}");
        assert!(
            error.to_string().contains(advice) && error.to_string().contains(&code.to_string()),
            "{error}"
        );
        assert!(client.client.subscribe("b").await.is_err());
        client.client.close().await;
    }
}

#[tokio::test]
async fn a_forbidden_handshake_and_a_refused_user_end_the_client() {
    let server = Server::start().await;
    let mut client = start(&server, |builder| builder);
    server.refuse("403 Forbidden").await;
    assert_eq!(client.error().await.kind, ErrorKind::PermissionDenied);
    let logged_out = || async { Err(Error::unauthenticated("logged out")) };
    let mut client = start(&server, |builder| builder.token(logged_out));
    assert_eq!(client.error().await.kind, ErrorKind::Unauthenticated);
    let mut client = start(&server, |builder| builder.token(|| async { Ok("a\nb".to_owned()) }));
    let error = client.error().await;
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert!(!error.chain().to_string().contains("a\nb"), "{}", error.chain());
}

#[tokio::test]
async fn a_message_above_the_limit_ends_the_client() {
    let server = Server::start().await;
    let mut client = start(&server, |builder| builder.max_message(1_000));
    let mut peer = server.accept().await;
    peer.welcome("a:1:0:m", None).await;
    peer.send(json!({"type": "event", "topic": "a", "offset": 1, "event": "e", "data": "x".repeat(1_000)}))
        .await;
    client.items(2).await;
    let error = client.error().await;
    assert_eq!(error.kind, ErrorKind::Misconfigured);
    assert!(error.to_string().contains("raise max_message"), "{error}");
}

#[tokio::test]
async fn attempts_are_limited_if_the_application_says_so() {
    let server = Server::start().await;
    let mut client = start(&server, |builder| builder.max_attempts(3));
    for _ in 0..2 {
        server.refuse("500 Internal Server Error").await;
        client.disconnected().await;
    }
    server.refuse("500 Internal Server Error").await;
    assert!(client.error().await.to_string().contains("gave up after 3 attempts"));
}

#[tokio::test]
async fn close_ends_the_connection_with_1000_and_queued_items_can_be_read() {
    let server = Server::start().await;
    let mut client = start(&server, |builder| builder);
    let mut peer = server.accept().await;
    peer.welcome("a:1:0:m", None).await;
    peer.event("a", 1).await;
    // The third item is queued after the first two, so all are in the queue when the last of them was read.
    client.items(2).await;
    peer.event("a", 2).await;
    assert_eq!(client.items(1).await, ["event a 1"]);
    let control = client.client.clone();
    let (code, ()) = tokio::join!(peer.closed(), control.close());
    assert_eq!(code, Some(1000));
    while let Some(item) = client.result().await {
        item.unwrap();
    }
}

#[tokio::test]
async fn close_does_not_wait_for_a_server_that_is_silent_or_away() {
    let server = Server::start().await;
    let client = start(&server, |builder| builder);
    client.client.close().await;
    let mut client = start(&server, |builder| builder);
    let mut peer = server.accept().await;
    peer.welcome("", None).await;
    client.items(1).await;
    let control = client.client.clone();
    let closing = tokio::spawn(async move { control.close().await });
    // The close frame is sent before the wait for its confirmation, which never comes.
    while !peer.message().await.is_close() {}
    while !closing.is_finished() {
        client.clock.advance(std::time::Duration::from_secs(5));
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_dropped_stream_closes_the_connection() {
    let server = Server::start().await;
    let mut client = start(&server, |builder| builder);
    let mut peer = server.accept().await;
    peer.welcome("", None).await;
    client.items(1).await;
    drop(client.events);
    assert_eq!(peer.closed().await, Some(1000));
    client.client.close().await;
}

#[tokio::test]
async fn the_close_frame_of_the_server_is_answered() {
    for (code, has_welcome) in [(4408, true), (4403, true), (1001, false)] {
        let server = Server::start().await;
        let mut client = start(&server, |builder| builder);
        let mut peer = server.accept().await;
        if has_welcome {
            peer.welcome("a:1:0:m", None).await;
            client.items(2).await;
        }
        let frame = CloseFrame { code: CloseCode::from(code), reason: "why".into() };
        peer.socket.close(Some(frame)).await.unwrap();
        assert_eq!(peer.closed().await, Some(code));
    }
}
