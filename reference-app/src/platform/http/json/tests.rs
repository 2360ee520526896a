use std::collections::BTreeMap;

use serde::Deserialize;

use super::*;

#[derive(Debug, Deserialize, Validate)]
#[garde(allow_unvalidated)]
struct Order {
    #[garde(length(min = 1))]
    ad_id: String,
    #[garde(range(min = 1, max = 1_000))]
    quantity: u32,
    #[garde(dive)]
    price: Price,
    note: Option<String>,
    #[serde(default)]
    #[garde(dive)]
    extras: Vec<Price>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    speed: Speed,
}

#[derive(Debug, Deserialize, Validate)]
struct Price {
    #[garde(range(min = 1))]
    minor: i64,
    #[garde(length(equal = 3))]
    currency: String,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Speed {
    #[default]
    Slow,
    Fast,
    Within {
        hours: u8,
    },
    Exactly(u8),
}

/// Returns the status, and the errors as `pointer: detail`.
fn refused(body: &str) -> (u16, Vec<String>) {
    let problem = parse::<Order>(body.as_bytes()).expect_err(body);
    let errors = problem.errors().iter().map(|error| format!("{}: {}", error.pointer, error.detail));
    (problem.status().as_u16(), errors.collect())
}

fn pointers(body: &str) -> Vec<String> {
    let problem = parse::<Order>(body.as_bytes()).expect_err(body);
    assert_eq!(problem.status(), 422, "{body}");
    let mut pointers: Vec<_> = problem.errors().iter().map(|error| error.pointer.clone()).collect();
    pointers.sort();
    pointers
}

#[test]
fn a_complete_body_is_read() {
    let order: Order = parse(
        br#"{"ad_id":"b","quantity":2,"price":{"minor":5,"currency":"RUB"},"note":null,
            "extras":[{"minor":1,"currency":"EUR"}],"labels":{"a/b":"c"},"speed":{"within":{"hours":3}}}"#,
    )
    .unwrap();
    assert_eq!((order.ad_id.as_str(), order.quantity, order.price.minor), ("b", 2, 5));
    assert_eq!((order.note, order.extras.len(), order.labels["a/b"].as_str()), (None, 1, "c"));
    assert_eq!(order.speed, Speed::Within { hours: 3 });
    for (text, speed) in [(r#""fast""#, Speed::Fast), (r#"{"exactly":7}"#, Speed::Exactly(7))] {
        let body =
            format!(r#"{{"ad_id":"b","quantity":2,"price":{{"minor":5,"currency":"RUB"}},"speed":{text}}}"#);
        assert_eq!(parse::<Order>(body.as_bytes()).unwrap().speed, speed, "{text}");
    }
}

#[test]
fn a_list_is_never_read_as_an_object() {
    let object = "An object is needed, not a list.";
    assert_eq!(refused(r#"["a",1,{"minor":1,"currency":"RUB"}]"#), (422, vec![format!(": {object}")]));
    let nested = r#"{"ad_id":"b","quantity":1,"price":[1,"RUB"]}"#;
    assert_eq!(refused(nested), (422, vec![format!("/price: {object}")]));
    let deep = r#"{"ad_id":"b","quantity":1,"price":{"minor":1,"currency":"RUB"},"extras":[[1,"RUB"]]}"#;
    assert_eq!(refused(deep), (422, vec![format!("/extras/0: {object}")]));
}

#[test]
fn all_errors_are_reported_together() {
    let body = r#"{"ad_id":7,"quantity":"many","price":{"minor":1.5,"coupon":1},"extras":[{"minor":0,"currency":"EUR"}],
        "speed":"soon","colour":"red"}"#;
    let (status, mut errors) = refused(body);
    errors.sort();
    let known = "Known: ad_id, quantity, price, note, extras, labels, speed.";
    let expected = [
        "/ad_id: A text is needed, not a number.".to_owned(),
        format!("/colour: This field is not known. {known}"),
        "/extras/0/minor: The number must be at least 1.".to_owned(),
        "/price/coupon: This field is not known. Known: minor, currency.".to_owned(),
        "/price/currency: This field is required.".to_owned(),
        "/price/minor: A whole number is needed, without a fraction.".to_owned(),
        "/quantity: A whole number is needed, not a text.".to_owned(),
        "/speed: One of these texts is needed: slow, fast, within, exactly.".to_owned(),
    ];
    assert_eq!((status, errors), (422, expected.to_vec()));
    assert_eq!(pointers("{}"), ["/ad_id", "/price", "/quantity"]);
    assert_eq!(pointers(r#"{"price":null}"#), ["/ad_id", "/price", "/quantity"]);
}

#[test]
fn a_number_outside_its_range_is_refused() {
    let quantity = |text: &str| {
        let body = format!(r#"{{"ad_id":"b","quantity":{text},"price":{{"minor":1,"currency":"RUB"}}}}"#);
        refused(&body)
    };
    let range = "/quantity: The number must be from 0 to 4294967295.";
    for text in ["-1", "4294967296", "99999999999999999999", "-1e300"] {
        assert_eq!(quantity(text), (422, vec![range.to_owned()]), "{text}");
    }
    assert_eq!(quantity("1e400"), (422, vec!["/quantity: The number is out of range.".to_owned()]));
    for text in ["1.0", "1e2"] {
        assert_eq!(quantity(text).1[0].split(": ").next(), Some("/quantity"), "{text}");
    }
    assert_eq!(quantity("0"), (422, vec!["/quantity: The number must be at least 1.".to_owned()]));
}

#[test]
fn a_duplicate_field_is_refused() {
    let body = r#"{"ad_id":"b","ad_id":"c","quantity":1,"price":{"minor":1,"minor":2,"currency":"RUB"}}"#;
    assert_eq!(pointers(body), ["/ad_id", "/price/minor"]);
    let (_, errors) = refused(body);
    assert_eq!(errors[0], "/ad_id: This field occurs twice. Send it once.");
}

#[test]
fn a_pointer_escapes_field_names() {
    let body =
        r#"{"ad_id":"b","quantity":1,"price":{"minor":1,"currency":"RUB"},"a/b~c":1,"labels":{"x/y":1}}"#;
    assert_eq!(pointers(body), ["/a~1b~0c", "/labels/x~1y"]);
}

#[test]
fn a_syntax_error_is_reported_with_line_and_column() {
    let table = [
        ("{\"ad_id\":", "Line 1, column 9: the text ends too early."),
        ("", "Line 1, column 0: the text ends too early."),
        ("{\n  ad_id: 1}", "Line 2, column 3: this is not JSON."),
        ("{} {}", "Line 1, column 4: the text continues after the value."),
        ("{\"a\":\"\u{0}\"}", "Line 1, column 7: this is not JSON."),
    ];
    for (body, detail) in table {
        let problem = parse::<Order>(body.as_bytes()).unwrap_err();
        assert_eq!((problem.status().as_u16(), problem.detail()), (400, detail), "{body}");
    }
    let deep = "[".repeat(100_000);
    let problem = parse::<Order>(deep.as_bytes()).unwrap_err();
    assert!(problem.detail().ends_with("the value is nested too deeply."), "{}", problem.detail());
}

#[test]
fn the_number_of_errors_in_a_response_is_bounded() {
    let many = (0..1_000).map(|n| format!(r#""f{n}":1"#)).collect::<Vec<_>>().join(",");
    assert_eq!(refused(&format!("{{{many}}}")).1.len(), error_list::MAX_ERRORS);
    let twice = vec![r#""a":1"#; 1_000].join(",");
    assert!(refused(&format!("{{{twice}}}")).1.len() <= error_list::MAX_ERRORS);
}

#[test]
fn no_text_contains_terms_of_rust_or_serde() {
    let jargon = ["invalid", "expected", "struct", "enum", "u32", "i64", "variant of", "serde", "Order"];
    for value in ["null", "true", "1", "1.5", "\"x\"", "[]", "{}", "[1]", "{\"a\":1}", "{\"within\":{}}"] {
        for field in ["ad_id", "quantity", "price", "note", "extras", "labels", "speed"] {
            let Err(problem) = parse::<Order>(format!(r#"{{"{field}":{value}}}"#).as_bytes()) else {
                continue;
            };
            for error in problem.errors() {
                let found = jargon.iter().find(|word| error.detail.contains(**word));
                assert_eq!(found, None, "{field} {value}: {}", error.detail);
            }
        }
    }
}

#[test]
fn json_is_recognized_by_the_media_type() {
    let table = [
        (&["application/json"][..], true),
        (&["application/json; charset=utf-8"], true),
        (&["Application/Merge-Patch+JSON"], true),
        (&["text/plain"], false),
        (&["application/jsonp"], false),
        (&["text/json"], false),
        (&[], false),
        (&["application/json", "text/plain"], false),
    ];
    for (sent, json) in table {
        let mut headers = HeaderMap::new();
        for value in sent {
            headers.append(header::CONTENT_TYPE, HeaderValue::from_static(value));
        }
        assert_eq!(is_json(&headers), json, "{sent:?}");
    }
}
