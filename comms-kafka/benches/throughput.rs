//! Throughput compared with the client of rdkafka, and latency from `enqueue` to the handler, against a real broker.
//!
//! Run it with `cargo bench -p comms-kafka`. `COMMS_TEST_KAFKA_BROKERS` names the brokers (required), and
//! `COMMS_BENCH_RECORDS` the number of records (default 300,000). Each number is the median of five rounds, and each ratio
//! the median of the ratios of each round.

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "the benchmark runs in real time")]

#[path = "throughput/produce.rs"]
mod produce;

use comms_core::{Delivery, Outcome, Publisher, clock::Clock, handler_fn};
use comms_kafka::{Consumer, KafkaConfig, KafkaPublisher, TopicSpec, provision};
use rdkafka::{
    ClientConfig,
    consumer::{BaseConsumer, Consumer as _},
};
use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::Notify;

use produce::{CHUNK, message};

const ROUNDS: usize = 5;

fn main() {
    let Ok(brokers) = std::env::var("COMMS_TEST_KAFKA_BROKERS") else {
        println!("skipped: COMMS_TEST_KAFKA_BROKERS is not set");
        return;
    };
    let records = std::env::var("COMMS_BENCH_RECORDS").ok().and_then(|n| n.parse().ok()).unwrap_or(300_000);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let config = KafkaConfig::new(brokers);
        throughput(&config, records).await;
        for wait in ["10", "100", "500"] {
            latency(&config, wait).await;
        }
    });
}

async fn throughput(config: &KafkaConfig, records: usize) {
    let (mut produced, mut bare, mut consumed) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let topics = [topic(config).await, topic(config).await, topic(config).await];
        let comms = produce_comms(config, &topics[0], records).await;
        produced.push((comms, produce_raw(config, &topics[1], records, true).await));
        bare.push((comms, produce_raw(config, &topics[2], records, false).await));
        let comms = consume_comms(config, &topics[0], records).await;
        consumed.push((comms, consume_raw(config, &topics[0], records)));
    }
    report("produced, beside FutureProducer", records, &produced);
    report("produced, beside FutureProducer without the two headers", records, &bare);
    report("consumed, no-op handler, beside BaseConsumer", records, &consumed);
}

fn report(what: &str, records: usize, rounds: &[(Duration, Duration)]) {
    let median = |value: fn(&(Duration, Duration)) -> f64| {
        let mut values: Vec<_> = rounds.iter().map(value).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let (comms, raw) = (median(|(comms, _)| comms.as_secs_f64()), median(|(_, raw)| raw.as_secs_f64()));
    let ratio = median(|(comms, raw)| raw.as_secs_f64() / comms.as_secs_f64());
    let records = records as f64;
    println!("{what}: {:.0}/s, raw client {:.0}/s, ratio {ratio:.2}", records / comms, records / raw);
}

fn unique(name: &str) -> String {
    format!("{name}-{}", Clock::system().uuid_v7())
}

async fn topic(config: &KafkaConfig) -> String {
    let spec = TopicSpec::new(unique("bench"), 6, 1);
    provision(config, std::slice::from_ref(&spec), Duration::from_secs(30), &Clock::system()).await.unwrap();
    spec.name
}

async fn produce_comms(config: &KafkaConfig, topic: &str, records: usize) -> Duration {
    let publisher = KafkaPublisher::new(config, Clock::system()).unwrap();
    let messages: Vec<_> = (0..records).map(|n| message(topic, n)).collect();
    produce::with_comms(&publisher, messages.chunks(CHUNK).map(|chunk| chunk.iter().cloned().collect())).await
}

/// Publishes the same records with the same settings.
async fn produce_raw(config: &KafkaConfig, topic: &str, records: usize, whole: bool) -> Duration {
    let names: Vec<_> = (0..records).map(produce::names).collect();
    produce::with_raw(&produce::raw_producer(config), topic, names.iter().map(|(key, id)| (key, id)), whole)
        .await
}

async fn consume_comms(config: &KafkaConfig, topic: &str, records: usize) -> Duration {
    let clock = Clock::system();
    let (count, times, last) =
        (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())), Arc::new(Notify::new()));
    let handler = {
        let (times, last, clock) = (times.clone(), last.clone(), clock.clone());
        handler_fn(move |_: Delivery| {
            let n = count.fetch_add(1, Ordering::Relaxed) + 1;
            if n == 1 || n == records {
                times.lock().unwrap().push(clock.now());
            }
            if n == records {
                last.notify_one();
            }
            async { Ok(Outcome::Done) }
        })
    };
    let dead_letters = Arc::new(KafkaPublisher::new(config, clock.clone()).unwrap());
    let consumer = Consumer::builder(config, unique("comms")).on(topic, handler).dead_letter(dead_letters);
    consumer.build().unwrap().run(last.notified()).await.unwrap();
    let times: Vec<Instant> = std::mem::take(&mut times.lock().unwrap());
    times[1] - times[0]
}

fn consume_raw(config: &KafkaConfig, topic: &str, records: usize) -> Duration {
    let clock = Clock::system();
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &config.brokers)
        .set("group.id", unique("raw"))
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.offset.store", "false")
        .set("fetch.queue.backoff.ms", "10")
        .create()
        .unwrap();
    consumer.subscribe(&[topic]).unwrap();
    let (mut count, mut first) = (0, None);
    while count < records {
        if let Some(Ok(_)) = consumer.poll(Duration::from_millis(100)) {
            first.get_or_insert_with(|| clock.now());
            count += 1;
        }
    }
    clock.now() - first.unwrap()
}

async fn latency(config: &KafkaConfig, wait: &str) {
    let clock = Clock::system();
    let config = config.clone().librdkafka("fetch.wait.max.ms", wait).librdkafka("linger.ms", "0");
    let topic: Arc<str> = topic(&config).await.into();
    let (seen, mut arrived) = tokio::sync::mpsc::channel(1);
    let handler = handler_fn(move |_: Delivery| {
        let seen = seen.clone();
        async move {
            seen.send(()).await.unwrap();
            Ok(Outcome::Done)
        }
    });
    let publisher = Arc::new(KafkaPublisher::new(&config, clock.clone()).unwrap());
    let consumer = Consumer::builder(&config, unique("comms")).on(topic.clone(), handler);
    let consumer = consumer.dead_letter(publisher.clone()).build().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(consumer.run(async { drop(stopped.await) }));
    let mut took = Vec::new();
    for n in 0..500 {
        let start = clock.now();
        drop(publisher.enqueue(&mut VecDeque::from([message(&topic, n)])));
        arrived.recv().await.unwrap();
        took.push(clock.now() - start);
        tokio::time::sleep(Duration::from_millis(7)).await;
    }
    took.drain(..10);
    took.sort();
    let at = |share: f64| took[(took.len() as f64 * share) as usize];
    println!("end to end, fetch.wait.max.ms={wait}: p50 {:?}, p99 {:?}", at(0.5), at(0.99));
    stop.send(()).unwrap();
    running.await.unwrap().unwrap();
}
