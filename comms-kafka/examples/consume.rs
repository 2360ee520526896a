//! Loads a topic, and consumes it with a handler that does nothing: for profilers, and to compare with the raw client.
//!
//! `COMMS_TEST_KAFKA_BROKERS` names the brokers.
//! - `consume load TOPIC RECORDS` creates a topic of 6 partitions with records of 200 bytes and 1,000 keys.
//! - `consume comms TOPIC RECORDS [WORK_MS]` consumes so many records with [`Consumer`], and prints the rate.
//! - `consume raw TOPIC RECORDS` does the same with a loop around the raw client.

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use comms_core::{Delivery, Outcome, clock::Clock, handler_fn};
use comms_kafka::{Consumer, KafkaConfig, TopicSpec, provision};
use rdkafka::{
    ClientConfig, Message as _,
    consumer::{BaseConsumer, CommitMode, Consumer as _},
    producer::{BaseProducer, BaseRecord, Producer as _},
};
use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::Notify;

const KEYS: usize = 1_000;

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [command, topic, records, rest @ ..] = &arguments[..] else {
        println!("usage: consume load|comms|raw TOPIC RECORDS [WORK_MS]");
        return;
    };
    let records: usize = records.parse().unwrap();
    let work = Duration::from_millis(rest.first().map_or(0, |work| work.parse().unwrap()));
    let mut config = KafkaConfig::new(std::env::var("COMMS_TEST_KAFKA_BROKERS").unwrap());
    // Further settings of librdkafka, as `key=value,key=value`.
    for setting in std::env::var("SET").unwrap_or_default().split(',').filter(|text| !text.is_empty()) {
        let (key, value) = setting.split_once('=').unwrap();
        config = config.librdkafka(key, value);
    }
    match &**command {
        "load" => load(&config, topic, records),
        "comms" => comms(&config, topic, records, work),
        _ => raw(&config, topic, records),
    }
}

fn group() -> String {
    format!("consume-{}", Clock::system().uuid_v7())
}

fn load(config: &KafkaConfig, topic: &str, records: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let spec = [TopicSpec::new(topic, 6, 1)];
    runtime.block_on(provision(config, &spec, Duration::from_secs(30), &Clock::system())).unwrap();
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &config.brokers)
        .set("linger.ms", "20")
        .create()
        .unwrap();
    let mut state: u64 = 0x9E37_79B9_7F4A_7C15;
    for n in 0..records {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let (key, mut payload) = (format!("key-{:06}", state % KEYS as u64), [0_u8; 200]);
        payload[..8].copy_from_slice(&(n as u64).to_le_bytes());
        payload[8..16].copy_from_slice(&state.to_le_bytes());
        let mut record = BaseRecord::to(topic).key(&key).payload(&payload);
        while let Err((_, back)) = producer.send(record) {
            record = back;
            producer.poll(Duration::from_millis(1));
        }
    }
    producer.flush(Duration::from_secs(60)).unwrap();
}

/// Counts records, and the time from the first one.
#[derive(Default)]
struct Count {
    seen: AtomicUsize,
    started: OnceLock<Instant>,
    last: Notify,
}

impl Count {
    fn record(&self, records: usize) {
        let seen = self.seen.fetch_add(1, Ordering::Relaxed) + 1;
        if seen == 1 {
            let _ = self.started.set(Clock::system().now());
        }
        if seen == records {
            self.last.notify_one();
        }
    }

    fn report(&self, name: &str) {
        let (seen, now) = (self.seen.load(Ordering::Relaxed), Clock::system().now());
        let took = now - *self.started.get().unwrap();
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default();
        let cpu = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let ticks: f64 = cpu.split(' ').skip(13).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
        println!(
            "{name}: {seen} records, {:.0}/s, {:.2} CPU s per million, {peak}",
            seen as f64 / took.as_secs_f64(),
            ticks / 100.0 / seen as f64 * 1e6,
        );
    }
}

fn comms(config: &KafkaConfig, topic: &str, records: usize, work: Duration) {
    let threads = std::env::var("THREADS").ok().and_then(|threads| threads.parse().ok()).unwrap_or(1);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build().unwrap();
    let count = Arc::new(Count::default());
    let handler = handler_fn({
        let count = count.clone();
        move |_: Delivery| {
            let count = count.clone();
            async move {
                if !work.is_zero() {
                    Clock::system().sleep(work).await;
                }
                count.record(records);
                Ok(Outcome::Done)
            }
        }
    });
    let mut consumer = Consumer::builder(config, group()).on(topic, handler);
    if let Some(bytes) = std::env::var("PREFETCH").ok().and_then(|bytes| bytes.parse().ok()) {
        consumer = consumer.prefetch_bytes(bytes);
    }
    if let Some(records) = std::env::var("COMMIT").ok().and_then(|records| records.parse().ok()) {
        consumer = consumer.commit_records(records);
    }
    let shutdown = {
        let count = count.clone();
        async move {
            count.last.notified().await;
            count.report("comms");
        }
    };
    runtime.block_on(consumer.build().unwrap().run(shutdown)).unwrap();
}

fn raw(config: &KafkaConfig, topic: &str, records: usize) {
    let mut settings = ClientConfig::new();
    settings
        .set("bootstrap.servers", &config.brokers)
        .set("group.id", group())
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.offset.store", "false")
        .set("enable.auto.commit", "false")
        .set("fetch.queue.backoff.ms", "10");
    settings.extend(config.librdkafka.clone());
    let consumer: BaseConsumer = settings.create().unwrap();
    consumer.subscribe(&[topic]).unwrap();
    let count = Count::default();
    while count.seen.load(Ordering::Relaxed) < records {
        let Some(Ok(record)) = consumer.poll(Duration::from_millis(100)) else { continue };
        std::hint::black_box(record.payload());
        consumer.store_offset_from_message(&record).unwrap();
        count.record(records);
        if count.seen.load(Ordering::Relaxed) % 1_000 == 0 {
            let _ = consumer.commit_consumer_state(CommitMode::Async);
        }
    }
    count.report("raw");
}
