use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    compat::{Compatibility, Report, compare},
    *,
};
use crate::{ErrorKind, clock::Clock};

/// Version 3; version 2 had cents without currency, version 1 a price as text and `id` for the order.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Placed {
    order_id: String,
    cents: i64,
    currency: String,
}

impl Event for Placed {
    const TYPE: &'static str = "order.placed";
    const VERSION: u32 = 3;
    fn key(&self) -> String {
        self.order_id.clone()
    }
}

impl Schema for Placed {
    fn shape() -> Shape {
        let record = Shape::record().required("order_id", Shape::String).required("cents", Shape::Integer);
        record.required("currency", Shape::String).into()
    }
}

fn v1_to_v2(mut old: Value) -> Result<Value, Error> {
    let price = old["price"].as_str().and_then(|p| p.parse::<i64>().ok());
    let cents = price.ok_or_else(|| Error::invalid("price is no number"))?.saturating_mul(100);
    Ok(json!({ "order_id": old["id"].take(), "cents": cents }))
}

fn v2_to_v3(mut old: Value) -> Result<Value, Error> {
    old["currency"] = json!("EUR");
    Ok(old)
}

fn versions() -> Versions<Placed> {
    Versions::json().upcast(1, v1_to_v2).upcast(2, v2_to_v3).described().build().unwrap()
}

fn message(type_name: &str, payload: &str) -> Message {
    let event = Placed { order_id: "7".into(), cents: 1, currency: "EUR".into() };
    let mut message = EventSource::new("shop", Clock::system()).message(&event).unwrap();
    message.headers.insert(wire::CE_TYPE, type_name.to_owned());
    message.payload = Some(payload.to_owned().into());
    message
}

#[test]
fn every_golden_version_is_read_as_the_newest() {
    Golden::at("tests/golden").check(&versions(), Compatibility::Full).unwrap();
    let wanted = Placed { order_id: "0193a".into(), cents: 4_200, currency: "EUR".into() };
    for version in 1..=3 {
        let payload = std::fs::read_to_string(format!("tests/golden/order.placed.v{version}.json")).unwrap();
        let message = message(&format!("order.placed.v{version}"), &payload);
        assert_eq!(versions().decode(&message).unwrap(), wanted, "v{version}");
    }
}

#[test]
fn each_step_makes_the_next_golden_payload_of_the_one_before() {
    let golden = |version: u32| -> Value {
        let file = format!("tests/golden/order.placed.v{version}.json");
        serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
    };
    assert_eq!(v1_to_v2(golden(1)).unwrap(), golden(2));
    assert_eq!(v2_to_v3(golden(2)).unwrap(), golden(3));
}

#[test]
fn a_version_that_is_not_known_is_refused_with_the_reason() {
    let two = Versions::<Placed>::json().upcast(2, v2_to_v3).build().unwrap();
    let v3 = r#"{"order_id":"7","cents":1,"currency":"EUR"}"#;
    for (versions, type_name, wanted) in [
        (versions(), "order.placed.v4", "order.placed.v4 is newer than v3"),
        (two.clone(), "order.placed.v1", "order.placed.v1 is older than v2"),
        (two.clone(), "order.paid.v3", "\"order.paid.v3\" where order.placed is due"),
        (two, "order.placed.v03", "\"order.placed.v03\" has no version"),
    ] {
        // The payload would decode: it is the version that is refused.
        let error = versions.decode(&message(type_name, v3)).unwrap_err();
        let newer = type_name == "order.placed.v4";
        assert_eq!(error.kind, if newer { ErrorKind::Misconfigured } else { ErrorKind::Invalid });
        assert!(error.chain().to_string().contains(wanted), "{error}");
    }
}

