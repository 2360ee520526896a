//! The metrics of a worker.

use std::sync::Mutex;

use super::*;
use crate::{telemetry, transport::AttemptConfig};

#[derive(Default)]
struct Log(Mutex<std::collections::BTreeMap<String, u64>>);

struct Entry(Arc<Log>, String);

impl metrics::CounterFn for Entry {
    fn increment(&self, value: u64) {
        *self.0.0.lock().unwrap().entry(self.1.clone()).or_default() += value;
    }
    fn absolute(&self, _: u64) {}
}

impl metrics::HistogramFn for Entry {
    fn record(&self, _: f64) {
        metrics::CounterFn::increment(self, 1);
    }
}

struct Recorder(Arc<Log>);

impl Recorder {
    fn entry(&self, key: &metrics::Key) -> Arc<Entry> {
        let labels: Vec<_> =
            key.labels().map(|label| format!(" {}={}", label.key(), label.value())).collect();
        Arc::new(Entry(self.0.clone(), format!("{}{}", key.name(), labels.concat())))
    }
}

impl metrics::Recorder for Recorder {
    fn describe_counter(&self, _: metrics::KeyName, _: Option<metrics::Unit>, _: metrics::SharedString) {}
    fn describe_gauge(&self, _: metrics::KeyName, _: Option<metrics::Unit>, _: metrics::SharedString) {}
    fn describe_histogram(&self, _: metrics::KeyName, _: Option<metrics::Unit>, _: metrics::SharedString) {}
    fn register_counter(&self, key: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Counter {
        self.entry(key).into()
    }
    fn register_gauge(&self, _: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Gauge {
        metrics::Gauge::noop()
    }
    fn register_histogram(&self, key: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Histogram {
        self.entry(key).into()
    }
}

#[test]
fn attempts_and_received_messages_are_counted_at_the_flush() {
    let log = Arc::new(Log::default());
    metrics::with_local_recorder(&Recorder(log.clone()), || {
        let mut rig = Rig::new(WorkerConfig::default());
        rig.push(1, "a", []);
        rig.push(2, "a", [Plan::Wait]);
        rig.push(3, "b", [Plan::Err(ErrorKind::Conflict)]);
        rig.open();
        rig.drain();
        let counted = || log.0.lock().unwrap().clone();
        let place = "messaging.system=test messaging.destination.name=t messaging.consumer.group.name=g";
        let consumed = format!("{} {place}", telemetry::CONSUMED_MESSAGES);
        assert_eq!(counted().get(&consumed), None, "nothing is recorded before the flush");
        rig.worker.flush();
        assert_eq!(counted()[&consumed], 3, "a second attempt is no second message");
        let place = "messaging.system=test messaging.operation.name=process messaging.destination.name=t \
                     messaging.consumer.group.name=g";
        let attempts = |end: &str| counted()[&format!("{} {place} {end}", telemetry::PROCESS_DURATION)];
        assert_eq!(attempts("outcome=done"), 3, "with the second attempt of 3");
        assert_eq!(attempts("outcome=conflict error.type=conflict"), 1);
        rig.push(4, "a", []);
        drop(rig);
        assert_eq!(counted()[&consumed], 4, "a worker that is dropped records the rest");
    });
}

#[test]
fn an_attempt_of_a_batch_is_measured_once_and_its_messages_are_counted_once() {
    let log = Arc::new(Log::default());
    metrics::with_local_recorder(&Recorder(log.clone()), || {
        let mut rig = Rig::batch(AttemptConfig::default(), WorkerConfig::default());
        rig.push(1, "a", [Plan::FailBatch(ErrorKind::NotExecuted), Plan::FailBatch(ErrorKind::Conflict)]);
        rig.push(2, "a", []);
        rig.push(3, "b", []);
        rig.drain();
        rig.worker.flush();
        let counted = log.0.lock().unwrap().clone();
        let place = "messaging.system=test messaging.destination.name=t messaging.consumer.group.name=g";
        assert_eq!(counted[&format!("{} {place}", telemetry::CONSUMED_MESSAGES)], 3);
        let place = "messaging.system=test messaging.operation.name=process messaging.destination.name=t \
                     messaging.consumer.group.name=g";
        let attempts = |end: &str| counted[&format!("{} {place} {end}", telemetry::PROCESS_DURATION)];
        assert_eq!(attempts("outcome=not_executed error.type=not_executed"), 1);
        assert_eq!(attempts("outcome=conflict error.type=conflict"), 1);
        assert_eq!(attempts("outcome=done"), 3, "each delivery alone, after the failed batch");
    });
}
