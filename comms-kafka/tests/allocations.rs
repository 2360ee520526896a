//! The allocations of a consumer per record.
//!
//! A program without libtest (`harness = false`), because the counter counts the allocations of the whole process.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::{
    alloc::System,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use comms_core::{Delivery, Outcome, handler_fn};
use comms_kafka::{Consumer, KafkaConfig};
use rdkafka::{
    ClientConfig,
    message::{Header, OwnedHeaders},
    mocking::MockCluster,
    producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer as _},
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tokio::sync::Notify;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const RECORDS: u64 = 12_000;
/// The first record that is counted: the metrics and buffers exist by then.
const FIRST: u64 = 2_000;
/// rdkafka allocates one reference count for each record, and the worker one attempt. The rest is for what is shared: two
/// for each buffer of 16 KiB, which has about 70 of these records (0.028), and commits and requests (0.001). Buffers of
/// 64 KiB would take 0.007, but a record that is handled for long would keep four times as much memory alive.
const LIMIT: f64 = 2.1;

fn main() {
    let mock: MockCluster<'static, DefaultProducerContext> = MockCluster::new(1).unwrap();
    mock.create_topic("t", 1, 1).unwrap();
    let brokers = mock.bootstrap_servers();
    produce(&brokers);
    let per_record = consume(&brokers);
    println!("allocations: {per_record:.3} per record");
    assert!((1.5..LIMIT).contains(&per_record), "{per_record} allocations per record");
}

fn produce(brokers: &str) {
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
    for n in 0..RECORDS {
        let (key, id) = (format!("k{}", n % 1_000), n.to_string());
        let header = |key, value| Header { key, value: Some(value) };
        // Half of the records have an identity and a further header, the others have no headers.
        let headers = OwnedHeaders::new()
            .insert(header("ce_id", &*id))
            .insert(header("ce_source", "test"))
            .insert(header("content-type", "application/json"));
        let record = BaseRecord::to("t").partition(0).key(&key).payload(&[b'x'; 200]);
        let mut record = if n % 2 == 0 { record } else { record.headers(headers) };
        while let Err((_, back)) = producer.send(record) {
            record = back;
            producer.poll(Duration::from_millis(1));
        }
        producer.poll(Duration::ZERO);
    }
    producer.flush(Duration::from_secs(60)).unwrap();
}

/// Returns the allocations and reallocations per record.
fn consume(brokers: &str) -> f64 {
    let (seen, last) = (Arc::new(AtomicU64::new(0)), Arc::new(Notify::new()));
    let (region, counted) = (Arc::new(Mutex::new(Region::new(ALLOCATOR))), Arc::new(AtomicU64::new(0)));
    let handler = {
        let (seen, last, region, counted) = (seen, last.clone(), region, counted.clone());
        handler_fn(move |_: Delivery| {
            match seen.fetch_add(1, Ordering::SeqCst) + 1 {
                FIRST => region.lock().unwrap().reset(),
                RECORDS => {
                    let change = region.lock().unwrap().change();
                    let sum = change.allocations + change.reallocations;
                    counted.store(sum as u64, Ordering::SeqCst);
                    last.notify_one();
                }
                _ => {}
            }
            async { Ok(Outcome::Done) }
        })
    };
    let config = KafkaConfig::new(brokers)
        .librdkafka("group.protocol", "consumer")
        .librdkafka("statistics.interval.ms", "0");
    let consumer = Consumer::builder(&config, "group").on("t", handler).build().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(consumer.run(last.notified())).unwrap();
    counted.load(Ordering::SeqCst) as f64 / (RECORDS - FIRST) as f64
}