/// By type name: what a reader of one version, and what a reader of three, make of it.
#[test]
fn only_another_event_is_skipped() {
    #[derive(serde::Serialize, serde::Deserialize)]
    struct One {}
    impl Event for One {
        const TYPE: &'static str = "order.placed";
        const VERSION: u32 = 1;
        fn key(&self) -> String {
            String::new()
        }
    }
    let (hold, bad) = (Some(ErrorKind::Misconfigured), Some(ErrorKind::Invalid));
    for (type_name, wanted) in [
        ("order.placed.v2", hold),
        ("order.placed.v99999999999", hold),
        ("order.placed", bad),
        ("order.placed.v", bad),
        ("order.placed.v0", bad),
        ("order.placed.v01", bad),
        ("order.placed.v+1", bad),
        ("order.placed.v1x", bad),
        ("order.placed.vX", bad),
        ("order.placed.v1.2", bad),
        ("order.placed.void", None),
        ("order.placed.void.v1", None),
        ("order.placed.by.v1", None),
        ("order.placedness.v1", None),
        ("order.v1", None),
        ("", None),
    ] {
        let message = message(type_name, "{}");
        match read::<One>(&message) {
            Ok(read) => assert!(read.is_none() && wanted.is_none(), "{type_name}"),
            Err(error) => assert_eq!(Some(error.kind), wanted, "{type_name}: {error}"),
        }
        let registry = Registry::new().register(Versions::<One>::json().build().unwrap()).unwrap();
        match registry.decode(&message) {
            Decoded::Unknown => assert_eq!(wanted, None, "{type_name}"),
            Decoded::Undecodable(error) => assert_eq!(Some(error.kind), wanted, "{type_name}"),
            Decoded::Event(event) => panic!("{type_name}: {event:?}"),
        }
    }
    let mut bytes = message("order.placed.v1", "{}");
    bytes.headers.insert(wire::CE_TYPE, vec![0xFF]);
    assert_eq!(read::<One>(&bytes).map(drop).unwrap_err().kind, ErrorKind::Invalid);
    let mut plain = message("", "{}");
    plain.headers.remove(wire::CE_TYPE);
    assert!(read::<One>(&plain).unwrap().is_none(), "announces no event");
    for envelope in [
        "application/cloudevents-batch+json",
        "Application/CloudEvents+avro",
        " application/cloudevents+avro",
    ] {
        plain.headers.insert(wire::CONTENT_TYPE, envelope);
        let error = read::<One>(&plain).map(drop).unwrap_err();
        assert!(error.kind == ErrorKind::Invalid && error.to_string().contains(envelope), "{error}");
    }
}

#[test]
fn a_newer_version_is_dead_lettered_where_the_application_says_so() {
    let newer = message("order.placed.v4", "{}");
    assert_eq!(versions().read(&newer).map(drop).unwrap_err().kind, ErrorKind::Misconfigured);
    let two = Versions::<Placed>::json().newer(NewerVersion::DeadLetter).build().unwrap();
    let error = two.read(&newer).map(drop).unwrap_err();
    assert!(error.kind == ErrorKind::Invalid && error.to_string().contains("then replay"), "{error}");
    assert!(two.read(&message("order.paid.v4", "{}")).unwrap().is_none());
}

