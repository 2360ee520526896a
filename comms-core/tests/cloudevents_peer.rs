//! Interoperability of CloudEvents with the Python package `cloudevents`: each side decodes what the other encoded, in
//! every mode.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    env,
    io::Write,
    process::{Command, Stdio},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use comms_core::{
    Headers, Message, MessageParts,
    bytes::Bytes,
    cloudevents::{Attribute, CloudEvent, Limits, PARTITION_KEY, http, json},
    http::{HeaderMap, HeaderName, HeaderValue},
};
use serde_json::{Value, json};

const TIME: &str = "2026-11-21T07:00:00.123Z";

fn events() -> Vec<CloudEvent> {
    let event = |id: &str| CloudEvent::with_id(id, "/shop?q=a%20b", "order.placed.v1").unwrap();
    let timed = |id: &str| event(id).with("time", TIME).unwrap();
    let json =
        r#"{"order_id": "7", "note": "Größe € 😀", "lines": [{"sku": "a", "price": 12.5}], "none": null}"#;
    vec![
        timed("1").with_data("application/json", json).unwrap(),
        timed("2")
            .with("subject", "100% \"Größe\" 😀, done\\")
            .and_then(|e| e.with("dataschema", "https://example.com/schema#1"))
            .and_then(|e| e.with("correlationid", "shop/1"))
            .and_then(|e| e.with("causationid", "shop/Ü 1"))
            .and_then(|e| e.with("partitionkey", "Schlüssel"))
            .and_then(|e| e.with("sequence", 7))
            .and_then(|e| e.with_data("application/vnd.acme+json", json))
            .unwrap(),
        timed("Ü3").with_data("text/plain; charset=utf-8", "grüße\nund \"so\"").unwrap(),
        timed("4").with_data("application/octet-stream", vec![0, 0xFF, 0xC3, 0x28, 10]).unwrap(),
        timed("5"),
    ]
}

fn data_of(event: &CloudEvent) -> Value {
    let Some(data) = event.data() else { return Value::Null };
    match event.text("datacontenttype").is_some_and(|c| c.contains("json")) {
        true => json!({ "json": serde_json::from_slice::<Value>(data).unwrap() }),
        false => json!({ "base64": STANDARD.encode(data) }),
    }
}

/// Returns the event as the script represents it. With `typed`, an integer attribute stays a number, for the script to
/// encode; otherwise every attribute is text.
fn to_json(event: &CloudEvent, typed: bool) -> Value {
    let mut attributes = json!({
        "specversion": "1.0", "id": event.id(), "source": event.source(), "type": event.event_type(),
    });
    for (name, value) in event.attributes() {
        attributes[name] = match value {
            Attribute::Integer(number) if typed => json!(number),
            other => json!(other.to_string()),
        };
    }
    // The Python package writes microseconds.
    if let Some(time) = attributes["time"].as_str().map(|t| t.replace(".123000Z", ".123Z")) {
        attributes["time"] = json!(time);
    }
    json!({ "attributes": attributes, "data": data_of(event) })
}

/// Returns the script's input for `event`: the event in every mode.
fn case(event: &CloudEvent) -> Value {
    let (headers, body) = http::encode(event).unwrap();
    let http_headers: BTreeMap<&str, &str> =
        headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    let message = event.clone().into_message("orders");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut kafka_headers: BTreeMap<&str, String> =
        message.headers().iter().map(|(name, value)| (name, text(value))).collect();
    kafka_headers.insert("ce_id", message.id().to_owned());
    kafka_headers.insert("ce_source", message.source().to_owned());
    let mut case = to_json(event, true);
    case["structured"] = json!(text(&json::encode(event).unwrap()));
    case["http_headers"] = json!(http_headers);
    case["kafka_headers"] = json!(kafka_headers);
    case["key"] = json!(message.key().map(text));
    case["body"] = json!(STANDARD.encode(body));
    case
}

/// Runs the script on `cases` and returns its results in the same order.
fn run_peer(cases: &[Value]) -> Vec<Value> {
    let python = env::var("COMMS_TEST_PYTHON").expect(
        "COMMS_TEST_PYTHON is not set: run scripts/test, or export COMMS_TEST_PYTHON=\"$(scripts/python)\"",
    );
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peer/cloudevents_peer.py");
    let mut child = Command::new(&python)
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("COMMS_TEST_PYTHON={python}: {e}"));
    child.stdin.take().unwrap().write_all(json!(cases).to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "the script failed: see its output above");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn headers_of(value: &Value) -> BTreeMap<String, String> {
    serde_json::from_value(value.clone()).unwrap()
}

#[test]
#[ignore = "needs Python packages; run scripts/test"]
fn each_implementation_decodes_what_the_other_encoded() {
    let (events, limits) = (events(), Limits::default());
    let results = run_peer(&events.iter().map(case).collect::<Vec<_>>());
    assert_eq!(results.len(), events.len());
    for (event, result) in events.iter().zip(&results) {
        let wanted = to_json(event, false);
        for mode in ["structured", "http", "kafka"] {
            assert_eq!(result["read"][mode], wanted, "the peer decodes {mode}");
        }

        let written = &result["written"];
        let structured = json::decode(written["structured"].as_str().unwrap().as_bytes(), &limits).unwrap();
        assert_eq!(to_json(&structured, false), wanted, "this crate decodes structured");

        let body = Bytes::from(STANDARD.decode(written["body"].as_str().unwrap()).unwrap());
        let headers: HeaderMap = headers_of(&written["http_headers"])
            .into_iter()
            .map(|(n, v)| (HeaderName::try_from(n).unwrap(), HeaderValue::try_from(v).unwrap()))
            .collect();
        let read = http::decode(&headers, body.clone(), &limits).unwrap();
        assert_eq!(read.len(), 1, "this crate decodes http");
        assert_eq!(to_json(&read[0], false), wanted, "this crate decodes http");

        let mut headers = headers_of(&written["kafka_headers"]);
        let mut take = |name: &str| headers.remove(name).unwrap();
        let (id, source) = (take("ce_id"), take("ce_source"));
        let message = Message::new(MessageParts {
            id: &id,
            source: &source,
            topic: "orders",
            key: written["key"].as_str().map(str::as_bytes),
            headers: Headers::from_iter(headers).view(),
            // The Python package has no tombstones: it writes an event without data as an empty record value.
            payload: Some(&body[..]).filter(|body| !body.is_empty()),
        });
        let read = CloudEvent::from_message(&message, &limits).unwrap();
        assert_eq!(to_json(&read, false), wanted, "this crate decodes kafka");
        assert_eq!(read.text(PARTITION_KEY), event.text(PARTITION_KEY));
    }
}
