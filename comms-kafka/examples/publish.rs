//! Publishes records of 200 bytes with 1,000 keys: for profilers, and to compare with the raw client.
//!
//! `COMMS_TEST_KAFKA_BROKERS` names the brokers.
//! - `publish comms TOPIC RECORDS` publishes so many records with [`KafkaPublisher`], in `enqueue` calls of 1,000.
//! - `publish raw TOPIC RECORDS` does the same with `FutureProducer`: the same settings, keys, headers and timestamps.
//! - `publish plain TOPIC RECORDS` leaves out the headers and the timestamps.
//!
//! Each prints the rate from the first call to the last acknowledgement.

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use comms_core::{Message, MessageParts, Publisher, clock::Clock, wire};
use comms_kafka::{KafkaConfig, KafkaPublisher, TopicSpec, provision};
use rdkafka::{
    ClientConfig,
    message::{Header, OwnedHeaders},
    producer::{DeliveryFuture, FutureProducer, FutureRecord, Producer as _},
};
use std::{collections::VecDeque, time::Duration};

const KEYS: usize = 1_000;
const CHUNK: usize = 1_000;
const PAYLOAD: [u8; 200] = [b'x'; 200];

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [command, topic, records] = &arguments[..] else {
        println!("usage: publish comms|raw|plain TOPIC RECORDS");
        return;
    };
    let records: usize = records.parse().unwrap();
    let config = KafkaConfig::new(std::env::var("COMMS_TEST_KAFKA_BROKERS").unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let spec = [TopicSpec::new(&**topic, 6, 1)];
        provision(&config, &spec, Duration::from_secs(30), &Clock::system()).await.unwrap();
        let took = match &**command {
            "comms" => comms(&config, topic, records).await,
            "raw" => raw(&config, topic, records, true).await,
            _ => raw(&config, topic, records, false).await,
        };
        let cpu = std::fs::read_to_string("/proc/self/stat").unwrap();
        let ticks: f64 = cpu.split(' ').skip(13).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
        println!(
            "{command}: {records} records, {:.0}/s, {:.2} CPU s per million",
            records as f64 / took.as_secs_f64(),
            ticks / 100.0 / records as f64 * 1e6
        );
    });
}

async fn comms(config: &KafkaConfig, topic: &str, records: usize) -> Duration {
    let clock = Clock::system();
    let publisher = KafkaPublisher::new(config, clock.clone()).unwrap();
    // Reads the limit of the topic, and opens the connections.
    let _ = publisher.enqueue(&mut VecDeque::from([message(topic, 0)])).await;
    let start = clock.now();
    let mut acks = Vec::new();
    for chunk in 0..records.div_ceil(CHUNK) {
        let numbers = chunk * CHUNK..records.min((chunk + 1) * CHUNK);
        let mut batch: VecDeque<_> = numbers.map(|n| message(topic, n)).collect();
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

fn message(topic: &str, n: usize) -> Message {
    Message::new(MessageParts {
        source: "bench",
        id: &n.to_string(),
        topic,
        key: Some((n % KEYS).to_string().as_bytes()),
        payload: Some(&PAYLOAD),
        ..MessageParts::default()
    })
}

async fn raw(config: &KafkaConfig, topic: &str, records: usize, whole: bool) -> Duration {
    let clock = Clock::system();
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", &config.brokers)
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("message.timeout.ms", "0")
        .set("linger.ms", "5")
        .set("compression.type", "lz4")
        .set("partitioner", "murmur2_random")
        .create()
        .unwrap();
    producer.client().fetch_metadata(Some(topic), Duration::from_secs(10)).unwrap();
    let _ = producer.send(FutureRecord::to(topic).key("0").payload(&PAYLOAD), Duration::ZERO).await.unwrap();
    let start = clock.now();
    let mut acks = VecDeque::new();
    for n in 0..records {
        let (key, id) = ((n % KEYS).to_string(), n.to_string());
        let mut record = FutureRecord::to(topic).key(&key).payload(&PAYLOAD);
        if whole {
            let headers = OwnedHeaders::new_with_capacity(2)
                .insert(Header { key: wire::CE_ID, value: Some(&id) })
                .insert(Header { key: wire::CE_SOURCE, value: Some("bench") });
            record = record.headers(headers).timestamp(clock.unix_millis());
        }
        loop {
            match producer.send_result(record) {
                Ok(ack) => break acks.push_back(ack),
                Err((_, back)) => record = back,
            }
            // The queue is full.
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
