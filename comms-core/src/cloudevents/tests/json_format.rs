//! JSON envelopes and batches.

use super::*;

#[test]
fn an_error_names_the_invalid_attribute() {
    for name in ["specversion", "id", "source", "type"] {
        let missing = format!("CloudEvents attribute {name:?} is missing");
        assert_refused(with(name, Value::Null), &missing);
        assert_refused(with(name, json!("")), &format!("{name:?} is empty"));
        assert_refused(with(name, json!(7)), &format!("{name:?} is not a string"));
    }
    for (name, value, wanted) in [
        ("specversion", json!("0.3"), "\"specversion\" is not 1.0"),
        ("source", json!("two words"), "\"source\" is not a URI reference"),
        ("source", json!("/%zz"), "\"source\" is not a URI reference"),
        ("source", json!("/%2"), "\"source\" is not a URI reference"),
        ("dataschema", json!("/relative"), "\"dataschema\" is not an absolute URI"),
        ("dataschema", json!("1http://a"), "\"dataschema\" is not an absolute URI"),
        ("datacontenttype", json!("json"), "\"datacontenttype\" is not a media type"),
        ("datacontenttype", json!("text/plain; x=\u{e9}"), "\"datacontenttype\" is not a media type"),
        ("subject", json!(""), "\"subject\" is empty"),
        ("subject", json!("a\u{7}b"), "\"subject\" contains U+0007"),
        ("subject", json!("a\u{fffe}b"), "\"subject\" contains U+FFFE"),
        ("Tenant", json!("a"), "\"Tenant\" has an invalid name"),
        ("my_ext", json!("a"), "\"my_ext\" has an invalid name"),
        ("", json!("a"), "\"\" has an invalid name"),
        ("x", json!(1.5), "\"x\" is not an integer of 32 bits"),
        ("x", json!(2_147_483_648_i64), "\"x\" is not an integer of 32 bits"),
        ("x", json!([1]), "\"x\" is not a boolean, an integer or a string"),
        ("data_base64", json!("%"), "\"data_base64\" is not base64"),
        ("data_base64", json!(7), "\"data_base64\" is not a string"),
    ] {
        assert_refused(with(name, value), wanted);
    }
    for extension in [json!(true), json!(-2_147_483_648_i64), json!("x"), json!("")] {
        assert!(with("extension1", extension).is_ok());
    }
    assert_eq!(with("x", Value::Null).unwrap().get("x"), None, "null is absent");
}

#[test]
fn a_time_follows_rfc_3339() {
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
        assert_refused(with("time", json!(wrong)), "\"time\" is not a time (RFC 3339)");
    }
}

#[test]
fn a_duplicate_member_is_refused() {
    let text = minimal().to_string().replace('}', r#","id":"2"}"#);
    assert_refused(json::decode(text.as_bytes(), &Limits::default()), "\"id\" occurs twice");
    let both = with("data", json!(1)).map(drop).and_then(|()| {
        let text = minimal().to_string().replace('}', r#","data":1,"data_base64":"AA=="}"#);
        json::decode(text.as_bytes(), &Limits::default())
    });
    assert_refused(both, "\"data_base64\" is present together with data");
}

#[test]
fn input_over_a_limit_is_refused() {
    let limits = Limits { bytes: 200, events: 2, attributes: 6, attribute_bytes: 20 };
    let envelope = |extra: &str| minimal().to_string().replace('}', extra);
    let decode = |text: String| json::decode(text.as_bytes(), &limits);
    assert!(decode(envelope(r#","a":"1","b":"2"}"#)).is_ok());
    assert_refused(decode(envelope(r#","a":"1","b":"2","c":"3"}"#)), "7 attributes, but the limit is 6");
    assert!(
        decode(envelope(r#","a":"1","b":"2","c":null,"data":{}}"#)).is_ok(),
        "null and data do not count as attributes"
    );
    assert!(
        decode(envelope(r#","a":"1234567890123456789\u0030"}"#)).is_ok(),
        "an escape counts as the character that it represents"
    );
    assert_refused(
        decode(envelope(r#","a":"123456789012345678901"}"#)),
        "\"a\" has 21 bytes, but the limit is 20",
    );
    assert_refused(
        decode(envelope(r#","a":"1"}"#).replace("/shop", &"/".repeat(21))),
        "\"source\" has 21 bytes",
    );
    assert_refused(decode(envelope(&format!(r#","data":"{}"}}"#, "x".repeat(200)))), "but the limit is 200");
    let small = r#"{"specversion":"1.0","id":"1","source":"/","type":"t"}"#;
    let batch = |n: usize| format!("[{}]", vec![small; n].join(","));
    assert_eq!(json::decode_batch(batch(2).as_bytes(), &limits).unwrap().len(), 2);
    assert_refused(
        json::decode_batch(batch(3).as_bytes(), &limits),
        "3 events in a batch, but the limit is 2",
    );
    assert_refused(json::decode_batch(batch(4).as_bytes(), &limits), "bytes, but the limit is 200");
}

#[test]
fn an_invalid_event_fails_the_batch_with_its_index() {
    let events = [
        CloudEvent::with_id("1", "/a", "t").unwrap(),
        CloudEvent::with_id("2", "/a", "t").unwrap().with_data("image/png", vec![0xFF, 0]).unwrap(),
    ];
    let body = json::encode_batch(&events).unwrap();
    assert_eq!(json::decode_batch(&body, &Limits::default()).unwrap(), events);
    assert_eq!(json::decode_batch(b"[]", &Limits::default()).unwrap(), []);
    let broken = String::from_utf8(body.to_vec()).unwrap().replace(r#""id":"2","#, "");
    assert_refused(
        json::decode_batch(broken.as_bytes(), &Limits::default()),
        "batch[1]: CloudEvents attribute \"id\"",
    );
    assert_refused(json::decode_batch(b"{}", &Limits::default()), "CloudEvents JSON");
}

#[test]
fn data_has_the_form_that_restores_its_bytes() {
    let envelope = |content_type: Option<&str>, data: &'static [u8]| -> Value {
        let mut event = CloudEvent::with_id("1", "/a", "t").unwrap();
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
    let none = json::encode(&CloudEvent::with_id("1", "/a", "t").unwrap()).unwrap();
    assert!(!String::from_utf8(none.to_vec()).unwrap().contains("data"), "a tombstone has no data member");
    assert_refused(
        with("data", json!({})).and_then(|e| e.with("datacontenttype", "text/plain")).and_then(|_| {
            let text = minimal().to_string().replace('}', r#","datacontenttype":"text/plain","data":{}}"#);
            json::decode(text.as_bytes(), &Limits::default())
        }),
        "\"data\" is not a string, although its content type is not JSON",
    );
}
