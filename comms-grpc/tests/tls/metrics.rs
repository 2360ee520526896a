//! The metrics of handshakes and of certificates.

use std::{
    collections::BTreeMap,
    fs,
    sync::{Arc, Mutex},
    time::Duration,
};

use comms_grpc::tls::{Identity, ServerTls, Trust};
use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};

use crate::support::{Client, Pki, Server, eventually, http2_only};

/// The values of all counters and gauges, by name and labels.
#[derive(Clone, Default)]
struct Values(Arc<Mutex<BTreeMap<String, f64>>>);

struct Series(Values, String);

impl Values {
    fn get(&self, name: &str) -> f64 {
        self.0.lock().unwrap().get(name).copied().unwrap_or_default()
    }

    fn series(&self, key: &Key) -> Arc<Series> {
        let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        Arc::new(Series(self.clone(), format!("{} {}", key.name(), labels.join(" "))))
    }
}

impl Series {
    fn change(&self, change: impl FnOnce(f64) -> f64) {
        let mut values = self.0.0.lock().unwrap();
        let value = values.entry(self.1.clone()).or_default();
        *value = change(*value);
    }
}

impl CounterFn for Series {
    fn increment(&self, by: u64) {
        self.change(|value| value + by as f64);
    }
    fn absolute(&self, value: u64) {
        self.change(|_| value as f64);
    }
}

impl GaugeFn for Series {
    fn increment(&self, by: f64) {
        self.change(|value| value + by);
    }
    fn decrement(&self, by: f64) {
        self.change(|value| value - by);
    }
    fn set(&self, to: f64) {
        self.change(|_| to);
    }
}

impl Recorder for Values {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.series(key))
    }
    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.series(key))
    }
    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

#[test]
fn handshakes_reloads_and_the_expiry_are_measured() {
    let values = Values::default();
    // The recorder is local to the thread, so all tasks run on this thread.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    metrics::with_local_recorder(&values, || runtime.block_on(measure(&values)));
}

async fn measure(values: &Values) {
    let (pki, other) = (Pki::new("a"), Pki::new("b"));
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("tls.pem");
    let leaf = pki.leaf("payment");
    fs::write(&file, format!("{}{}", leaf.certificate, leaf.key)).unwrap();
    let identity = Identity::from_pem_files(&file, &file).check_every(Duration::from_millis(10));
    let tls = ServerTls::new(identity).client_trust(Trust::from_pem(pki.pem.clone()));
    let server = Server::with_tls(tls, http2_only).await;
    let expiry = "comms_tls_certificate_expiry_seconds certificate=spiffe://shop.test/payment";
    let at_start = values.get(expiry);
    assert!((3_000.0..3_601.0).contains(&at_start), "{at_start}");
    eventually("the gauge follows the time", || values.get(expiry) < at_start).await;

    for _ in 0..2 {
        Client::new(&pki, other.leaf("order")).refusal(server.address).await;
    }
    Client::new(&pki, None).refusal(server.address).await;
    let failures = |reason: &str| {
        values.get(&format!("comms_tls_handshake_failures_total listener=test reason={reason}"))
    };
    eventually("the failures are counted", || failures("unknown_authority") == 2.0).await;
    eventually("the failures are counted", || failures("no_certificate") == 1.0).await;
    // The connections end after the clients have read the alerts.
    eventually("the connections are closed", || values.get("comms_connections listener=test") == 0.0).await;

    let reloads =
        |outcome: &str| values.get(&format!("comms_tls_reloads_total material=identity outcome={outcome}"));
    fs::write(&file, "half").unwrap();
    eventually("the refusal is counted", || reloads("refused") == 1.0).await;
    let leaf = pki.leaf("payment");
    // Written under another name and renamed, so that no reading sees a half.
    let next = directory.path().join("next");
    fs::write(&next, format!("{}{}", leaf.certificate, leaf.key)).unwrap();
    fs::rename(next, file).unwrap();
    eventually("the replacement is counted", || reloads("loaded") == 1.0).await;
    assert_eq!(reloads("refused"), 1.0);
}
