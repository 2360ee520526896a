//! Sessions that end by silence or by the expiry of their token.

use std::time::Duration;

use comms_core::clock::Clock;
use comms_ws::{HubConfig, Session, close};
use futures::StreamExt;
use tokio::{
    io::AsyncReadExt,
    time::{sleep, timeout},
};

use crate::support::{Server, millis, push};

#[tokio::test]
async fn a_session_that_answers_pings_stays_open_and_a_silent_one_is_closed() {
    let server = Server::start(|config| config.ping_interval = millis(200)).await;
    let mut responsive = server.client("ann").await;
    let mut silent = server.client("bob").await;
    // The client library answers pings while the test reads.
    assert!(
        timeout(millis(1_500), async { while responsive.socket.next().await.is_some() {} }).await.is_err()
    );
    server.until("the silent session is closed", |s| s.sessions == 1).await;
    server.hub.publish("user/ann", &push(1, 0)).await.unwrap();
    assert_eq!(responsive.next().await["data"]["n"], 1);
    // The test reads raw bytes, because the client library would answer pings on a socket that is closed.
    let mut bytes = Vec::new();
    silent.socket.get_mut().read_to_end(&mut bytes).await.unwrap();
    let code = close::SILENT.to_be_bytes();
    assert!(bytes.windows(2).any(|pair| pair == code), "{bytes:?}");
}

#[tokio::test]
async fn a_session_is_closed_when_its_token_expires() {
    let expires = Clock::system().unix().as_secs() + 2;
    let server = Server::start_with_grant(
        |_| {},
        move |user| {
            let expires = if user == "late" { 1 } else { expires };
            Session::new(user, vec![format!("user/{user}")]).expires_at_unix(expires)
        },
    )
    .await;
    let mut ann = server.client("ann").await;
    let mut late = server.handshake(&[("authorization", "Bearer late")]).await.unwrap();
    assert_eq!(late.read_to_end().await.1, Some(close::TOKEN_EXPIRED), "the token had expired before");
    server.hub.publish("user/ann", &push(1, 0)).await.unwrap();
    assert_eq!(ann.next().await["data"]["n"], 1, "the token has not expired");
    assert_eq!(ann.read_to_end().await.1, Some(close::TOKEN_EXPIRED));
    assert!(Clock::system().unix() >= Duration::from_secs(expires));
    server.until_empty().await;
}

#[tokio::test]
async fn a_manual_clock_drives_pings_and_the_close_handshake() {
    let clock = Clock::manual(Duration::from_secs(1_000));
    let server = Server::start_with_clock(&clock).await;
    let mut silent = server.client("ann").await;
    clock.advance(Duration::from_secs(70)); // two intervals of 30 s, and the spread
    // The test reads raw bytes, so that the client does not answer the close frame.
    let mut bytes = [0; 4];
    silent.socket.get_mut().read_exact(&mut bytes).await.unwrap();
    assert_eq!(bytes[2..], close::SILENT.to_be_bytes(), "{bytes:?}");
    sleep(millis(100)).await;
    assert_eq!(server.hub.stats().sessions, 1, "the session waits for the answer");
    clock.advance(HubConfig::default().close_timeout);
    server.until_empty().await;
}

#[tokio::test]
async fn a_manual_clock_drives_the_expiry_of_a_session() {
    let clock = Clock::manual(Duration::from_secs(1_000));
    let server = Server::start_with_clock(&clock).await;
    let mut ann = server.client("ann").await;
    clock.advance(Duration::from_secs(600));
    assert_eq!(ann.read_to_end().await.1, Some(close::TOKEN_EXPIRED));
}

#[tokio::test]
async fn a_manual_clock_drives_the_limit_of_the_drain() {
    let clock = Clock::manual(Duration::from_secs(1_000));
    let server = Server::start_with_clock(&clock).await;
    let _silent = server.client("ann").await;
    let mut drain = Box::pin(server.hub.drain(Duration::from_secs(60)));
    assert!(timeout(millis(100), &mut drain).await.is_err());
    clock.advance(Duration::from_secs(60));
    timeout(Duration::from_secs(5), drain).await.expect("the limit has passed");
}

/// The client answers every ping. The session does not read the answers while it looks a permission up.
#[tokio::test]
async fn a_look_up_that_takes_longer_than_the_limit_on_silence_closes_no_session() {
    let grant = |user: &str| {
        Session::new(user, vec![]).allow_async(|_| async {
            sleep(millis(1_000)).await;
            Ok(true)
        })
    };
    let server = Server::start_with_grant(|config| config.ping_interval = millis(200), grant).await;
    let mut client = server.client("ann").await;
    for topic in ["public/a", "public/b"] {
        client.send(serde_json::json!({"type": "subscribe", "topic": topic})).await;
    }
    for topic in ["public/a", "public/b"] {
        let answer = client.next().await;
        assert_eq!((&answer["type"], &answer["topic"]), (&"subscribed".into(), &topic.into()), "{answer}");
    }
}
