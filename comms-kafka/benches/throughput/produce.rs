//! Publishes the same records with `KafkaPublisher` and with `FutureProducer`. The benchmark and the example `publish`
//! share this file.

use comms_core::{Message, MessageParts, Publisher, clock::Clock, wire};
use comms_kafka::{KafkaConfig, KafkaPublisher};
use rdkafka::{
    ClientConfig,
    message::{Header, OwnedHeaders},
    producer::{DeliveryFuture, FutureProducer, FutureRecord},
};
use std::{collections::VecDeque, time::Duration};

const KEYS: usize = 1_000;
pub(super) const PAYLOAD: [u8; 200] = [b'x'; 200];
/// The records of one call of `enqueue`.
pub(super) const CHUNK: usize = 1_000;

/// Returns the key and the id of record `n`.
pub(super) fn names(n: usize) -> (String, String) {
    ((n % KEYS).to_string(), n.to_string())
}

pub(super) fn message(topic: &str, n: usize) -> Message {
    let (key, id) = names(n);
    Message::new(MessageParts {
        source: "bench",
        id: &id,
        topic,
        key: Some(key.as_bytes()),
        payload: Some(&PAYLOAD),
        ..MessageParts::default()
    })
}

/// Publishes `batches`. Returns the time from the first call to the last acknowledgement.
pub(super) async fn with_comms(
    publisher: &KafkaPublisher,
    batches: impl Iterator<Item = VecDeque<Message>>,
) -> Duration {
    let clock = Clock::system();
    let (start, mut acks) = (clock.now(), Vec::new());
    for mut batch in batches {
        while !batch.is_empty() {
            publisher.ready().await.unwrap();
            acks.push(publisher.enqueue(&mut batch));
        }
    }
    for acks in acks {
        assert!(acks.await.iter().all(Result::is_ok));
    }
    clock.now() - start
}

/// Returns a producer with the settings of `KafkaPublisher`.
pub(super) fn raw_producer(config: &KafkaConfig) -> FutureProducer {
    ClientConfig::new()
        .set("bootstrap.servers", &config.brokers)
        .set("enable.idempotence", "true")
        .set("message.timeout.ms", "0")
        .set("linger.ms", "5")
        .set("compression.type", "lz4")
        .set("partitioner", "murmur2_random")
        .create()
        .unwrap()
}

/// Publishes records with these keys and ids. `whole`: with the identity of the message in two headers, and the timestamp.
/// Returns the time from the first call to the last acknowledgement.
pub(super) async fn with_raw(
    producer: &FutureProducer,
    topic: &str,
    names: impl Iterator<Item = (impl AsRef<str>, impl AsRef<str>)>,
    whole: bool,
) -> Duration {
    let clock = Clock::system();
    let (start, mut acks) = (clock.now(), VecDeque::new());
    for (key, id) in names {
        let mut record = FutureRecord::to(topic).key(key.as_ref()).payload(&PAYLOAD);
        if whole {
            let headers = OwnedHeaders::new_with_capacity(2)
                .insert(Header { key: wire::CE_ID, value: Some(id.as_ref()) })
                .insert(Header { key: wire::CE_SOURCE, value: Some("bench") });
            record = record.headers(headers).timestamp(clock.unix_millis());
        }
        loop {
            match producer.send_result(record) {
                Ok(ack) => break acks.push_back(ack),
                // The queue is full.
                Err((_, back)) => record = back,
            }
            acknowledged(acks.pop_front().unwrap()).await;
        }
    }
    for ack in acks {
        acknowledged(ack).await;
    }
    clock.now() - start
}

async fn acknowledged(ack: DeliveryFuture) {
    ack.await.unwrap().unwrap();
}
