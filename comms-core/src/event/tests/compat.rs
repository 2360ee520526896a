//! The compatibility check, and schemas as JSON Schema.

use proptest::prelude::*;

use super::*;
use crate::event::compat::{Compatibility, Report, compare};

pub(super) fn paths(result: Result<(), Report>) -> Vec<String> {
    result
        .err()
        .map_or(Vec::new(), |r| r.findings.iter().map(|f| format!("{}: {}", f.path, f.change)).collect())
}

/// A change: its name, the old and the new shape, and the expected findings backward and forward.
type Change<'a> = (&'a str, Shape, Shape, &'a [&'a str], &'a [&'a str]);

#[test]
fn changes_are_checked_in_each_direction() {
    use Shape::{Any, Integer, Number, String};
    let record = Shape::record;
    let one: Shape = record().required("a", String).into();
    let list = |items: Shape| -> Shape { record().required("l", Shape::array(items)).into() };
    let field = |shape: Shape| -> Shape { record().required("a", shape).into() };
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
            "two required added, of the same shape as an existing field",
            one.clone(),
            record().required("a", String).required("b", String).required("c", String).into(),
            &["$.b: added as required", "$.c: added as required"],
            none,
        ),
        (
            "one replaced by two",
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
            field(Integer),
            &["$.a: string became integer"],
            &["$.a: string became integer"],
        ),
        ("widened", field(Integer), field(Number), none, &["$.a: integer became number"]),
        ("narrowed", field(Number), field(Integer), &["$.a: number became integer"], none),
        ("opened", field(Integer), field(Any), none, &["$.a: integer became anything"]),
        ("closed", field(Any), field(Integer), &["$.a: anything became integer"], none),
        ("null allowed", one.clone(), field(String.nullable()), none, &["$.a: may now be null"]),
        ("null forbidden", field(String.nullable()), one.clone(), &["$.a: may no longer be null"], none),
        (
            "enum gained",
            field(Shape::one_of(["A"])),
            field(Shape::one_of(["A", "B"])),
            none,
            &["$.a: enum gained B"],
        ),
        (
            "enum lost",
            field(Shape::one_of(["A", "B"])),
            field(Shape::one_of(["A"])),
            &["$.a: enum lost B"],
            none,
        ),
        ("enum became text", field(Shape::one_of(["A"])), one.clone(), none, &["$.a: enum became string"]),
        (
            "nested",
            field(record().required("x", Integer).into()),
            field(record().required("x", String).into()),
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
            field(Shape::map(Number)),
            field(Shape::map(Integer)),
            &["$.a.*: number became integer"],
            none,
        ),
        (
            "type behind null",
            field(Integer.nullable()),
            field(String.nullable()),
            &["$.a: integer became string"],
            &["$.a: integer became string"],
        ),
    ];
    for (change, old, new, backward, forward) in table {
        assert_eq!(
            paths(compare("e.v1", old, new, Compatibility::Backward)),
            *backward,
            "{change}, backward"
        );
        assert_eq!(paths(compare("e.v1", old, new, Compatibility::Forward)), *forward, "{change}, forward");
        let full: Vec<&str> = backward.iter().chain(*forward).copied().collect();
        assert_eq!(paths(compare("e.v1", old, new, Compatibility::Full)), full, "{change}, full");
    }
}

#[test]
fn a_report_contains_path_change_impact_and_remedy() {
    let old = Shape::record().required("price", Shape::Integer).into();
    let new = Shape::record().into();
    let report = compare("order.placed.v1", &old, &new, Compatibility::Forward).unwrap_err();
    let wanted = "order.placed.v1: 1 incompatible\n  \
        $.price: required field removed\n    \
        breaks: old readers require the field\n    \
        do: keep writing the field always, or add a new major version\n";
    assert_eq!(report.to_string(), wanted);
    assert_eq!(format!("{report:?}"), wanted);
}

#[test]
fn a_schema_outside_the_supported_subset_is_refused() {
    for (schema, wanted) in [
        (json!({"type": "string", "maxLength": 3}), "maxLength"),
        (json!({"oneOf": []}), "oneOf"),
        (json!({"type": ["string", "null"]}), "anyOf for null"),
        (json!({"type": "object", "required": ["a"]}), "\"a\" is required but is not in properties"),
        (json!({"type": "tuple"}), "tuple"),
    ] {
        let error = serde_json::from_value::<Shape>(schema).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
    }
    let annotated = json!({"$schema": "x", "title": "t", "description": "d", "type": "integer"});
    assert_eq!(serde_json::from_value::<Shape>(annotated).unwrap(), Shape::Integer);
}

proptest! {
    #[test]
    fn a_shape_round_trips_through_json_schema_and_is_compatible_with_itself(shape in shapes()) {
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
            inner.prop_map(Shape::nullable),
            prop::collection::btree_map("[a-z]{1,4}", field, 0..4).prop_map(Shape::Record),
        ]
    })
}
