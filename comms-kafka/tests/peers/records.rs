//! Records as the peers represent them, and the records that the tests write.

use std::collections::BTreeMap;

use comms_core::{Delivery, wire};
use serde_json::{Value, json};

/// A record. `place` is its partition and offset, and `None` before it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    pub place: Option<(i32, i64)>,
}

/// Records by partition and offset, without the places in them.
pub type ByPlace = BTreeMap<(i32, i64), Record>;

pub fn by_place(records: impl IntoIterator<Item = Record>) -> ByPlace {
    records.into_iter().map(|record| (record.place.unwrap(), Record { place: None, ..record })).collect()
}

impl Record {
    pub fn new(key: Option<&[u8]>, value: Option<&[u8]>) -> Self {
        let owned = |bytes: &[u8]| bytes.to_vec();
        Self { key: key.map(owned), value: value.map(owned), headers: Vec::new(), place: None }
    }

    pub fn header(mut self, name: &str, value: Option<&[u8]>) -> Self {
        self.headers.push((name.to_owned(), value.map(<[u8]>::to_vec)));
        self
    }

    /// Returns the record as this crate reads it: a header with a null value is an empty header, and the identity is
    /// not in the headers.
    pub fn as_read(&self) -> Self {
        let identified = |name: &str| self.headers.iter().any(|(other, _)| other == name);
        let both = identified(wire::CE_ID) && identified(wire::CE_SOURCE);
        let kept = self.headers.iter().filter(|(name, _)| !both || !is_identity(name));
        let headers = kept.map(|(name, value)| (name.clone(), Some(value.clone().unwrap_or_default())));
        Self { headers: headers.collect(), ..self.clone() }
    }

    pub fn to_json(&self) -> Value {
        let headers: Vec<_> =
            self.headers.iter().map(|(name, value)| json!([name, encoded(value)])).collect();
        json!({ "key": encoded(&self.key), "value": encoded(&self.value), "headers": headers })
    }

    pub fn from_json(value: &Value) -> Self {
        let headers = value["headers"].as_array().unwrap();
        let header = |pair: &Value| (pair[0].as_str().unwrap().to_owned(), decoded(&pair[1]));
        let partition = i32::try_from(value["partition"].as_i64().unwrap()).unwrap();
        Self {
            key: decoded(&value["key"]),
            value: decoded(&value["value"]),
            headers: headers.iter().map(header).collect(),
            place: Some((partition, value["offset"].as_i64().unwrap())),
        }
    }
}

pub fn is_identity(name: &str) -> bool {
    name == wire::CE_ID || name == wire::CE_SOURCE
}

/// Base64 is not a dependency, and hexadecimal is enough for a test.
fn encoded(bytes: &Option<Vec<u8>>) -> Option<String> {
    bytes.as_ref().map(|bytes| bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn decoded(value: &Value) -> Option<Vec<u8>> {
    let text = value.as_str()?;
    let byte = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    Some((0..text.len()).step_by(2).map(byte).collect())
}

/// Returns every combination of null, empty, text and binary keys, values and headers, and 300 records with 100 keys.
pub fn examples() -> Vec<Record> {
    let texts: [Option<&[u8]>; 4] =
        [None, Some(b""), Some("Größe € 😀".as_bytes()), Some(&[0, 0xFF, 0xC3, 0x28, 10])];
    let mut records = Vec::new();
    for key in texts {
        for value in texts {
            let record = Record::new(key, value);
            records.push(record.clone());
            for header in texts {
                records
                    .push(record.clone().header("b", Some(b"2")).header("a", header).header("b", Some(b"3")));
            }
        }
    }
    for n in 0..300 {
        let key = format!("key-{}", n % 100);
        records.push(Record::new(Some(key.as_bytes()), Some(n.to_string().as_bytes())));
    }
    records
}

/// Returns records that a line of text can represent, with 106 keys.
pub fn texts() -> Vec<Record> {
    let mut records = Vec::new();
    for key in [None, Some("Größe €"), Some("a"), Some("ab"), Some("abc"), Some("abcd"), Some("4d6f")] {
        let record = Record::new(key.map(str::as_bytes), Some("Größe € 😀".as_bytes()));
        records.push(Record { value: None, ..record.clone() });
        records.push(
            record.clone().header("b", Some(b"2")).header("a", Some("€".as_bytes())).header("b", Some(b"3")),
        );
        records.push(record);
    }
    for n in 0..300 {
        let key = format!("key-{}", n % 100);
        records.push(Record::new(Some(key.as_bytes()), Some(n.to_string().as_bytes())));
    }
    records
}

/// Returns the record of a delivery.
pub fn of_delivery(delivery: &Delivery) -> Record {
    let (message, position) = (&delivery.message, delivery.position);
    let headers = message.headers().iter().map(|(name, value)| (name.to_owned(), Some(value.to_vec())));
    Record {
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: headers.collect(),
        place: Some((position.partition.unwrap(), position.offset.unwrap())),
    }
}
