//! Publishes records of 200 bytes with 1,000 keys: for profilers, and to compare with the raw client.
//!
//! `COMMS_TEST_KAFKA_BROKERS` names the brokers.
//! - `publish comms TOPIC RECORDS` publishes so many records with [`KafkaPublisher`], in `enqueue` calls of 1,000.
//! - `publish raw TOPIC RECORDS` does the same with `FutureProducer`: the same settings, keys, headers and timestamps.
//! - `publish plain TOPIC RECORDS` leaves out the headers and the timestamps.
//!
//! Each prints the rate from the first call to the last acknowledgement.

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

#[path = "../benches/throughput/produce.rs"]
mod produce;

use comms_core::{Publisher, clock::Clock};
use comms_kafka::{KafkaConfig, KafkaPublisher, TopicSpec, provision};
use rdkafka::producer::{FutureRecord, Producer as _};
use std::{collections::VecDeque, time::Duration};

use produce::{CHUNK, PAYLOAD, message};

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
    let publisher = KafkaPublisher::new(config, Clock::system()).unwrap();
    // Reads the limit of the topic, and opens the connections.
    let _ = publisher.enqueue(&mut VecDeque::from([message(topic, 0)])).await;
    let numbers = |chunk| chunk * CHUNK..records.min((chunk + 1) * CHUNK);
    let batches =
        (0..records.div_ceil(CHUNK)).map(|chunk| numbers(chunk).map(|n| message(topic, n)).collect());
    produce::with_comms(&publisher, batches).await
}

async fn raw(config: &KafkaConfig, topic: &str, records: usize, whole: bool) -> Duration {
    let producer = produce::raw_producer(config);
    producer.client().fetch_metadata(Some(topic), Duration::from_secs(10)).unwrap();
    let _ = producer.send(FutureRecord::to(topic).key("0").payload(&PAYLOAD), Duration::ZERO).await.unwrap();
    produce::with_raw(&producer, topic, (0..records).map(produce::names), whole).await
}
