//! Connections between the channel and a server of a peer that end, and those that must not.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use comms_core::ErrorKind;
use comms_grpc::{Channel, from_status};
use serde_json::{Value, json};

use crate::{
    calls::{ask, stream},
    programs::Kind,
};

/// Makes calls with 8 workers until `until`. Returns the keys of the calls, and the kinds of the failed ones.
pub(crate) async fn calls(channel: &Channel, until: Instant) -> (Vec<String>, HashMap<String, ErrorKind>) {
    let workers: Vec<_> = (0..8).map(|n| tokio::spawn(work(channel.clone(), n, until))).collect();
    let (mut done, mut failed) = (Vec::new(), HashMap::new());
    for worker in workers {
        let (succeeded, errors) = worker.await.unwrap();
        done.extend(succeeded);
        failed.extend(errors);
    }
    (done, failed)
}

/// Makes calls with the keys `{worker}-{n}`.
async fn work(channel: Channel, worker: usize, until: Instant) -> (Vec<String>, HashMap<String, ErrorKind>) {
    let (mut done, mut failed) = (Vec::new(), HashMap::new());
    for n in 0.. {
        if Instant::now() >= until {
            break;
        }
        let key = format!("{worker}-{n}");
        match ask(channel.clone(), json!({ "action": "sleep", "ms": 30, "key": key })).await {
            Ok(_) => done.push(key),
            Err(status) => drop(failed.insert(key, from_status(&status).kind)),
        }
    }
    (done, failed)
}

/// Returns how often the server has executed each call, by key.
pub(crate) async fn executions(channel: &Channel) -> HashMap<String, usize> {
    let seen = ask(channel.clone(), json!({ "action": "seen" })).await.unwrap();
    let mut executed = HashMap::new();
    for key in seen["executed"].as_array().unwrap() {
        *executed.entry(key.as_str().unwrap().to_owned()).or_default() += 1;
    }
    executed
}

/// The server ends each connection after about one second, with a GOAWAY.
pub(crate) async fn the_result_of_a_call_is_true_when_connections_reach_their_maximum_age(kind: Kind) {
    let age = json!({ "grpc.max_connection_age_ms": 1_000, "grpc.max_connection_age_grace_ms": 2_000 });
    let server = kind.server(age).await;
    let (channel, until) = (server.channel(), Instant::now() + Duration::from_secs(6));
    let (done, failed) = calls(&channel, until).await;
    // Calls that have failed may still be executed, and each is noted at its end.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let executed = executions(&channel).await;
    let executed = |key: &String| executed.get(key).copied().unwrap_or_default();
    println!("{} calls succeeded, {} failed: {failed:?}", done.len(), failed.len());
    assert!(done.len() > 80, "the calls stand still: {}", done.len());
    for key in &done {
        assert_eq!(executed(key), 1, "{key}");
    }
    for (key, kind) in &failed {
        let most = match kind {
            ErrorKind::NotExecuted => 0,
            ErrorKind::Indeterminate => 1,
            other => panic!("{key}: {other}"),
        };
        assert!(executed(key) <= most, "{key} {kind}: executed {}", executed(key));
    }
}

pub(crate) async fn a_killed_server_makes_calls_indeterminate_and_then_not_executed(kind: Kind) {
    let mut server = kind.server(json!({})).await;
    let channel = server.bare_channel();
    let running = tokio::spawn(ask(channel.clone(), json!({ "action": "sleep", "ms": 20_000 })));
    while ask(channel.clone(), json!({ "action": "seen" })).await.unwrap()["begun"] != 1 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    server.program.kill();
    let error = from_status(&running.await.unwrap().unwrap_err());
    assert_eq!(error.kind, ErrorKind::Indeterminate, "{error:?}");
    let error = from_status(&ask(channel.clone(), json!({ "action": "echo" })).await.unwrap_err());
    assert_eq!(error.kind, ErrorKind::NotExecuted, "{error:?}");

    let _restarted = kind.server_on(server.address.port(), json!({})).await;
    succeeds_again(&channel).await;
}

/// The channel may wait before it connects again.
async fn succeeds_again(channel: &Channel) {
    for _ in 0..100 {
        match ask(channel.clone(), json!({ "action": "echo" })).await {
            Ok(_) => return,
            Err(status) => assert_eq!(from_status(&status).kind, ErrorKind::NotExecuted),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("no call succeeded within 10 s after the restart");
}

/// A server with default settings counts pings that come without data and more often than every five minutes, and ends the
/// connection with GOAWAY `too_many_pings`. This one does so at the second such ping, so the test finds pings during a
/// call that come more often than every two seconds.
pub(crate) async fn a_channel_with_default_settings_keeps_its_connection(kind: Kind) {
    let server = kind.server(json!({ "grpc.http2.max_ping_strikes": 1 })).await;
    let channel = server.channel();
    let connection = connection(&channel).await;
    let flood = json!({ "count": 300, "size": 50_000, "ms": 10 });
    let mut messages = stream(channel.clone(), flood).await.unwrap();
    let mut count = 0;
    while messages.message().await.unwrap().is_some() {
        count += 1;
    }
    assert_eq!(count, 300);
    ask(channel.clone(), json!({ "action": "sleep", "ms": 6_000 })).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(self::connection(&channel).await, connection, "the connection was replaced");
}

/// Returns the address that the server has for the connection.
async fn connection(channel: &Channel) -> Value {
    ask(channel.clone(), json!({ "action": "echo" })).await.unwrap()["peer"].clone()
}