#[test]
fn a_payload_that_cannot_be_lifted_is_invalid_and_says_where_it_failed() {
    let error = versions().decode(&message("order.placed.v1", r#"{"id":"7","price":"much"}"#)).unwrap_err();
    assert_eq!(
        error.chain().to_string(),
        "invalid: decode order.placed (application/json): upcast v1 to v2: price is no number"
    );
    let tombstone = Message { payload: None, ..message("order.placed.v1", "") };
    assert_eq!(versions().decode(&tombstone).unwrap_err().kind, ErrorKind::Invalid);
}

#[test]
fn a_chain_with_a_gap_a_double_or_a_step_too_far_is_refused() {
    let json = Versions::<Placed>::json;
    let event = "order.placed";
    let refused = |builder: VersionsBuilder<Placed>| builder.build().unwrap_err();
    assert_eq!(refused(json().upcast(1, v1_to_v2)), SetupError::Gap { event, from: 2 });
    let double = json().upcast(2, v2_to_v3).upcast(1, v1_to_v2).upcast(2, v2_to_v3);
    assert_eq!(refused(double), SetupError::DuplicateStep { event, from: 2 });
    assert_eq!(refused(json().upcast(3, Ok)), SetupError::BeyondNewest { event, from: 3, newest: 3 });
    let zero = json().upcast(0, Ok).upcast(1, Ok).upcast(2, Ok);
    assert_eq!(refused(zero), SetupError::VersionZero { event });
    assert!(refused(json().upcast(1, Ok)).to_string().contains("no upcaster from version 2 to 3"));
}

#[test]
fn a_type_name_has_one_spelling() {
    assert_eq!(split_type("order.placed.v2"), Some(("order.placed", 2)));
    assert_eq!(split_type("a.v1.v20"), Some(("a.v1", 20)));
    for wrong in ["order.placed", ".v1", "a.v", "a.v+1", "a.v01", "a.v0", "a.v1x", "a.v99999999999", ""] {
        assert_eq!(split_type(wrong), None, "{wrong}");
    }
}

#[test]
fn an_event_has_a_name_that_is_read_again() {
    assert!(is_named("order.placed", 1) && is_named("a", u32::MAX));
    for (name, version) in
        [("", 1), ("order placed", 1), ("order\n", 1), ("bestellung.ge\u{e4}ndert", 1), ("a", 0)]
    {
        assert!(!is_named(name, version), "{name:?} {version}");
    }
}

/// Long enough that the order of the steps shows.
struct Tenth;
impl Event for Tenth {
    const TYPE: &'static str = "tenth";
    const VERSION: u32 = 10;
    fn key(&self) -> String {
        String::new()
    }
}

/// A codec of numbers, to show that the encoding is the codec's.
struct Digits;
impl Codec<Tenth> for Digits {
    fn content_type(&self) -> &'static str {
        "text/x-digits"
    }
    fn encode(&self, _: &Tenth) -> Result<bytes::Bytes, Error> {
        Ok("10".into())
    }
    fn decode(&self, payload: &[u8]) -> Result<Tenth, Error> {
        if payload == b"10" { Ok(Tenth) } else { Err(Error::invalid("not ten")) }
    }
}

fn affine(from: u32) -> impl Fn(Value) -> Result<Value, Error> + Send + Sync + 'static {
    move |value| {
        let number = value.as_i64().ok_or_else(|| Error::invalid("no number"))?;
        Ok(json!(number.wrapping_mul(3).wrapping_add(i64::from(from))))
    }
}

proptest! {
    #[test]
    fn a_chain_is_the_composition_of_its_steps_in_whatever_order_they_were_registered(
        order in Just((1..10_u32).collect::<Vec<_>>()).prop_shuffle(),
        start in 1..=10_u32,
        number: i64,
    ) {
        let builder = order.into_iter().fold(Versions::of(Digits), |b, from| b.upcast(from, affine(from)));
        let lifted = builder.build().unwrap().upcast(start, json!(number)).unwrap();
        let composed = (start..10).fold(json!(number), |value, from| affine(from)(value).unwrap());
        prop_assert_eq!(lifted, composed);
    }

    #[test]
    fn a_shape_survives_its_json_schema_and_is_compatible_with_itself(shape in shapes()) {
        let read: Shape = serde_json::from_str(&shape.to_string()).unwrap();
        prop_assert_eq!(&read, &shape);
        prop_assert!(compare("e.v1", &shape, &read, Compatibility::Full).is_ok());
    }
}

fn shapes() -> impl Strategy<Value = Shape> {
    let leaf = prop_oneof![
        Just(Shape::Any),
        Just(Shape::Boolean),
        Just(Shape::Integer),
        Just(Shape::Number),
        Just(Shape::String),
        prop::collection::btree_set("[A-Z]{1,4}", 1..4).prop_map(Shape::Enum),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        let field = (inner.clone(), any::<bool>()).prop_map(|(shape, required)| Field { shape, required });
        prop_oneof![
            inner.clone().prop_map(Shape::array),
            inner.clone().prop_map(Shape::map),
            inner.prop_map(Shape::or_null),
            prop::collection::btree_map("[a-z]{1,4}", field, 0..4).prop_map(Shape::Record),
        ]
    })
}

