use std::fmt;

use ::http::{HeaderMap, HeaderValue};
use proptest::{collection::vec, prelude::*};
use serde_json::{Value, json};

use super::*;
use crate::{
    ErrorKind, Headers, Message,
    context::Context,
    event::{self, Event, EventSource},
    wire,
};

fn minimal() -> Value {
    json!({"specversion": "1.0", "id": "1", "source": "/shop", "type": "order.placed.v1"})
}

/// The event of a minimal envelope with a member set.
fn with(name: &str, value: Value) -> Result<CloudEvent, Error> {
    let mut envelope = minimal();
    envelope[name] = value;
    json::decode(envelope.to_string().as_bytes(), &Limits::default())
}

fn refused(result: Result<impl fmt::Debug, Error>, wanted: &str) {
    let error = result.expect_err(wanted);
    assert_eq!(error.kind, ErrorKind::Invalid);
    let error = error.chain().to_string();
    assert!(error.contains(wanted), "{error}\nwhere {wanted:?} is due");
}

#[test]
fn an_error_names_the_attribute() {
    for name in ["specversion", "id", "source", "type"] {
        let missing = format!("CloudEvents attribute {name:?} is missing");
        refused(with(name, Value::Null), &missing);
        refused(with(name, json!("")), &format!("{name:?} is empty"));
        refused(with(name, json!(7)), &format!("{name:?} is not text"));
    }
    for (name, value, wanted) in [
        ("specversion", json!("0.3"), "\"specversion\" is not 1.0"),
        ("source", json!("two words"), "\"source\" is no URI reference"),
        ("source", json!("/%zz"), "\"source\" is no URI reference"),
        ("source", json!("/%2"), "\"source\" is no URI reference"),
        ("dataschema", json!("/relative"), "\"dataschema\" is no absolute URI"),
        ("dataschema", json!("1http://a"), "\"dataschema\" is no absolute URI"),
        ("datacontenttype", json!("json"), "\"datacontenttype\" is no media type"),
        ("datacontenttype", json!("text/plain; x=\u{e9}"), "\"datacontenttype\" is no media type"),
        ("subject", json!(""), "\"subject\" is empty"),
        ("subject", json!("a\u{7}b"), "\"subject\" holds U+0007"),
        ("subject", json!("a\u{fffe}b"), "\"subject\" holds U+FFFE"),
        ("Tenant", json!("a"), "\"Tenant\" is no name"),
        ("my_ext", json!("a"), "\"my_ext\" is no name"),
        ("", json!("a"), "\"\" is no name"),
        ("x", json!(1.5), "\"x\" is no whole number of 32 bits"),
        ("x", json!(2_147_483_648_i64), "\"x\" is no whole number of 32 bits"),
        ("x", json!([1]), "\"x\" is no boolean, number or string"),
        ("data_base64", json!("%"), "\"data_base64\" is not base64"),
        ("data_base64", json!(7), "\"data_base64\" is no string"),
    ] {
        refused(with(name, value), wanted);
    }
    for extension in [json!(true), json!(-2_147_483_648_i64), json!("x"), json!("")] {
        assert!(with("extension1", extension).is_ok());
    }
    assert_eq!(with("x", Value::Null).unwrap().get("x"), None, "null is absent");
}

#[test]
fn a_time_is_of_rfc_3339() {
    for valid in ["2026-11-21T07:00:00Z", "2026-11-21T07:00:00.123456789+05:30", "2024-02-29T00:00:00-00:00"]
    {
        assert_eq!(with("time", json!(valid)).unwrap().text("time"), Some(valid));
    }
    for wrong in [
        "2026-11-21",
        "2026-11-21T07:00:00",
        "2026-02-29T07:00:00Z",
        "2026-13-01T07:00:00Z",
        "2026-11-21T24:00:00Z",
        "2026-11-21T07:00:00+0530",
        "1795244400",
        "2026-11-21T07:00:00Z ",
    ] {
        refused(with("time", json!(wrong)), "\"time\" is no time (RFC 3339)");
    }
}

