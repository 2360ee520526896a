//! The consumer of comms-kafka as a peer of the consumer benchmark, with its defaults.
//!
//! `THREADS`: 0 for a current-thread runtime, otherwise the workers of a multi-thread one. `LIBRDKAFKA`: further
//! settings of the client, `name=value` separated by commas.
#[path = "../../rust/src/tally.rs"]
mod tally;

use comms_core::{Delivery, Error, Outcome, clock::Clock, handler_fn};
use comms_kafka::{Consumer, KafkaConfig, KafkaPublisher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tally::{Tally, number, var};

/// The records that this process has handled, counted if `IDLE_MS` is set.
static HANDLED: AtomicU64 = AtomicU64::new(0);

/// Resolves when all records are handled, and with `IDLE_MS` when in addition none was handled for so long.
async fn finished(tally: &'static Tally, idle: Duration) {
    let mut last = (0, Instant::now());
    loop {
        tokio::time::sleep(Duration::from_millis(2)).await;
        let handled = HANDLED.load(Relaxed);
        if handled != last.0 {
            last = (handled, Instant::now());
        }
        if tally.finished() && last.1.elapsed() >= idle {
            return;
        }
    }
}

async fn consume(tally: &'static Tally) -> Result<Duration, Error> {
    let (work, idle) = (Duration::from_millis(number("WORK_MS", 0)), Duration::from_millis(number("IDLE_MS", 0)));
    let mut kafka = KafkaConfig::new(var("KAFKA_BOOTSTRAP"))
        .librdkafka("session.timeout.ms", number("SESSION_MS", 6000).to_string());
    for setting in std::env::var("LIBRDKAFKA").iter().flat_map(|settings| settings.split(',')) {
        let (name, value) = setting.split_once('=').expect("name=value");
        kafka = kafka.librdkafka(name, value);
    }
    let dead_letters = Arc::new(KafkaPublisher::new(&kafka, Clock::system())?);
    let handler = handler_fn(move |delivery: Delivery| async move {
        let value = delivery.message.payload().unwrap_or_default();
        tally.begin(value);
        if !work.is_zero() {
            tokio::time::sleep(work).await;
        }
        tally.end(value);
        if !idle.is_zero() {
            HANDLED.fetch_add(1, Relaxed);
        }
        Ok(Outcome::Done)
    });
    let consumer = Consumer::builder(&kafka, var("GROUP")).on(var("TOPIC"), handler).dead_letter(dead_letters).build()?;
    let (sender, closing) = std::sync::mpsc::channel();
    let shutdown = async move {
        finished(tally, idle).await;
        let _ = sender.send(Instant::now());
    };
    consumer.run(shutdown).await?;
    Ok(closing.recv().map_or(Duration::ZERO, |since| since.elapsed()))
}

fn main() -> Result<(), Error> {
    let mut runtime = match number("THREADS", 0) {
        0 => tokio::runtime::Builder::new_current_thread(),
        threads => {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            builder.worker_threads(threads as usize);
            builder
        }
    };
    let runtime = runtime.enable_all().build().map_err(Error::fatal)?;
    let tally: &'static Tally = Box::leak(Box::new(Tally::from_env()));
    let closing = runtime.block_on(consume(tally))?;
    println!("{}", tally.json(closing));
    Ok(())
}