#[test]
fn a_codec_of_another_encoding_writes_its_content_type_and_reads_its_bytes() {
    let versions = Versions::of(Digits).build().unwrap();
    let mut message = versions.message(&EventSource::new("here", Clock::system()), &Tenth).unwrap();
    assert_eq!(message.headers.text(wire::CONTENT_TYPE), Some("text/x-digits"));
    assert!(versions.decode(&message).is_ok());
    message.payload = Some("9".into());
    assert!(versions.decode(&message).is_err());
    let older = Versions::of(Digits).upcast(9, Ok).build().unwrap();
    message.headers.insert(wire::CE_TYPE, "tenth.v9");
    let error = older.decode(&message).map(drop).unwrap_err().chain().to_string();
    assert!(error.contains("Codec::decode_raw"), "{error}");
}

#[test]
fn a_registry_decodes_what_it_knows_and_tells_the_rest_apart() {
    let registry = Registry::new().register(versions()).unwrap();
    let registry = registry.register(Versions::of(Digits).build().unwrap()).unwrap();
    let old = message("order.placed.v2", r#"{"order_id":"7","cents":3}"#);
    let Decoded::Event(event) = registry.decode(&old) else { panic!("an event is due") };
    assert!(event.is::<Placed>() && !event.is::<Tenth>());
    let event = event.downcast::<Tenth>().map(drop).unwrap_err();
    assert_eq!(event.downcast::<Placed>().unwrap().currency, "EUR");
    for unknown in ["order.paid.v1", "order.placed.void", ""] {
        assert!(matches!(registry.decode(&message(unknown, "{}")), Decoded::Unknown), "{unknown}");
    }
    for (type_name, payload, kind) in [
        ("order.placed.v4", "{}", ErrorKind::Misconfigured),
        ("order.placed.v3", "\u{7f}", ErrorKind::Invalid),
    ] {
        let message = message(type_name, payload);
        let Decoded::Undecodable(error) = registry.decode(&message) else { panic!("{type_name}") };
        assert_eq!(error.kind, kind);
    }
}

#[test]
fn a_registry_refuses_doubles_and_lists_what_there_is() {
    let registry = Registry::new().register(versions()).unwrap();
    let double = registry.clone().register(Versions::<Placed>::json().build().unwrap()).unwrap_err();
    assert_eq!(double, SetupError::DuplicateEvent { event: "order.placed" });
    assert!(registry.versions::<Placed>().is_some() && registry.versions::<Tenth>().is_none());
    let listed = serde_json::to_value(registry.describe().collect::<Vec<_>>()).unwrap();
    let schema = json!({
        "type": "object",
        "properties": { "order_id": {"type": "string"}, "cents": {"type": "integer"}, "currency": {"type": "string"} },
        "required": ["cents", "currency", "order_id"],
    });
    let wanted = json!([{
        "name": "order.placed", "version": 3, "oldest": 1, "content_type": "application/json", "schema": schema,
    }]);
    assert_eq!(listed, wanted);
}

fn paths(result: Result<(), Report>) -> Vec<String> {
    result
        .err()
        .map_or(Vec::new(), |r| r.findings.iter().map(|f| format!("{}: {}", f.path, f.change)).collect())
}

/// What, old, new, what breaks backward, what breaks forward.
type Change<'a> = (&'a str, Shape, Shape, &'a [&'a str], &'a [&'a str]);

