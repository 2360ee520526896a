//! The metrics of sessions: how they are opened, refused and ended. A client cannot create label values.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use comms_core::telemetry::{WS_CLOSED, WS_JOINING, WS_OPENED, WS_REFUSED, WS_SLOW_CLOSED};
use comms_ws::{Session, close};
use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};

use crate::support::{Client, Open, Server, Transport, builder, config, publish};

/// A recorder with the value of each counter and gauge, by its name and labels.
#[derive(Clone, Default)]
struct Values(Arc<Mutex<BTreeMap<String, f64>>>);

struct Value(Values, String);

impl Value {
    fn add(&self, value: f64) {
        *self.0.0.lock().unwrap().entry(self.1.clone()).or_default() += value;
    }
}

impl CounterFn for Value {
    fn increment(&self, value: u64) {
        self.add(value as f64);
    }
    fn absolute(&self, _: u64) {
        unimplemented!()
    }
}

impl GaugeFn for Value {
    fn increment(&self, value: f64) {
        self.add(value);
    }
    fn decrement(&self, value: f64) {
        self.add(-value);
    }
    fn set(&self, value: f64) {
        self.0.0.lock().unwrap().insert(self.1.clone(), value);
    }
}

impl Values {
    fn value(&self, key: &Key) -> Arc<Value> {
        let labels: Vec<String> = key.labels().map(|label| label.value().to_owned()).collect();
        Arc::new(Value(self.clone(), [vec![key.name().to_owned()], labels].concat().join(" ")))
    }

    fn get(&self, name: &str, label: &str) -> f64 {
        let key = [name, label].join(" ");
        self.0.lock().unwrap().get(key.trim()).copied().unwrap_or_default()
    }
}

impl Recorder for Values {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.value(key))
    }
    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.value(key))
    }
    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

#[test]
fn sessions_are_counted_by_transport_reason_and_code() {
    let values = Values::default();
    // The recorder is local to the thread, so all tasks run on this thread.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    metrics::with_local_recorder(&values, || runtime.block_on(sessions()));
    for (name, label, value) in [
        (WS_OPENED, "websocket", 3.0),
        (WS_OPENED, "event_stream", 3.0),
        (WS_OPENED, "other", 0.0),
        (WS_REFUSED, "principal", 2.0),
        (WS_REFUSED, "unauthenticated", 1.0),
        (WS_REFUSED, "no_websocket", 0.0),
        (WS_CLOSED, "none", 1.0),
        (WS_CLOSED, &close::FORBIDDEN.to_string(), 2.0),
        (WS_CLOSED, &close::TOKEN_EXPIRED.to_string(), 1.0),
        (WS_CLOSED, &close::GOING_AWAY.to_string(), 1.0),
        (WS_CLOSED, &close::TOO_SLOW.to_string(), 1.0),
        (WS_SLOW_CLOSED, "", 1.0),
        (WS_JOINING, "", 0.0),
    ] {
        assert_eq!(values.get(name, label), value, "{name} {label}: {:?}", values.0.lock().unwrap());
    }
}

async fn sessions() {
    let config = config().max_sessions_per_principal(1).max_unauthenticated(1);
    let config = config.write_timeout(Duration::from_millis(500));
    let server = Server::start(builder(config).build().unwrap()).await;
    for transport in [Transport::WebSocket, Transport::Events] {
        let mut ann = Client::open(server.address, transport, &Open::of("ann").topic("public/a")).await;
        ann.next().await.unwrap();
        assert_eq!(Client::try_open(server.address, transport, &Open::of("ann")).await.err(), Some(429));
        server.hub.disconnect("ann").await.unwrap();
        assert_eq!(ann.next().await, Err(close::FORBIDDEN));
        drop(ann);
        server.until_empty().await;
    }
    let mut unknown = Client::open(server.address, Transport::WebSocket, &Open::default()).await;
    let refused = Client::try_open(server.address, Transport::WebSocket, &Open::default()).await;
    assert_eq!(refused.err(), Some(503));
    unknown.send(serde_json::json!({"type": "ping"})).await;
    assert_eq!(unknown.next().await, Err(close::TOKEN_EXPIRED));
    drop(unknown);
    server.until_empty().await;
    let mut gone = Client::open(server.address, Transport::Events, &Open::of("bob")).await;
    gone.next().await.unwrap();
    drop(gone);
    server.until_empty().await;
    let request = http::Request::get("/").header("accept", "text/event-stream").body(()).unwrap();
    let never_polled = server.hub.accept(request, Session::new("eve", vec!["user/eve".into()]));
    publish(&server.hub, "user/eve", [1]).await;
    server.until_empty().await;
    drop(never_polled);
    let mut last = Client::open(server.address, Transport::WebSocket, &Open::of("bob")).await;
    last.next().await.unwrap();
    let drained =
        tokio::join!(server.hub.drain(Duration::from_secs(10)), async { while last.next().await.is_ok() {} });
    drop((drained, last));
    server.until_empty().await;
}
