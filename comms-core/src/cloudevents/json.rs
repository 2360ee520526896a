//! The JSON event format: an envelope of one event, and batches.
//!
//! Data that is a JSON value by its content type (or has none) stands in `data` as it is, `text/*` as a string,
//! everything else in `data_base64`: so the bytes are the same on the other side. What whitespace around a value
//! would change, or `null` (which others take for no data), goes into `data_base64`, too.

use std::{collections::BTreeMap, fmt, str};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, Visitor},
    ser::SerializeMap,
};
use serde_json::{Value, value::RawValue};

use super::{
    Attribute, CloudEvent, Limits, SPECVERSION,
    attribute::{bad, shown},
    essence, is_json, within,
};
use crate::Error;

/// Media type of [`encode`].
pub const CONTENT_TYPE: &str = "application/cloudevents+json";
/// Media type of [`encode_batch`].
pub const BATCH_CONTENT_TYPE: &str = "application/cloudevents-batch+json";

/// The envelope of `event`: the body of structured mode.
///
/// # Errors
/// None is known; `Invalid` is the encoder's.
pub fn encode(event: &CloudEvent) -> Result<Bytes, Error> {
    serde_json::to_vec(&Envelope(event)).map(Bytes::from).map_err(Error::invalid)
}

/// The envelopes of `events` in a JSON array.
///
/// # Errors
/// As [`encode`].
pub fn encode_batch(events: &[CloudEvent]) -> Result<Bytes, Error> {
    let envelopes: Vec<Envelope<'_>> = events.iter().map(Envelope).collect();
    serde_json::to_vec(&envelopes).map(Bytes::from).map_err(Error::invalid)
}

/// The event of an envelope.
///
/// # Errors
/// `Invalid` where the bytes are over the limits or not JSON, or an attribute is missing, wrong or there twice:
/// the error names it.
pub fn decode(bytes: &[u8], limits: &Limits) -> Result<CloudEvent, Error> {
    within(limits.bytes, bytes.len(), "bytes")?;
    event(bytes, limits)
}

/// The events of a batch: all of them, or none.
///
/// # Errors
/// As [`decode`], naming the place in the batch; `Invalid` where there are more events than the limit.
pub fn decode_batch(bytes: &[u8], limits: &Limits) -> Result<Vec<CloudEvent>, Error> {
    within(limits.bytes, bytes.len(), "bytes")?;
    let events: Vec<&RawValue> = serde_json::from_slice(bytes).map_err(malformed)?;
    within(limits.events, events.len(), "events in a batch")?;
    let numbered = events.into_iter().enumerate();
    numbered
        .map(|(i, raw)| {
            event(raw.get().as_bytes(), limits).map_err(|e| e.context(format_args!("batch[{i}]")))
        })
        .collect()
}

fn malformed(error: serde_json::Error) -> Error {
    Error::invalid(error).context("CloudEvents JSON")
}

fn event(bytes: &[u8], limits: &Limits) -> Result<CloudEvent, Error> {
    let Members(members) = serde_json::from_slice(bytes).map_err(malformed)?;
    let (mut attributes, mut data, mut data_base64) = (BTreeMap::new(), None, None);
    for (name, raw) in members {
        // Null is absent: by the specification for attributes, by the custom of its implementations for data.
        match name.as_str() {
            _ if raw.get() == "null" => {}
            "data" => data = Some(raw),
            "data_base64" => data_base64 = Some(raw),
            _ => {
                let value = attribute(&name, raw)?;
                attributes.insert(name, value);
            }
        }
    }
    let content_type = attributes.get("datacontenttype").and_then(Attribute::as_str);
    let data = match (data, data_base64) {
        (None, None) => None,
        (Some(raw), None) => Some(in_json(content_type, raw)?),
        (None, Some(raw)) => Some(in_base64(raw)?),
        (Some(_), Some(_)) => return Err(bad("data_base64", "stands beside data: one of them is due")),
    };
    CloudEvent::assemble(attributes, data)?.within(limits)
}

fn attribute(name: &str, raw: &RawValue) -> Result<Attribute, Error> {
    match serde_json::from_str(raw.get()).map_err(|_| bad(name, "is no JSON value"))? {
        Value::Bool(value) => Ok(Attribute::Boolean(value)),
        Value::String(text) => Ok(Attribute::String(text)),
        Value::Number(number) => {
            let integer = number.as_i64().and_then(|n| i32::try_from(n).ok());
            integer.map(Attribute::Integer).ok_or_else(|| bad(name, "is no whole number of 32 bits"))
        }
        Value::Null | Value::Array(_) | Value::Object(_) => Err(bad(name, "is no boolean, number or string")),
    }
}

fn in_json(content_type: Option<&str>, raw: &RawValue) -> Result<Bytes, Error> {
    if is_json(content_type) {
        return Ok(Bytes::copy_from_slice(raw.get().as_bytes()));
    }
    let text: Result<String, _> = serde_json::from_str(raw.get());
    text.map(Bytes::from).map_err(|_| bad("data", "is no string, but its content type is not JSON"))
}

fn in_base64(raw: &RawValue) -> Result<Bytes, Error> {
    let text: String = serde_json::from_str(raw.get()).map_err(|_| bad("data_base64", "is no string"))?;
    STANDARD.decode(text).map(Bytes::from).map_err(|e| bad("data_base64", format_args!("is not base64: {e}")))
}

/// An object's members as they stand. A name that is there twice is refused: readers would disagree.
struct Members<'a>(BTreeMap<String, &'a RawValue>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = BTreeMap::new();
                while let Some((name, raw)) = map.next_entry::<String, &RawValue>()? {
                    if members.contains_key(&name) {
                        return Err(serde::de::Error::custom(format_args!(
                            "{} is there twice",
                            shown(&name)
                        )));
                    }
                    members.insert(name, raw);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

struct Envelope<'a>(&'a CloudEvent);

impl Serialize for Envelope<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let event = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("specversion", SPECVERSION)?;
        map.serialize_entry("id", event.id())?;
        map.serialize_entry("source", event.source())?;
        map.serialize_entry("type", event.event_type())?;
        for (name, value) in event.attributes() {
            match value {
                Attribute::Boolean(value) => map.serialize_entry(name, value)?,
                Attribute::Integer(value) => map.serialize_entry(name, value)?,
                Attribute::String(value) => map.serialize_entry(name, value)?,
            }
        }
        if let Some(data) = event.data() {
            match embedded(event.text("datacontenttype"), data) {
                Embedded::Json(raw) => map.serialize_entry("data", raw)?,
                Embedded::Text(text) => map.serialize_entry("data", text)?,
                Embedded::Base64 => map.serialize_entry("data_base64", &STANDARD.encode(data))?,
            }
        }
        map.end()
    }
}

enum Embedded<'a> {
    Json(&'a RawValue),
    Text(&'a str),
    Base64,
}

/// How `data` can stand in an envelope so that a reader gets the same bytes back.
fn embedded<'a>(content_type: Option<&str>, data: &'a [u8]) -> Embedded<'a> {
    let Ok(text) = str::from_utf8(data) else { return Embedded::Base64 };
    if is_json(content_type) {
        let raw: Option<&RawValue> = serde_json::from_str(text).ok();
        return match raw.filter(|raw| raw.get() == text && text != "null") {
            Some(raw) => Embedded::Json(raw),
            None => Embedded::Base64,
        };
    }
    match content_type.is_some_and(|c| essence(c).starts_with("text/")) {
        true => Embedded::Text(text),
        false => Embedded::Base64,
    }
}