#[test]
fn changes_are_judged_by_the_side_they_break() {
    use Shape::{Any, Integer, Number, String};
    let record = Shape::record;
    let one: Shape = record().required("a", String).into();
    let list = |items: Shape| -> Shape { record().required("l", Shape::array(items)).into() };
    let held = |shape: Shape| -> Shape { record().required("a", shape).into() };
    let none: &[&str] = &[];
    let table: &[Change<'_>] = &[
        ("nothing", one.clone(), one.clone(), none, none),
        (
            "optional added",
            one.clone(),
            record().required("a", String).optional("b", Integer).into(),
            none,
            none,
        ),
        (
            "required added",
            one.clone(),
            record().required("a", String).required("b", Integer).into(),
            &["$.b: added as required"],
            none,
        ),
        (
            "two required added, of a shape that is there already",
            one.clone(),
            record().required("a", String).required("b", String).required("c", String).into(),
            &["$.b: added as required", "$.c: added as required"],
            none,
        ),
        (
            "one made two",
            one.clone(),
            record().required("b", String).required("c", String).into(),
            &["$.b: added as required (renamed from \"a\"?)", "$.c: added as required (renamed from \"a\"?)"],
            &["$.a: required field removed"],
        ),
        (
            "required removed",
            record().required("a", String).required("b", Integer).into(),
            one.clone(),
            none,
            &["$.b: required field removed"],
        ),
        (
            "optional removed",
            record().required("a", String).optional("b", Integer).into(),
            one.clone(),
            none,
            none,
        ),
        (
            "required renamed",
            one.clone(),
            record().required("z", String).into(),
            &["$.z: added as required (renamed from \"a\"?)"],
            &["$.a: required field removed (renamed to \"z\"?)"],
        ),
        (
            "became optional",
            one.clone(),
            record().optional("a", String).into(),
            none,
            &["$.a: became optional"],
        ),
        (
            "became required",
            record().optional("a", String).into(),
            one.clone(),
            &["$.a: became required"],
            none,
        ),
        (
            "type changed",
            one.clone(),
            held(Integer),
            &["$.a: string became integer"],
            &["$.a: string became integer"],
        ),
        ("widened", held(Integer), held(Number), none, &["$.a: integer became number"]),
        ("narrowed", held(Number), held(Integer), &["$.a: number became integer"], none),
        ("opened", held(Integer), held(Any), none, &["$.a: integer became anything"]),
        ("closed", held(Any), held(Integer), &["$.a: anything became integer"], none),
        ("null allowed", one.clone(), held(String.or_null()), none, &["$.a: may now be null"]),
        ("null forbidden", held(String.or_null()), one.clone(), &["$.a: may no longer be null"], none),
        (
            "enum gained",
            held(Shape::one_of(["A"])),
            held(Shape::one_of(["A", "B"])),
            none,
            &["$.a: enum gained B"],
        ),
        (
            "enum lost",
            held(Shape::one_of(["A", "B"])),
            held(Shape::one_of(["A"])),
            &["$.a: enum lost B"],
            none,
        ),
        ("enum became text", held(Shape::one_of(["A"])), one.clone(), none, &["$.a: enum became string"]),
        (
            "nested",
            held(record().required("x", Integer).into()),
            held(record().required("x", String).into()),
            &["$.a.x: integer became string"],
            &["$.a.x: integer became string"],
        ),
        ("array item", list(Integer), list(Number), none, &["$.l[]: integer became number"]),
        (
            "field of an array item",
            list(record().into()),
            list(record().required("x", Integer).into()),
            &["$.l[].x: added as required"],
            none,
        ),
        (
            "map value",
            held(Shape::map(Number)),
            held(Shape::map(Integer)),
            &["$.a.*: number became integer"],
            none,
        ),
        (
            "type behind null",
            held(Integer.or_null()),
            held(String.or_null()),
            &["$.a: integer became string"],
            &["$.a: integer became string"],
        ),
    ];
    for (what, old, new, backward, forward) in table {
        assert_eq!(paths(compare("e.v1", old, new, Compatibility::Backward)), *backward, "{what}, backward");
        assert_eq!(paths(compare("e.v1", old, new, Compatibility::Forward)), *forward, "{what}, forward");
        let full: Vec<&str> = backward.iter().chain(*forward).copied().collect();
        assert_eq!(paths(compare("e.v1", old, new, Compatibility::Full)), full, "{what}, full");
    }
}

#[test]
fn a_report_says_where_what_why_and_what_to_do() {
    let old = Shape::record().required("price", Shape::Integer).into();
    let new = Shape::record().into();
    let report = compare("order.placed.v1", &old, &new, Compatibility::Forward).unwrap_err();
    let wanted = "order.placed.v1: 1 incompatible\n  \
        $.price: required field removed\n    \
        breaks: readers of the old form demand it\n    \
        do: keep writing it always, or a new major version\n";
    assert_eq!(report.to_string(), wanted);
    assert_eq!(format!("{report:?}"), wanted);
}

