//! A metrics recorder that stores the lag of one topic.

use metrics::{
    Counter, Gauge, GaugeFn, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit,
    set_global_recorder,
};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

/// The last value of the lag gauge of the topic `lagging`.
#[derive(Clone, Default)]
pub(crate) struct Gauges(Arc<Mutex<Option<f64>>>);

impl Gauges {
    /// Installs the recorder for the whole process. Call it once per test binary.
    pub(crate) fn install() -> Self {
        let gauges = Self::default();
        set_global_recorder(gauges.clone()).unwrap();
        gauges
    }

    /// Waits until the gauge has `value`.
    pub(crate) async fn until(&self, value: f64) {
        let reached = tokio::time::timeout(super::LIMIT, async {
            while *self.0.lock().unwrap() != Some(value) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        assert!(reached.await.is_ok(), "{:?} is not {value}", self.0.lock().unwrap());
    }
}

impl GaugeFn for Gauges {
    fn increment(&self, _: f64) {}
    fn decrement(&self, _: f64) {}
    fn set(&self, value: f64) {
        *self.0.lock().unwrap() = Some(value);
    }
}

impl Recorder for Gauges {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::noop()
    }
    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        let is_lag =
            key.name() == comms_core::telemetry::CONSUMER_LAG && key.labels().any(|l| l.value() == "lagging");
        if is_lag { Gauge::from_arc(Arc::new(self.clone())) } else { Gauge::noop() }
    }
    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}
