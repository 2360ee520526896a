//! What ends a session by itself: silence, and the token's time.

use std::time::Duration;

use comms_core::clock::Clock;
use comms_ws::{Session, close};
use futures::StreamExt;
use tokio::{io::AsyncReadExt, time::timeout};

use crate::support::{Server, event, millis};

#[tokio::test]
async fn answering_pings_keeps_a_session_and_silence_ends_it() {
    let server = Server::start(|config| config.ping_interval = millis(200)).await;
    let mut lively = server.client("ann").await;
    let mut dumb = server.client("bob").await;
    // Reading is what answers pings.
    assert!(timeout(millis(1_500), async { while lively.socket.next().await.is_some() {} }).await.is_err());
    server.until("the silent one is gone", |s| s.sessions == 1).await;
    server.hub.publish("user/ann", &event(1, 0));
    assert_eq!(lively.next().await["data"]["n"], 1);
    // Its raw bytes: a client that read frames now would answer the pings, to a socket that is closed.
    let mut bytes = Vec::new();
    dumb.socket.get_mut().read_to_end(&mut bytes).await.unwrap();
    let code = close::SILENT.to_be_bytes();
    assert!(bytes.windows(2).any(|pair| pair == code), "{bytes:?}");
}

#[tokio::test]
async fn a_session_ends_with_its_token() {
    let expires = Clock::system().unix().as_secs() + 2;
    let server = Server::granting(
        |_| {},
        move |user| {
            let expires = if user == "late" { 1 } else { expires };
            Session::new(user, vec![format!("user/{user}")]).expires_at_unix(expires)
        },
    )
    .await;
    let mut ann = server.client("ann").await;
    let mut late = server.handshake(&[("authorization", "Bearer late")]).await.unwrap();
    assert_eq!(late.rest().await.1, Some(close::TOKEN_EXPIRED), "its time was over before");
    server.hub.publish("user/ann", &event(1, 0));
    assert_eq!(ann.next().await["data"]["n"], 1, "not before its time");
    assert_eq!(ann.rest().await.1, Some(close::TOKEN_EXPIRED));
    assert!(Clock::system().unix() >= Duration::from_secs(expires));
    server.until_empty().await;
}
