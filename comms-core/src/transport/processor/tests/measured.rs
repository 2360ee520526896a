//! What is recorded of each try.

use std::{collections::HashMap, sync::Mutex};

use metrics::{
    Counter, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};

use super::*;

/// What was recorded, and how often a name was looked up.
#[derive(Default)]
struct Log {
    found: Mutex<HashMap<String, Arc<Count>>>,
    lookups: AtomicU32,
}

#[derive(Default)]
struct Count(AtomicU32);

impl HistogramFn for Count {
    fn record(&self, _: f64) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl GaugeFn for Count {
    fn increment(&self, value: f64) {
        self.0.fetch_add(value as u32, Ordering::SeqCst);
    }
    fn decrement(&self, value: f64) {
        self.0.fetch_sub(value as u32, Ordering::SeqCst);
    }
    fn set(&self, _: f64) {}
}

impl Recorder for Log {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::noop()
    }
    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        self.found.lock().unwrap().entry(named(key)).or_default().clone().into()
    }
    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        self.lookups.fetch_add(1, Ordering::SeqCst);
        self.found.lock().unwrap().entry(named(key)).or_default().clone().into()
    }
}

fn named(key: &Key) -> String {
    let labels = key.labels().map(|l| format!("{}={}", l.key(), l.value())).collect::<Vec<_>>();
    format!("{} {}", key.name(), labels.join(" "))
}

fn run(log: &Log, work: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    metrics::with_local_recorder(log, || runtime.unwrap().block_on(work));
}

#[test]
fn every_try_is_recorded_and_each_name_is_looked_up_once() {
    let log = Log::default();
    run(&log, async {
        let (processor, _) = processor(ErrorKind::Indeterminate, 3);
        for _ in 0..10 {
            processor.clone().process(delivery(), pending(), pending()).await;
        }
    });
    let at = "messaging_process_duration_seconds messaging.system=test messaging.operation.name=process \
              messaging.destination.name=t messaging.consumer.group.name=g";
    let count = |end: &str| log.found.lock().unwrap()[&format!("{at} {end}")].0.load(Ordering::SeqCst);
    assert_eq!(count("outcome=indeterminate error.type=indeterminate"), 2);
    assert_eq!(count("outcome=done"), 10);
    assert_eq!(log.lookups.load(Ordering::SeqCst), 2);
}

#[test]
fn held_keys_are_a_gauge_by_topic_and_group() {
    let log = Log::default();
    let at = "comms_consumer_held_keys messaging.destination.name=t messaging.consumer.group.name=g";
    let held = || log.found.lock().unwrap()[at].0.load(Ordering::SeqCst);
    run(&log, async {
        let (processor, _) = processor(ErrorKind::Misconfigured, 100);
        let work = processor.process(delivery(), pending(), pending());
        assert!(tokio::time::timeout(Duration::from_secs(60), work).await.is_err());
        assert!(processor.holds().is_empty(), "the future was dropped");
        assert_eq!(held(), 0);
        let parked = Processor {
            config: AttemptConfig { hold_in_place: Some(Duration::ZERO), ..AttemptConfig::default() },
            ..processor
        };
        parked.process(delivery(), pending(), pending()).await;
        assert_eq!(held(), 1);
        parked.holds().release(&delivery());
        assert_eq!(held(), 0);
    });
}

#[test]
fn what_is_kept_is_bounded_and_what_is_over_it_is_recorded_too() {
    let log = Log::default();
    run(&log, async {
        let (processor, _) = processor(ErrorKind::NotExecuted, 1);
        for i in (0..300).chain(0..300) {
            let mut delivery = delivery();
            delivery.message = delivery.message.to(format!("t{i}"));
            processor.process(delivery, pending(), pending()).await;
        }
    });
    let found = log.found.lock().unwrap();
    assert_eq!(found.len(), 300);
    assert!(found.values().all(|count| count.0.load(Ordering::SeqCst) == 2));
    assert_eq!(log.lookups.load(Ordering::SeqCst), 256 + 44 * 2);
}
