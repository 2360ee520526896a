//! Golden files.

use super::{compat::paths, *};
use crate::event::compat::Compatibility;

#[test]
fn every_golden_payload_decodes_as_the_newest_version() {
    GoldenFiles::at("tests/golden").check(&versions(), Compatibility::Full).unwrap();
    let wanted = Placed { order_id: "0193a".into(), cents: 4_200, currency: "EUR".into() };
    for version in 1..=3 {
        let payload = std::fs::read_to_string(format!("tests/golden/order.placed.v{version}.json")).unwrap();
        let message = message(&format!("order.placed.v{version}"), &payload);
        assert_eq!(versions().decode(&message).unwrap(), wanted, "v{version}");
    }
}

#[test]
fn each_upcaster_converts_a_golden_payload_into_the_next_one() {
    let golden = |version: u32| -> Value {
        let file = format!("tests/golden/order.placed.v{version}.json");
        serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
    };
    assert_eq!(v1_to_v2(golden(1)).unwrap(), golden(2));
    assert_eq!(v2_to_v3(golden(2)).unwrap(), golden(3));
}

#[test]
fn golden_files_report_missing_versions_broken_payloads_and_wrong_schemas() {
    let folder = std::env::temp_dir().join(format!("golden-{}", Clock::system().uuid_v7()));
    std::fs::create_dir(&folder).unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    let check = || paths(GoldenFiles::at(&folder).check(&versions(), Compatibility::Full));
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

    // Version 1 has no upcaster any more, and version 4 is above the newest version.
    write("order.placed.v4.case.json", "{}");
    write("order.placed.v2.schema.json", "{}");
    let two = Versions::<Placed>::json().upcast(2, v2_to_v3).build().unwrap();
    let found = paths(GoldenFiles::at(&folder).check(&two, Compatibility::Full));
    let unreadable = |file: &str| format!("{file}: its version cannot be read");
    assert_eq!(found, [unreadable("order.placed.v1.json"), unreadable("order.placed.v4.case.json")]);

    // The schema lacks `currency` and has the wrong type for `cents`.
    #[derive(Serialize, Deserialize)]
    struct WrongSchema {
        cents: i64,
        currency: String,
    }
    impl Event for WrongSchema {
        const TYPE: &'static str = "wrong_schema";
        const VERSION: u32 = 1;
        fn key(&self) -> String {
            String::new()
        }
    }
    impl Schema for WrongSchema {
        fn shape() -> Shape {
            Shape::record().required("cents", Shape::String).into()
        }
    }
    write("wrong_schema.v1.json", r#"{"cents":1,"currency":"EUR"}"#);
    write("wrong_schema.v1.schema.json", &WrongSchema::shape().to_string());
    let wrong_schema = Versions::<WrongSchema>::json().with_schema().build().unwrap();
    let found = paths(GoldenFiles::at(&folder).check(&wrong_schema, Compatibility::Full));
    let wanted = [
        "$.cents: encoded again, wrong_schema.v1.json is number, not string",
        "$.currency: encoded again, wrong_schema.v1.json is not in the schema",
    ];
    assert_eq!(found, wanted);
    std::fs::remove_dir_all(&folder).unwrap();
}