#[test]
fn a_member_that_is_there_twice_is_refused() {
    let text = minimal().to_string().replace('}', r#","id":"2"}"#);
    refused(json::decode(text.as_bytes(), &Limits::default()), "\"id\" is there twice");
    let both = with("data", json!(1)).map(drop).and_then(|()| {
        let text = minimal().to_string().replace('}', r#","data":1,"data_base64":"AA=="}"#);
        json::decode(text.as_bytes(), &Limits::default())
    });
    refused(both, "\"data_base64\" stands beside data");
}

#[test]
fn what_is_beyond_a_limit_is_refused() {
    let limits = Limits { bytes: 200, events: 2, attributes: 6, attribute_bytes: 20 };
    let envelope = |extra: &str| minimal().to_string().replace('}', extra);
    let decode = |text: String| json::decode(text.as_bytes(), &limits);
    assert!(decode(envelope(r#","a":"1","b":"2"}"#)).is_ok());
    refused(decode(envelope(r#","a":"1","b":"2","c":"3"}"#)), "7 attributes, but at most 6");
    assert!(
        decode(envelope(r#","a":"1","b":"2","c":null,"data":{}}"#)).is_ok(),
        "neither null nor data is one"
    );
    assert!(
        decode(envelope(r#","a":"1234567890123456789\u0030"}"#)).is_ok(),
        "20 bytes, however they are written"
    );
    refused(decode(envelope(r#","a":"123456789012345678901"}"#)), "\"a\" has 21 bytes, but at most 20");
    refused(decode(envelope(r#","a":"1"}"#).replace("/shop", &"/".repeat(21))), "\"source\" has 21 bytes");
    refused(decode(envelope(&format!(r#","data":"{}"}}"#, "x".repeat(200)))), "but at most 200 are read");
    let small = r#"{"specversion":"1.0","id":"1","source":"/","type":"t"}"#;
    let batch = |n: usize| format!("[{}]", vec![small; n].join(","));
    assert_eq!(json::decode_batch(batch(2).as_bytes(), &limits).unwrap().len(), 2);
    refused(json::decode_batch(batch(3).as_bytes(), &limits), "3 events in a batch, but at most 2");
    refused(json::decode_batch(batch(4).as_bytes(), &limits), "bytes, but at most 200");
}

#[test]
fn a_batch_is_read_whole_or_not_at_all_and_says_where_it_broke() {
    let events = [
        CloudEvent::identified("1", "/a", "t").unwrap(),
        CloudEvent::identified("2", "/a", "t").unwrap().with_data("image/png", vec![0xFF, 0]).unwrap(),
    ];
    let body = json::encode_batch(&events).unwrap();
    assert_eq!(json::decode_batch(&body, &Limits::default()).unwrap(), events);
    assert_eq!(json::decode_batch(b"[]", &Limits::default()).unwrap(), []);
    let broken = String::from_utf8(body.to_vec()).unwrap().replace(r#""id":"2","#, "");
    refused(
        json::decode_batch(broken.as_bytes(), &Limits::default()),
        "batch[1]: CloudEvents attribute \"id\"",
    );
    refused(json::decode_batch(b"{}", &Limits::default()), "CloudEvents JSON");
}

#[test]
fn data_stands_where_the_same_bytes_come_back() {
    let envelope = |content_type: Option<&str>, data: &'static [u8]| -> Value {
        let mut event = CloudEvent::identified("1", "/a", "t").unwrap();
        event = match content_type {
            Some(content_type) => event.with_data(content_type, data).unwrap(),
            None => CloudEvent { data: Some(Bytes::from_static(data)), ..event },
        };
        let body = json::encode(&event).unwrap();
        assert_eq!(json::decode(&body, &Limits::default()).unwrap(), event, "{content_type:?} {data:?}");
        serde_json::from_slice(&body).unwrap()
    };
    let json = Some("application/vnd.acme+json; charset=utf-8");
    assert_eq!(envelope(json, br#"{"b":1, "a":1e2}"#)["data"], json!({"a": 100.0, "b": 1}));
    assert_eq!(envelope(None, br#""text""#)["data"], "text");
    assert_eq!(envelope(Some("text/plain"), b"\"quoted\"")["data"], "\"quoted\"");
    assert_eq!(envelope(json, b" {}")["data_base64"], "IHt9");
    assert_eq!(envelope(json, b"null")["data_base64"], "bnVsbA==");
    assert_eq!(envelope(json, b"{broken")["data_base64"], "e2Jyb2tlbg==");
    assert_eq!(envelope(Some("text/plain"), b"\xff")["data_base64"], "/w==");
    assert_eq!(envelope(Some("image/png"), b"ascii")["data_base64"], "YXNjaWk=");
    assert_eq!(envelope(json, b"")["data_base64"], "");
    let none = json::encode(&CloudEvent::identified("1", "/a", "t").unwrap()).unwrap();
    assert!(!String::from_utf8(none.to_vec()).unwrap().contains("data"), "a tombstone has no member");
    refused(
        with("data", json!({})).and_then(|e| e.with("datacontenttype", "text/plain")).and_then(|_| {
            let text = minimal().to_string().replace('}', r#","datacontenttype":"text/plain","data":{}}"#);
            json::decode(text.as_bytes(), &Limits::default())
        }),
        "\"data\" is no string, but its content type is not JSON",
    );
}

fn headers(entries: &[(&'static str, &str)]) -> HeaderMap {
    let required = [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/a"), ("ce-type", "t")];
    let mut headers = HeaderMap::new();
    for (name, value) in required.iter().chain(entries) {
        headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    headers
}

/// Examples of the binding, section 3.1.3.2, and its quoted strings.
#[test]
fn http_values_are_unquoted_and_percent_decoded() {
    for (value, wanted) in [
        ("Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"),
        ("\"a%20b\"", "a b"),
        ("\"say \\\"hi\\\"\"", "say \"hi\""),
        ("%e2%82%ac", "€"),
        ("100%", "100%"),
        ("", ""),
    ] {
        let events = http::decode(&headers(&[("ce-x", value)]), Bytes::new(), &Limits::default()).unwrap();
        assert_eq!(events[0].text("x"), Some(wanted), "{value}");
    }
    let event = CloudEvent::identified("1", "/a", "t").unwrap().with("x", "Euro € 😀 \"%").unwrap();
    assert_eq!(http::encode(&event).unwrap().0["ce-x"], "Euro%20%E2%82%AC%20%F0%9F%98%80%20%22%25");
}

#[test]
fn http_refuses_what_is_no_event_and_names_the_attribute() {
    let decode = |headers: &HeaderMap| http::decode(headers, Bytes::new(), &Limits::default());
    for (entry, wanted) in [
        (("ce-x", "%ff"), "\"x\" is not UTF-8"),
        (("ce-x", "\"open"), "\"x\" opens a quote"),
        (("ce-x", "\"a\"b\""), "\"x\" opens a quote"),
        (("ce-x", "%07"), "\"x\" holds U+0007"),
        (("ce-id", "2"), "\"id\" is there twice"),
        (("ce-my-ext", "2"), "\"my-ext\" is no name"),
        (("ce-data", "2"), "\"data\" is no name"),
        (("ce-datacontenttype", "text/plain"), "\"datacontenttype\" is the header content-type"),
        (("ce-time", "now"), "\"time\" is no time"),
        (("content-type", "application/cloudevents+avro"), "only JSON is read"),
    ] {
        refused(decode(&headers(&[entry])), wanted);
    }
    let twice = headers(&[("content-type", "text/plain"), ("content-type", json::CONTENT_TYPE)]);
    refused(decode(&twice), "\"datacontenttype\" is there twice");
    let mut incomplete = headers(&[]);
    incomplete.remove("ce-type");
    refused(decode(&incomplete), "\"type\" is missing");
    incomplete.remove("ce-specversion");
    refused(decode(&incomplete), "no CloudEvent");
    let limits = Limits { attributes: 4, attribute_bytes: 3, ..Limits::default() };
    refused(http::decode(&headers(&[("ce-x", "1")]), Bytes::new(), &limits), "5 attributes, but at most 4");
    let limits = Limits { attributes: 5, ..limits };
    refused(http::decode(&headers(&[("ce-x", "1234")]), Bytes::new(), &limits), "\"x\" has 4 bytes");
    let typed = headers(&[("content-type", "a/bc")]);
    refused(http::decode(&typed, Bytes::new(), &limits), "\"datacontenttype\" has 4 bytes");
    let limits = Limits { bytes: 3, ..Limits::default() };
    refused(http::decode(&typed, "1234".into(), &limits), "4 bytes, but at most 3");
}

#[test]
fn http_knows_the_three_modes_by_the_content_type() {
    let event = CloudEvent::identified("1", "/a", "t").unwrap().with_data("text/plain", "x").unwrap();
    let decode = |content_type: &str, body: Bytes| {
        let headers = HeaderMap::from_iter([(::http::header::CONTENT_TYPE, content_type.parse().unwrap())]);
        http::decode(&headers, body, &Limits::default()).unwrap()
    };
    let structured = json::encode(&event).unwrap();
    assert_eq!(
        decode("Application/CloudEvents+JSON; charset=utf-8", structured),
        std::slice::from_ref(&event)
    );
    let batch = json::encode_batch(&[event.clone(), event.clone()]).unwrap();
    assert_eq!(decode(json::BATCH_CONTENT_TYPE, batch), [event.clone(), event.clone()]);
    let (headers, body) = http::encode(&event).unwrap();
    assert_eq!(http::decode(&headers, body, &Limits::default()).unwrap(), [event]);
}

#[test]
fn over_http_a_tombstone_is_no_empty_data() {
    let tombstone = CloudEvent::identified("1", "/a", "t").unwrap();
    let empty = tombstone.clone().with_data("text/plain", "").unwrap();
    for event in [&tombstone, &empty] {
        let (headers, body) = http::encode(event).unwrap();
        assert_eq!(http::decode(&headers, body, &Limits::default()).unwrap(), std::slice::from_ref(event));
    }
    let untyped = CloudEvent { data: Some(Bytes::new()), ..tombstone.clone() };
    refused(http::encode(&untyped), "empty data without it cannot be told from no data");
    let typed = tombstone.clone().with("datacontenttype", "text/plain").unwrap();
    let (headers, body) = http::encode(&typed).unwrap();
    assert_eq!(http::decode(&headers, body, &Limits::default()).unwrap(), [tombstone]);
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Placed {
    order_id: String,
}

impl Event for Placed {
    const TYPE: &'static str = "order.placed";
    const VERSION: u32 = 1;
    fn key(&self) -> String {
        self.order_id.clone()
    }
}

#[tokio::test]
async fn an_event_of_this_house_carries_key_trace_correlation_and_cause() {
    let clock = Clock::manual(std::time::Duration::from_secs(1_700_000_000));
    let make = || EventSource::new("shop", clock.clone()).message(&Placed { order_id: "7".into() }).unwrap();
    let first = make();
    let caused = Context::of_message(&first, &clock).scope(async { make() }).await;
    let event = CloudEvent::from_message(&caused, &Limits::default()).unwrap();
    let identity = format!("shop/{}", first.id);
    assert_eq!(event.text(CORRELATION_ID), Some(&*identity));
    assert_eq!(event.text(CAUSATION_ID), Some(&*identity));
    assert_eq!(event.text(PARTITION_KEY), Some("7"));
    assert_eq!(event.text("traceparent"), caused.headers.text(wire::TRACEPARENT));
    assert_eq!(event.text("time"), Some("2023-11-14T22:13:20.000Z"));
    let body = json::encode(&event).unwrap();
    let back = json::decode(&body, &Limits::default()).unwrap().into_message("order.placed");
    assert_eq!(sorted(&back), sorted(&caused));
    assert_eq!(event::decode::<Placed>(&back).unwrap().order_id, "7");
}

#[test]
fn a_message_that_carries_an_envelope_is_opened_and_keeps_its_key() {
    let inner = CloudEvent::identified("1", "/a", "t").unwrap().with_data("text/plain", "x").unwrap();
    let mut message = inner.clone().into_message("topic");
    message.headers = Headers::from_iter([(wire::CONTENT_TYPE, json::CONTENT_TYPE)]);
    message.payload = Some(json::encode(&inner).unwrap());
    message.key = Some("k".into());
    message.id = "topic-0-7".into();
    let opened = CloudEvent::from_message(&message, &Limits::default()).unwrap();
    assert_eq!(opened, inner.with(PARTITION_KEY, "k").unwrap());
    message.headers.insert(wire::CONTENT_TYPE, json::BATCH_CONTENT_TYPE);
    refused(CloudEvent::from_message(&message, &Limits::default()), "a batch of CloudEvents");
}

#[test]
fn a_message_that_is_no_event_is_refused_and_an_undecodable_one_is_carried() {
    let message = CloudEvent::identified("1", "/a", "t").unwrap().into_message("topic");
    let read = |message: &Message| CloudEvent::from_message(message, &Limits::default());
    let broken = |name: &'static str, value: &'static [u8]| {
        let mut message = message.clone();
        message.headers.insert(name, Bytes::from_static(value));
        message
    };
    refused(read(&broken("ce_x", b"\xff")), "\"x\" is not UTF-8");
    refused(read(&broken("ce_My", b"a")), "\"My\" is no name");
    refused(read(&broken("ce_specversion", b"2.0")), "\"specversion\" is not 1.0");
    refused(read(&Message { key: Some(Bytes::from_static(b"\xff")), ..message.clone() }), "\"partitionkey\"");
    refused(read(&Message { id: "".into(), ..message.clone() }), "\"id\" is empty");
    let limits = Limits { bytes: 3, ..Limits::default() };
    let large = Message { payload: Some("1234".into()), ..message.clone() };
    refused(CloudEvent::from_message(&large, &limits), "4 bytes, but at most 3");
    let limits = Limits { attributes: 5, attribute_bytes: 3, ..Limits::default() };
    assert!(CloudEvent::from_message(&broken("ce_x", b"a"), &limits).is_ok());
    let two = Message { key: Some("k".into()), ..broken("ce_x", b"a") };
    refused(CloudEvent::from_message(&two, &limits), "6 attributes, but at most 5");
    refused(CloudEvent::from_message(&broken("ce_x", b"abcd"), &limits), "\"x\" has 4 bytes");
    let keyed = Message { key: Some("abcd".into()), ..message.clone() };
    refused(CloudEvent::from_message(&keyed, &limits), "\"partitionkey\" has 4 bytes");

    let mut garbage = broken(wire::CONTENT_TYPE, b"application/json");
    garbage.headers.insert(wire::CE_TYPE, "order.placed.v1");
    garbage.payload = Some(Bytes::from_static(b"\x00\xff{"));
    let carried = read(&garbage).unwrap().into_message("topic");
    assert_eq!(carried.payload, garbage.payload);
    assert_eq!(event::decode::<Placed>(&carried).map(drop).unwrap_err().kind, ErrorKind::Invalid);
}

#[test]
fn the_header_at_home_counts_before_its_prefixed_twin() {
    let mut message = CloudEvent::identified("1", "/a", "t").unwrap().into_message("topic");
    message.headers.append("ce_traceparent", "foreign");
    let read = |message: &Message| CloudEvent::from_message(message, &Limits::default()).unwrap();
    assert_eq!(read(&message).text("traceparent"), Some("foreign"));
    let mut both = Headers::from_iter([(wire::TRACEPARENT, "hop")]);
    message.headers.iter().for_each(|(name, value)| both.append(name.to_owned(), value.clone()));
    message.headers = both;
    assert_eq!(read(&message).text("traceparent"), Some("hop"));
}

/// A message with its headers in one order: an event has no order of attributes.
fn sorted(message: &Message) -> (Message, Vec<(String, Bytes)>) {
    let mut headers: Vec<_> = message.headers.iter().map(|(n, v)| (n.to_owned(), v.clone())).collect();
    headers.sort();
    (Message { headers: Headers::new(), ..message.clone() }, headers)
}

/// Text that an attribute may hold, of all Unicode.
fn text() -> impl Strategy<Value = String> {
    let allowed = |c: char| if check("x", &c.to_string().into()).is_ok() { c } else { '\u{2028}' };
    vec(any::<char>().prop_map(allowed), 1..12).prop_map(|chars| chars.into_iter().collect())
}

fn payloads() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        vec(any::<u8>(), 0..40).prop_map(Bytes::from),
        any::<String>().prop_map(Bytes::from),
        (any::<i64>(), any::<String>())
            .prop_map(|(n, s)| json!({"n": n, "s": s, "l": [null, 1.5]}).to_string().into()),
        Just(Bytes::from_static(b" { \"b\" : 1e2,\n\"a\":0.10 }")),
        Just(Bytes::from_static(b"{\"b\":1e2, \"a\" :0.10,\"a\":2}")),
        Just(Bytes::from_static(b"null")),
    ]
}

fn content_types() -> impl Strategy<Value = Option<&'static str>> {
    prop::sample::select(vec![
        None,
        Some("application/json"),
        Some("application/vnd.a+json; v=1"),
        Some("text/plain; charset=utf-8"),
        Some("application/octet-stream"),
    ])
}

prop_compose! {
    fn messages()(
        id in text(), event_type in text(), source in "[a-z0-9:/?#@!$&'()*+,;=._~-]{1,20}",
        subject in prop::option::of(text()), key in prop::option::of(text()),
        extensions in prop::collection::btree_map("[a-z][a-z0-9]{0,19}x", text(), 0..5),
        trace in prop::option::of("[0-9a-f-]{1,55}"),
        content_type in content_types(), payload in prop::option::of(payloads()),
    ) -> Message {
        let mut headers = Headers::from_iter([(wire::CE_SPECVERSION, "1.0".to_owned()), (wire::CE_TYPE, event_type)]);
        headers.append(wire::CE_TIME, "2026-11-21T07:00:00.123+01:00");
        let optional = [
            (wire::CONTENT_TYPE, content_type.map(str::to_owned)), ("ce_subject", subject), (wire::TRACEPARENT, trace),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                headers.append(name, value);
            }
        }
        for (name, value) in extensions {
            headers.append(format!("ce_{name}"), value);
        }
        let (source, id, topic) = (source.into(), id.into(), "topic".into());
        Message { source, id, topic, key: key.map(Bytes::from), headers, payload }
    }
}

#[test]
fn what_a_reader_takes_at_its_limits_every_other_takes() {
    let limits = Limits::default();
    let value = "\u{e9}\"\\%"
        .repeat(limits.attribute_bytes)
        .chars()
        .take(limits.attribute_bytes / 2)
        .collect::<String>();
    let value = format!("{value}{}", "x".repeat(limits.attribute_bytes - value.len()));
    let mut message = CloudEvent::identified("1", "/a", "t").unwrap().into_message("topic");
    (4..limits.attributes).for_each(|n| message.headers.append(format!("ce_x{n}"), value.clone()));
    let event = CloudEvent::from_message(&message, &limits).unwrap();
    assert_eq!(json::decode(&json::encode(&event).unwrap(), &limits).unwrap(), event);
    let (headers, body) = http::encode(&event).unwrap();
    assert_eq!(http::decode(&headers, body, &limits).unwrap(), [event]);
    message.headers.append("ce_more", "x");
    refused(CloudEvent::from_message(&message, &limits), "65 attributes, but at most 64");
}

proptest! {
    #[test]
    fn a_message_survives_the_json_envelope_byte_for_byte(message in messages()) {
        let event = CloudEvent::from_message(&message, &Limits::default()).unwrap();
        let read = json::decode(&json::encode(&event).unwrap(), &Limits::default()).unwrap();
        prop_assert_eq!(&read, &event);
        prop_assert_eq!(sorted(&read.into_message("topic")), sorted(&message));
    }

    #[test]
    fn a_message_survives_http_headers_byte_for_byte(message in messages()) {
        let event = CloudEvent::from_message(&message, &Limits::default()).unwrap();
        let content_type = message.headers.get(wire::CONTENT_TYPE);
        if message.payload.as_ref().is_some_and(Bytes::is_empty) && content_type.is_none() {
            prop_assert!(http::encode(&event).is_err());
            return Ok(());
        }
        let (headers, body) = http::encode(&event).unwrap();
        prop_assert!(headers.values().all(|v| v.to_str().is_ok()), "visible ASCII only");
        let read = http::decode(&headers, body, &Limits::default()).unwrap().remove(0);
        let mut wanted = message.clone();
        if wanted.payload.is_none() {
            wanted.headers.remove(wire::CONTENT_TYPE);
        }
        prop_assert_eq!(sorted(&read.into_message("topic")), sorted(&wanted));
    }

    #[test]
    fn bytes_from_outside_are_an_event_or_an_error_and_what_is_read_can_be_written(
        bytes in vec(any::<u8>(), 0..200),
        name in ".{0,8}",
        value in any::<String>(),
    ) {
        let _ = json::decode(&bytes, &Limits::default());
        let _ = json::decode_batch(&bytes, &Limits::default());
        if let Ok(event) = with(&name, json!(value)) {
            let again = json::decode(&json::encode(&event).unwrap(), &Limits::default()).unwrap();
            prop_assert_eq!(again, event);
        }
        if let Ok(value) = HeaderValue::from_bytes(&bytes) {
            let mut headers = headers(&[]);
            headers.insert("ce-x", value);
            if let Ok(events) = http::decode(&headers, Bytes::new(), &Limits::default()) {
                let (headers, body) = http::encode(&events[0]).unwrap();
                prop_assert_eq!(http::decode(&headers, body, &Limits::default()).unwrap(), events);
            }
        }
    }
}
