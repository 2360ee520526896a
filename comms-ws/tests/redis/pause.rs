//! A server that stops answering.

use std::time::Duration;

use comms_core::ErrorKind;
use comms_ws::backplane::{Position, Published};
use rustix::process::Signal;
use tokio::time::sleep;

use crate::{
    node::KEEP,
    server::{Server, node},
};

const SHORT: Duration = Duration::from_secs(1);

/// The publication whose reply did not come in time may have been executed. Its repetition has the same position.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis; run scripts/test"]
async fn a_publication_without_a_reply_is_stored_once() {
    let server = Server::start(&[]).await;
    let config = server.config().response_timeout(SHORT).connect_timeout(SHORT).ping_interval(SHORT);
    let (a, b) = (node(config.clone()), node(config));
    let start = a.subscribe("t").await;
    b.publish("t", "before").await;
    server.signal(Signal::STOP);
    let error = b.try_publish("t", "during", "during", Some(KEEP)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Indeterminate);
    let error = b.try_publish("t", "during", "during", Some(KEEP)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotExecuted, "no connection is made: {}", error.chain());
    assert!(a.backplane.history("t", KEEP, start, 1).await.is_err());
    assert!(a.backplane.subscribe("u", Some(KEEP)).await.is_err());
    assert_eq!(b.try_publish("plain", "m", "m", None).await.unwrap(), Published::New(None));
    server.signal(Signal::CONT);
    let position = loop {
        match b.try_publish("t", "during", "during", Some(KEEP)).await {
            Ok(Published::New(Some(position)) | Published::Duplicate(position)) => break position,
            Ok(other) => panic!("{other:?}"),
            Err(_) => sleep(Duration::from_millis(10)).await,
        }
    };
    assert_eq!(position, Position { offset: 2, ..start });
    let again = b.try_publish("t", "during", "during", Some(KEEP)).await.unwrap();
    assert_eq!(again, Published::Duplicate(position));
    assert_eq!(a.bodies("t", start).await.unwrap(), ["before", "during"]);
}

/// No reset and no end of the connection shows that the server is away.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis; run scripts/test"]
async fn the_receiving_connection_is_replaced_if_the_server_does_not_answer() {
    let server = Server::start(&[]).await;
    let config = server.config().response_timeout(SHORT).connect_timeout(SHORT).ping_interval(SHORT);
    let (a, b) = (node(config.clone()), node(config));
    a.subscribe("t").await;
    let mut client = server.client().await;
    let clients = async |client: &mut _| -> String {
        redis::cmd("CLIENT").arg("LIST").arg("TYPE").arg("pubsub").query_async(client).await.unwrap()
    };
    let before = clients(&mut client).await;
    server.signal(Signal::STOP);
    sleep(SHORT * 4).await;
    server.signal(Signal::CONT);
    a.recorder.until("an interruption", |recorder| recorder.interruptions() >= 1).await;
    let mut client = server.client().await;
    assert_ne!(clients(&mut client).await, before);
    let mut offset = 0;
    while !a.recorder.of("t").iter().any(|arrived| arrived.body == offset.to_string()) {
        offset += 1;
        let id = offset.to_string();
        let _ = b.try_publish("t", &id, id.clone(), Some(KEEP)).await;
        sleep(Duration::from_millis(10)).await;
    }
}
