//! The HTTP binding.

use super::*;

/// The examples of section 3.1.3.2 of the binding, and quoted strings.
#[test]
fn header_values_are_unquoted_and_percent_decoded() {
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
    let event = CloudEvent::with_id("1", "/a", "t").unwrap().with("x", "Euro € 😀 \"%").unwrap();
    assert_eq!(http::encode(&event).unwrap().0["ce-x"], "Euro%20%E2%82%AC%20%F0%9F%98%80%20%22%25");
}

#[test]
fn invalid_headers_are_refused_with_the_attribute() {
    let decode = |headers: &HeaderMap| http::decode(headers, Bytes::new(), &Limits::default());
    for (entry, wanted) in [
        (("ce-x", "%ff"), "\"x\" is not UTF-8"),
        (("ce-x", "\"open"), "\"x\" opens a quote"),
        (("ce-x", "\"a\"b\""), "\"x\" opens a quote"),
        (("ce-x", "%07"), "\"x\" contains U+0007"),
        (("ce-id", "2"), "\"id\" occurs twice"),
        (("ce-my-ext", "2"), "\"my-ext\" has an invalid name"),
        (("ce-data", "2"), "\"data\" has an invalid name"),
        (("ce-datacontenttype", "text/plain"), "\"datacontenttype\" must be the header content-type"),
        (("ce-time", "now"), "\"time\" is not a time"),
        (("content-type", "application/cloudevents+avro"), "send JSON"),
    ] {
        assert_refused(decode(&headers(&[entry])), wanted);
    }
    let twice = headers(&[("content-type", "text/plain"), ("content-type", json::CONTENT_TYPE)]);
    assert_refused(decode(&twice), "\"datacontenttype\" occurs twice");
    let mut incomplete = headers(&[]);
    incomplete.remove("ce-type");
    assert_refused(decode(&incomplete), "\"type\" is missing");
    incomplete.remove("ce-specversion");
    assert_refused(decode(&incomplete), "not a CloudEvent");
    let limits = Limits { attributes: 4, attribute_bytes: 3, ..Limits::default() };
    assert_refused(
        http::decode(&headers(&[("ce-x", "1")]), Bytes::new(), &limits),
        "5 attributes, but the limit is 4",
    );
    let limits = Limits { attributes: 5, ..limits };
    assert_refused(http::decode(&headers(&[("ce-x", "1234")]), Bytes::new(), &limits), "\"x\" has 4 bytes");
    let typed = headers(&[("content-type", "a/bc")]);
    assert_refused(http::decode(&typed, Bytes::new(), &limits), "\"datacontenttype\" has 4 bytes");
    let limits = Limits { bytes: 3, ..Limits::default() };
    assert_refused(http::decode(&typed, "1234".into(), &limits), "4 bytes, but the limit is 3");
}

#[test]
fn the_content_type_selects_the_mode() {
    let event = CloudEvent::with_id("1", "/a", "t").unwrap().with_data("text/plain", "x").unwrap();
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
fn a_tombstone_differs_from_empty_data() {
    let tombstone = CloudEvent::with_id("1", "/a", "t").unwrap();
    let empty = tombstone.clone().with_data("text/plain", "").unwrap();
    for event in [&tombstone, &empty] {
        let (headers, body) = http::encode(event).unwrap();
        assert_eq!(http::decode(&headers, body, &Limits::default()).unwrap(), std::slice::from_ref(event));
    }
    let untyped = CloudEvent { data: Some(Bytes::new()), ..tombstone.clone() };
    assert_refused(http::encode(&untyped), "empty data cannot be distinguished from no data");
    let typed = tombstone.clone().with("datacontenttype", "text/plain").unwrap();
    let (headers, body) = http::encode(&typed).unwrap();
    assert_eq!(http::decode(&headers, body, &Limits::default()).unwrap(), [tombstone]);
}
