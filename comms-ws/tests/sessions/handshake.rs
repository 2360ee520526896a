//! Accepted and refused handshakes.

use crate::support::Server;

#[tokio::test]
async fn pages_of_unlisted_origins_are_refused() {
    let server = Server::start(|config| config.origins = vec!["https://shop.example".into()]).await;
    let evil = [("authorization", "Bearer ann"), ("origin", "https://evil.example")];
    assert_eq!(server.refusal(&evil).await, (403, "/problems/origin".into()));
    let own = [("authorization", "Bearer ann"), ("origin", "https://shop.example")];
    server.handshake(&own).await.unwrap();
    // A request without an origin does not come from a page.
    server.handshake(&own[..1]).await.unwrap();
}

#[tokio::test]
async fn a_token_in_the_subprotocols_is_accepted_and_not_echoed() {
    let server = Server::start(|_| {}).await;
    let mut client = server.handshake(&[("sec-websocket-protocol", "comms.v1, bearer.ann")]).await.unwrap();
    assert_eq!(client.protocol.as_deref(), Some("comms.v1"));
    assert_eq!(client.next().await["topics"][0]["topic"], "user/ann");
    assert_eq!(server.refusal(&[("sec-websocket-protocol", "comms.v1")]).await.0, 401);
    assert_eq!(server.refusal(&[]).await.0, 401);
}

#[tokio::test]
async fn sessions_are_limited_and_released() {
    let server = Server::start(|config| {
        config.max_sessions = 3;
        config.max_sessions_per_principal = 2;
    })
    .await;
    let (ann, bob) = ([("authorization", "Bearer ann")], [("authorization", "Bearer bob")]);
    let first = server.client("ann").await;
    let _second = server.client("ann").await;
    assert_eq!(server.refusal(&ann).await, (429, "/problems/too-many-sessions".into()));
    let _third = server.client("bob").await;
    assert_eq!(server.refusal(&bob).await, (503, "/problems/full".into()));
    drop(first);
    server.until("a session is released", |s| s.sessions == 2).await;
    server.client("ann").await;
}
