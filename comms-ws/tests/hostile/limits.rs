//! Sockets without a token, too many sessions of a user, and pushes that are too large.

use std::time::Duration;

use comms_core::{Error, ErrorKind};
use comms_ws::{HubConfig, PrincipalLimit, Session, close};
use serde_json::{Value, json};

use crate::{
    support::{Client, Open, Server, Transport, builder, config, large_push, raw::Raw, server::Io},
    witness::{IO, Witnessed},
};

/// Starts a server whose tokens, in the handshake and in frames, are user names.
async fn start(io: Io, config: HubConfig) -> Server {
    let hub = builder(config).authenticate(async |token: String| match token.as_str() {
        "" => Err(Error::invalid("no token")),
        user => Ok(Session::new(user, vec![format!("user/{user}")])),
    });
    Server::start_with(hub.build().unwrap(), io, |user| {
        Some(Session::new(user, vec![format!("user/{user}")]))
    })
    .await
}

async fn open(server: &Server, user: &str) -> Client {
    let mut client = Client::open(server.address, Transport::WebSocket, &Open::of(user)).await;
    if user.is_empty() {
        return client;
    }
    assert_eq!(client.next().await.unwrap()["type"], "welcome");
    client
}

async fn authenticate(client: &mut Client, user: &str) -> Result<Value, u16> {
    client.send(json!({"type": "authenticate", "token": user})).await;
    client.next().await
}

/// Returns the status with which a further socket without a token is refused.
async fn refused(server: &Server) -> Option<u16> {
    Client::try_open(server.address, Transport::WebSocket, &Open::default()).await.err()
}

#[tokio::test]
async fn sockets_without_a_token_leave_room_for_others() {
    for io in IO {
        for config in [config().max_unauthenticated(3), config().max_sessions(6)] {
            let server = start(io, config).await;
            let mut waiting = Vec::new();
            for _ in 0..3 {
                waiting.push(open(&server, "").await);
            }
            assert_eq!(refused(&server).await, Some(503), "{io:?}");
            let ann = open(&server, "ann").await;
            // Another one may wait when the first has authenticated, or has ended.
            let mut bob = waiting.pop().unwrap();
            assert_eq!(authenticate(&mut bob, "bob").await.unwrap()["type"], "welcome");
            waiting.push(open(&server, "").await);
            assert_eq!(refused(&server).await, Some(503), "{io:?}");
            let mut eve = waiting.pop().unwrap();
            assert_eq!(authenticate(&mut eve, "").await, Err(close::TOKEN_EXPIRED));
            drop(eve);
            server.until("eve has ended", |stats| stats.sessions == 4).await;
            waiting.push(open(&server, "").await);
            drop((waiting, ann, bob));
            server.until_empty().await;
        }
    }
}

#[tokio::test]
async fn a_full_user_is_refused_or_replaces_the_oldest_session() {
    for io in IO {
        let config = config().max_sessions_per_principal(2);
        let server = start(io, config.clone()).await;
        let _first = (open(&server, "ann").await, open(&server, "ann").await);
        let third = Client::try_open(server.address, Transport::WebSocket, &Open::of("ann")).await;
        assert_eq!(third.err(), Some(429), "{io:?}");

        let server = start(io, config.when_principal_is_full(PrincipalLimit::EndOldest)).await;
        let mut bob = open(&server, "bob").await;
        let mut sessions = Vec::new();
        for _ in 0..2 {
            sessions.push(open(&server, "ann").await);
        }
        // A session that authenticates in a frame is as old as this frame.
        let mut late = open(&server, "").await;
        for transport in [Transport::WebSocket, Transport::Events, Transport::WebSocket2] {
            let mut newest = Client::open(server.address, transport, &Open::of("ann")).await;
            assert_eq!(newest.next().await.unwrap()["type"], "welcome", "{io:?} {transport:?}");
            assert_eq!(sessions.remove(0).next().await, Err(close::REPLACED), "{io:?} {transport:?}");
            sessions.push(newest);
        }
        assert_eq!(authenticate(&mut late, "ann").await.unwrap()["type"], "welcome");
        assert_eq!(sessions.remove(0).next().await, Err(close::REPLACED), "an event stream, {io:?}");
        server.until("two of ann, and bob", |stats| stats.sessions == 3).await;
        assert!(bob.has_nothing().await && late.has_nothing().await);
        drop((bob, late, sessions));
        server.until_empty().await;
    }
}

/// A client that does not close its side holds a replaced session for a time. It cannot collect them.
#[tokio::test]
async fn replaced_sessions_that_do_not_end_are_bounded() {
    for io in IO {
        let witness = Witnessed::start(io, |config| {
            let config = config.close_timeout(Duration::from_secs(2)).max_sessions_per_principal(2);
            config.when_principal_is_full(PrincipalLimit::EndOldest)
        })
        .await;
        let mut held = Vec::new();
        for _ in 0..4 {
            held.push(Raw::open(witness.server.address, &Open::of("eve")).await);
        }
        let fifth = Client::try_open(witness.server.address, Transport::WebSocket, &Open::of("eve")).await;
        assert_eq!(fifth.err(), Some(429), "{io:?}");
        assert_eq!(held[0].close_code().await, close::REPLACED);
        held.drain(..2);
        witness.server.until("the replaced ones have ended", |stats| stats.sessions == 3).await;
        held.push(Raw::open(witness.server.address, &Open::of("eve")).await);
        drop(held);
        witness.end().await;
    }
}

#[tokio::test]
async fn a_push_that_is_too_large_is_an_error_with_its_size() {
    let size = |n: usize| serde_json::to_vec(&large_push(1, n)).unwrap().len();
    let overhead = size(0);
    for config in [config().max_push_bytes(2_000), config().queue_bytes(2_000)] {
        let server = start(Io::Bare, config).await;
        let mut ann = open(&server, "ann").await;
        let error = server.hub.publish("user/ann", &large_push(1, 2_001 - overhead)).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid);
        let text = error.to_string();
        assert!(text.contains("2001 bytes") && text.contains("2000 are allowed"), "{text}");
        assert!(ann.has_nothing().await);
        server.hub.publish("user/ann", &large_push(1, 2_000 - overhead)).await.unwrap();
        assert_eq!(ann.next().await.unwrap()["data"]["n"], 1);
    }
}