#[test]
fn a_stored_schema_beyond_the_subset_is_refused_not_half_compared() {
    for (schema, wanted) in [
        (json!({"type": "string", "maxLength": 3}), "maxLength"),
        (json!({"oneOf": []}), "oneOf"),
        (json!({"type": ["string", "null"]}), "anyOf for null"),
        (json!({"type": "object", "required": ["a"]}), "\"a\" is required, but no property"),
        (json!({"type": "tuple"}), "tuple"),
    ] {
        let error = serde_json::from_value::<Shape>(schema).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
    }
    let annotated = json!({"$schema": "x", "title": "t", "description": "d", "type": "integer"});
    assert_eq!(serde_json::from_value::<Shape>(annotated).unwrap(), Shape::Integer);
}

#[test]
fn golden_files_find_a_missing_version_a_broken_payload_and_a_schema_that_lies() {
    let folder = std::env::temp_dir().join(format!("golden-{}", Clock::system().uuid_v7()));
    std::fs::create_dir(&folder).unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    let check = || paths(Golden::at(&folder).check(&versions(), Compatibility::Full));
    write("order.placed.v1.json", r#"{"id":"7","price":"much"}"#);
    write("order.placed.v3.json", r#"{"order_id":"7","cents":1,"currency":"EUR"}"#);
    write("order.placed.v3.other.json", r#"{"order_id":"7"}"#);
    let found = check();
    assert_eq!(found.len(), 4, "{found:#?}");
    assert!(found[0].starts_with("order.placed.v1.json: invalid: upcast v1 to v2"), "{found:#?}");
    assert_eq!(found[1], "order.placed.v2.json: no golden payload");
    assert!(found[2].starts_with("order.placed.v3.other.json: invalid: missing field `cents`"), "{found:#?}");
    assert!(found[3].starts_with("order.placed.v3.schema.json: "), "{found:#?}");

    write("order.placed.v1.json", r#"{"id":"7","price":"1"}"#);
    write("order.placed.v2.json", r#"{"order_id":"7","cents":3}"#);
    std::fs::remove_file(folder.join("order.placed.v3.other.json")).unwrap();
    let released = Shape::record().required("order_id", Shape::String).required("cents", Shape::Integer);
    let released = released.required("currency", Shape::String).required("note", Shape::String);
    write("order.placed.v3.schema.json", &Shape::from(released).to_string());
    assert_eq!(check(), ["$.note: required field removed"]);
    write("order.placed.v3.schema.json", &Placed::shape().to_string());
    assert!(check().is_empty());

    // Without a step version 1 would be read no more; version 4 was there before somebody went back.
    write("order.placed.v4.case.json", "{}");
    write("order.placed.v2.schema.json", "{}");
    let two = Versions::<Placed>::json().upcast(2, v2_to_v3).build().unwrap();
    let found = paths(Golden::at(&folder).check(&two, Compatibility::Full));
    let unread = |file: &str| format!("{file}: its version is not read");
    assert_eq!(found, [unread("order.placed.v1.json"), unread("order.placed.v4.case.json")]);

    // The schema misses `currency` and says text of `cents`; the type is what is written.
    #[derive(Serialize, Deserialize)]
    struct Liar {
        cents: i64,
        currency: String,
    }
    impl Event for Liar {
        const TYPE: &'static str = "liar";
        const VERSION: u32 = 1;
        fn key(&self) -> String {
            String::new()
        }
    }
    impl Schema for Liar {
        fn shape() -> Shape {
            Shape::record().required("cents", Shape::String).into()
        }
    }
    write("liar.v1.json", r#"{"cents":1,"currency":"EUR"}"#);
    write("liar.v1.schema.json", &Liar::shape().to_string());
    let liar = Versions::<Liar>::json().described().build().unwrap();
    let found = paths(Golden::at(&folder).check(&liar, Compatibility::Full));
    let wanted = [
        "$.cents: written again, liar.v1.json is number, not string",
        "$.currency: written again, liar.v1.json is not in the schema",
    ];
    assert_eq!(found, wanted);
    std::fs::remove_dir_all(&folder).unwrap();
}
