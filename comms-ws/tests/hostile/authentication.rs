//! Tokens in frames that never come, come twice, belong to another user, or are checked for ever.

use std::{convert::Infallible, time::Duration};

use comms_core::{Error, clock::Clock};
use comms_ws::{Hub, HubBuilder, HubConfig, Session, backplane::Memory, close};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{net::TcpListener, time::sleep};

use crate::{
    support::{Client, Open, Transport, builder, config, publish, raw::Raw},
    witness::{IO, Witnessed},
};

/// Returns a builder whose tokens are user names. `hang` is checked for ever.
fn with_tokens(builder: HubBuilder) -> HubBuilder {
    builder.authenticate(async |token: String| match token.as_str() {
        "hang" => std::future::pending().await,
        "eve" | "bob" => Ok(Session::new(&*token, vec![format!("user/{token}")])),
        _ => Err(Error::invalid("unknown token")),
    })
}

/// Returns a builder on a manual clock.
fn with_clock(clock: &Clock) -> HubBuilder {
    let config = HubConfig::default().ping_interval(Duration::from_secs(3_600));
    with_tokens(Hub::builder(config, clock.clone()))
}

/// Moves the clock on until the test ends.
fn moving(clock: Clock) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            clock.advance(Duration::from_millis(500));
            sleep(Duration::from_millis(2)).await;
        }
    })
}

#[tokio::test]
async fn a_client_that_never_authenticates_is_closed() {
    for io in IO {
        let clock = Clock::manual(Duration::from_secs(1_000));
        let witness = Witnessed::with(io, with_clock(&clock)).await;
        let mut raw = Raw::open(witness.server.address, &Open::default()).await;
        sleep(Duration::from_millis(50)).await;
        assert_eq!(witness.server.hub.stats().sessions, 2, "within the limit");
        let moving = moving(clock);
        assert_eq!(raw.close_code().await, close::TOKEN_EXPIRED, "{io:?}");
        drop(raw);
        witness.end().await;
        moving.abort();
    }
}

#[tokio::test]
async fn a_token_that_is_checked_for_ever_closes_the_session() {
    for io in IO {
        let clock = Clock::manual(Duration::from_secs(1_000));
        let witness = Witnessed::with(io, with_clock(&clock)).await;
        let mut raw = Raw::open(witness.server.address, &Open::default()).await;
        raw.text(r#"{"type":"authenticate","token":"hang"}"#).await.unwrap();
        let moving = moving(clock);
        assert_eq!(raw.close_code().await, close::TOKEN_EXPIRED, "{io:?}");
        drop(raw);
        witness.end().await;
        moving.abort();
    }
}

/// Frames that are checked for ever do not keep a session open that the server has closed.
#[tokio::test]
async fn checks_of_tokens_do_not_hold_a_close_up() {
    for io in IO {
        let clock = Clock::manual(Duration::from_secs(1_000));
        let witness = Witnessed::with(io, with_clock(&clock)).await;
        let mut raw = Raw::open(witness.server.address, &Open::of("eve")).await;
        for _ in 0..40 {
            raw.text(r#"{"type":"refresh","token":"hang"}"#).await.unwrap();
        }
        sleep(Duration::from_millis(50)).await;
        assert_eq!(witness.server.hub.disconnect("eve").await.unwrap(), 1);
        // One check lasts 5 s at most, and 40 of them last 200 s.
        for _ in 0..20 {
            clock.advance(Duration::from_millis(500));
            sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(raw.close_code().await, close::FORBIDDEN, "{io:?}");
        drop(raw);
        let moving = moving(clock);
        witness.end().await;
        moving.abort();
    }
}

#[tokio::test]
async fn the_first_frame_authenticates_and_no_later_one_does() {
    for io in IO {
        let witness = Witnessed::with(io, with_tokens(builder(config()))).await;
        for first in [
            json!({"type": "ping"}),
            json!({"type": "subscribe", "topic": "public/all"}),
            json!({"type": "refresh", "token": "eve"}),
            json!({"type": "authenticate", "token": "mallory"}),
        ] {
            let mut client =
                Client::open(witness.server.address, Transport::WebSocket, &Open::default()).await;
            client.send(first.clone()).await;
            assert_eq!(client.next().await, Err(close::TOKEN_EXPIRED), "{io:?} {first}");
        }
        let mut client = Client::open(witness.server.address, Transport::WebSocket, &Open::default()).await;
        publish(&witness.server.hub, "user/eve", [1]).await;
        client.send(json!({"type": "authenticate", "token": "eve"})).await;
        assert_eq!(client.next().await.unwrap()["topics"][0]["topic"], "user/eve");
        client.send(json!({"type": "authenticate", "token": "bob"})).await;
        assert_eq!(client.next().await.unwrap()["code"], "malformed", "{io:?}");
        publish(&witness.server.hub, "user/bob", [1]).await;
        publish(&witness.server.hub, "user/eve", [2]).await;
        assert_eq!(client.next().await.unwrap()["topic"], "user/eve", "the session is still that of eve");
        drop(client);
        witness.end().await;
    }
}

#[tokio::test]
async fn a_refresh_with_the_token_of_another_user_changes_nothing() {
    for io in IO {
        let witness = Witnessed::with(io, with_tokens(builder(config()))).await;
        let mut client = Client::open(witness.server.address, Transport::WebSocket, &Open::of("eve")).await;
        client.next().await.unwrap();
        for token in ["bob", "mallory", ""] {
            client.send(json!({"type": "refresh", "token": token})).await;
            let error = client.next().await.unwrap();
            assert_eq!(error["code"], Value::from("unauthorized"), "{io:?} {token}");
        }
        publish(&witness.server.hub, "user/bob", [1]).await;
        publish(&witness.server.hub, "user/eve", [1]).await;
        assert_eq!(client.next().await.unwrap()["topic"], "user/eve");
        // The new token allows no further topics.
        client.send(json!({"type": "subscribe", "topic": "public/a"})).await;
        assert_eq!(client.next().await.unwrap()["type"], "subscribed");
        client.send(json!({"type": "refresh", "token": "eve"})).await;
        let unsubscribed = client.next().await.unwrap();
        assert_eq!(
            (&unsubscribed["topic"], &unsubscribed["reason"]),
            (&json!("public/a"), &json!("forbidden"))
        );
        assert_eq!(client.next().await.unwrap()["type"], "refreshed");
        publish(&witness.server.hub, "public/a", [1]).await;
        assert!(client.has_nothing().await);
        drop(client);
        witness.end().await;
    }
}

/// A session whose user is disconnected between its acceptance and the switch of protocols ends as well, also if another node
/// is called.
#[tokio::test]
async fn a_session_that_is_disconnected_within_the_handshake_ends() {
    for is_other_node in [false, true] {
        let memory = Memory::new(Clock::system());
        let node = || builder(config()).backplane(memory.clone()).build().unwrap();
        let (hub, other) = (node(), node());
        let called = if is_other_node { other } else { hub.clone() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (socket, _) = listener.accept().await.unwrap();
            let service = service_fn(|request| {
                let response = hub.accept(request, Session::new("eve", vec!["user/eve".into()]));
                let called = called.clone();
                async move {
                    assert_eq!(called.disconnect("eve").await.unwrap(), usize::from(!is_other_node));
                    Ok::<_, Infallible>(response)
                }
            });
            let _ =
                http1::Builder::new().serve_connection(TokioIo::new(socket), service).with_upgrades().await;
        });
        let mut raw = Raw::open(address, &Open::of("eve")).await;
        assert_eq!(raw.close_code().await, close::FORBIDDEN);
    }
}
