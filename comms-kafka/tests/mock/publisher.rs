//! The publisher during an outage, at its capacity, and with messages that are refused.

use crate::common::{cluster::*, *};
use comms_core::{ErrorKind, Message, MessageParts, Publisher, clock::Clock, wire};
use comms_kafka::KafkaPublisher;
use std::{collections::VecDeque, time::Duration};

#[tokio::test(flavor = "multi_thread")]
async fn messages_keep_their_order_and_do_not_expire_during_an_outage() {
    let cluster = Cluster::new(&[("t", 1)]);
    let publisher = KafkaPublisher::new(&cluster.config, Clock::system()).unwrap();
    let publisher = publisher.flush_limit(Duration::from_millis(500));
    publish(&publisher, [message("t", "k", 0)]).await;
    cluster.mock.broker_down(-1).unwrap();
    let mut acks = Vec::new();
    for n in 1..=100 {
        acks.push(publisher.enqueue(&mut VecDeque::from([message("t", "k", n)])));
    }
    let error = publisher.flush().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Indeterminate, "{error}");
    tokio::time::sleep(Duration::from_secs(2)).await;
    cluster.mock.broker_up(-1).unwrap();
    let mut offsets = Vec::new();
    for acks in acks {
        let results = tokio::time::timeout(LIMIT, acks).await.unwrap();
        offsets.push(results[0].as_ref().unwrap().offset.unwrap());
    }
    publisher.flush().await.unwrap();
    // The mock cluster keeps the duplicates of retries, so gaps are possible. Inversions are not.
    assert!(offsets.is_sorted_by(|a, b| a < b), "{offsets:?}");
}

#[tokio::test]
async fn a_manual_clock_drives_the_limit_of_flush() {
    let (cluster, clock) = (Cluster::new(&[("t", 1)]), Clock::manual(Duration::ZERO));
    cluster.mock.broker_down(-1).unwrap();
    let publisher = KafkaPublisher::new(&cluster.config, clock.clone()).unwrap();
    let _acks = publisher.enqueue(&mut VecDeque::from([message("t", "k", 0)]));
    let (result, ()) =
        tokio::join!(biased; publisher.flush(), async { clock.advance(Duration::from_secs(30)) });
    assert_eq!(result.unwrap_err().kind, ErrorKind::Indeterminate);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_publisher_leaves_the_remaining_messages_in_the_batch() {
    let mut cluster = Cluster::new(&[("t", 1)]);
    cluster.config = cluster.config.librdkafka("queue.buffering.max.messages", "10");
    let publisher = cluster.publisher();
    cluster.mock.broker_down(-1).unwrap();
    let mut batch: VecDeque<_> = (0..25).map(|n| message("t", "k", n)).collect();
    let acks = publisher.enqueue(&mut batch);
    assert_eq!((batch.len(), batch[0].id()), (15, "k-10"));
    let none = tokio::time::timeout(LIMIT, publisher.enqueue(&mut batch)).await.unwrap();
    assert_eq!((none.len(), batch.len()), (0, 15));
    assert!(
        tokio::time::timeout(Duration::from_millis(200), publisher.ready()).await.is_err(),
        "no capacity"
    );
    cluster.mock.broker_up(-1).unwrap();
    tokio::time::timeout(LIMIT, publisher.ready()).await.unwrap().unwrap();
    assert!(tokio::time::timeout(LIMIT, acks).await.unwrap().iter().all(Result::is_ok));
    publish(&*publisher, batch).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_message_is_refused_and_the_others_are_published() {
    let cluster = Cluster::new(&[("t", 1)]);
    let payload = vec![b'x'; 1_000_001];
    let large = Message::new(MessageParts { payload: Some(&payload), ..message("t", "k", 1).parts() });
    let invalid_topic = message("not a valid name", "k", 2);
    let mut batch =
        VecDeque::from([message("t", "k", 0), large.clone(), invalid_topic, message("t", "k", 3)]);
    let results = cluster.publisher().enqueue(&mut batch).await;
    assert_eq!((results.len(), batch.len()), (4, 0));
    let kinds: Vec<_> = results.iter().map(|result| result.as_ref().err().map(|e| e.kind)).collect();
    assert_eq!(kinds, [None, Some(ErrorKind::Invalid), Some(ErrorKind::Invalid), None]);
    // A record of the largest size can become a dead letter, although its headers grow.
    let parts = large.parts();
    let dead_letter = Message::new(MessageParts { payload: Some(&payload[..999_000]), ..parts });
    let dead_letter = dead_letter.with_headers(|headers| {
        headers.append(wire::DLQ_TOPIC, "t");
        headers.append(wire::DLQ_ERROR, vec![b'x'; 1_024]);
    });
    publish(&*cluster.publisher(), [dead_letter]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_the_publisher_resolves_pending_acknowledgements() {
    let cluster = Cluster::new(&[("t", 1)]);
    cluster.mock.broker_down(-1).unwrap();
    let publisher = cluster.publisher();
    let acks = publisher.enqueue(&mut VecDeque::from([message("t", "k", 0)]));
    drop(publisher);
    let results = tokio::time::timeout(LIMIT, acks).await.unwrap();
    assert!(results[0].is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_permission_is_misconfigured() {
    let cluster = Cluster::new(&[("t", 1)]);
    let publisher = cluster.publisher();
    publish(&*publisher, [message("t", "k", 0)]).await;
    let refusal = rdkafka::types::RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    cluster.mock.request_errors(rdkafka::types::RDKafkaApiKey::Produce, &[refusal]);
    let results = publisher.enqueue(&mut VecDeque::from([message("t", "k", 1)])).await;
    assert_eq!(results[0].as_ref().unwrap_err().kind, ErrorKind::Misconfigured);
}
