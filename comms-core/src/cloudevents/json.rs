//! The JSON event format: envelopes of one event, and batches.
//!
//! Every form keeps the bytes of the data:
//! - Data with a JSON content type, or without a content type, is the member `data`, unchanged.
//! - Data of type `text/*` is the member `data`, as a string.
//! - All other data is the member `data_base64`. So is invalid JSON, JSON with whitespace around the value, which
//!   readers drop, and the JSON value `null`, which other implementations read as no data.

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
    attribute::{invalid_attribute, quoted},
    limits::check_limit,
    media_type::{essence, is_json},
};
use crate::Error;

/// The media type of an envelope from [`encode`].
pub const CONTENT_TYPE: &str = "application/cloudevents+json";
/// The media type of a batch from [`encode_batch`].
pub const BATCH_CONTENT_TYPE: &str = "application/cloudevents-batch+json";

/// Encodes `event` as a JSON envelope, the body of structured mode.
///
/// # Errors
/// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if the JSON encoder fails. No event is known for which it
/// does.
pub fn encode(event: &CloudEvent) -> Result<Bytes, Error> {
    serde_json::to_vec(&Envelope(event)).map(Bytes::from).map_err(Error::invalid)
}

/// Encodes `events` as a batch, a JSON array of envelopes.
///
/// # Errors
/// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if the JSON encoder fails. No event is known for which it
/// does.
pub fn encode_batch(events: &[CloudEvent]) -> Result<Bytes, Error> {
    let envelopes: Vec<Envelope<'_>> = events.iter().map(Envelope).collect();
    serde_json::to_vec(&envelopes).map(Bytes::from).map_err(Error::invalid)
}

/// Decodes the event of a JSON envelope.
///
/// # Errors
/// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if
/// - the input is over one of the `limits`;
/// - the input is not a JSON object, or a member occurs twice;
/// - a required attribute is missing, or an attribute has an invalid name or value: the error names the attribute;
/// - `data` and `data_base64` are both present, `data_base64` is not base64, or `data` is not a string although its
///   content type is not JSON.
pub fn decode(bytes: &[u8], limits: &Limits) -> Result<CloudEvent, Error> {
    check_limit(limits.bytes, bytes.len(), "bytes")?;
    decode_event(bytes, limits)
}

/// Decodes all events of a batch. An invalid event fails the whole batch.
///
/// # Errors
/// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if the input is over one of the `limits`, if it is not a
/// JSON array, or if one of its events is invalid by the conditions of [`decode`]: the error names the event's index.
pub fn decode_batch(bytes: &[u8], limits: &Limits) -> Result<Vec<CloudEvent>, Error> {
    check_limit(limits.bytes, bytes.len(), "bytes")?;
    let events: Vec<&RawValue> = serde_json::from_slice(bytes).map_err(malformed)?;
    check_limit(limits.events, events.len(), "events in a batch")?;
    let numbered = events.into_iter().enumerate();
    numbered
        .map(|(i, raw)| {
            decode_event(raw.get().as_bytes(), limits).map_err(|e| e.context(format_args!("batch[{i}]")))
        })
        .collect()
}

fn malformed(error: serde_json::Error) -> Error {
    Error::invalid(error).context("CloudEvents JSON")
}

fn decode_event(bytes: &[u8], limits: &Limits) -> Result<CloudEvent, Error> {
    let Members(members) = serde_json::from_slice(bytes).map_err(malformed)?;
    let (mut attributes, mut data, mut data_base64) = (BTreeMap::new(), None, None);
    for (name, raw) in members {
        // A null member counts as absent: by the specification for attributes, by common practice for data.
        match name.as_str() {
            _ if raw.get() == "null" => {}
            "data" => data = Some(raw),
            "data_base64" => data_base64 = Some(raw),
            _ => {
                let value = decode_attribute(&name, raw)?;
                attributes.insert(name, value);
            }
        }
    }
    let content_type = attributes.get("datacontenttype").and_then(Attribute::as_str);
    let data = match (data, data_base64) {
        (None, None) => None,
        (Some(raw), None) => Some(decode_data(content_type, raw)?),
        (None, Some(raw)) => Some(decode_base64(raw)?),
        (Some(_), Some(_)) => {
            return Err(invalid_attribute("data_base64", "is present together with data: send one of them"));
        }
    };
    CloudEvent::assemble(attributes, data)?.check_limits(limits)
}

fn decode_attribute(name: &str, raw: &RawValue) -> Result<Attribute, Error> {
    match serde_json::from_str(raw.get()).map_err(|_| invalid_attribute(name, "is not a JSON value"))? {
        Value::Bool(value) => Ok(Attribute::Boolean(value)),
        Value::String(text) => Ok(Attribute::String(text)),
        Value::Number(number) => {
            let integer = number.as_i64().and_then(|n| i32::try_from(n).ok());
            integer
                .map(Attribute::Integer)
                .ok_or_else(|| invalid_attribute(name, "is not an integer of 32 bits"))
        }
        Value::Null | Value::Array(_) | Value::Object(_) => {
            Err(invalid_attribute(name, "is not a boolean, an integer or a string"))
        }
    }
}

fn decode_data(content_type: Option<&str>, raw: &RawValue) -> Result<Bytes, Error> {
    if is_json(content_type) {
        return Ok(Bytes::copy_from_slice(raw.get().as_bytes()));
    }
    let text: Result<String, _> = serde_json::from_str(raw.get());
    text.map(Bytes::from)
        .map_err(|_| invalid_attribute("data", "is not a string, although its content type is not JSON"))
}

fn decode_base64(raw: &RawValue) -> Result<Bytes, Error> {
    let text: String =
        serde_json::from_str(raw.get()).map_err(|_| invalid_attribute("data_base64", "is not a string"))?;
    STANDARD
        .decode(text)
        .map(Bytes::from)
        .map_err(|e| invalid_attribute("data_base64", format_args!("is not base64: {e}")))
}

/// The members of a JSON object, not decoded. A duplicate name is an error, because readers differ in which one they
/// use.
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
                            "the member {} occurs twice",
                            quoted(&name)
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

/// The form of the data in an envelope.
enum Embedded<'a> {
    /// The member `data` with this JSON value.
    Json(&'a RawValue),
    /// The member `data` with this string.
    Text(&'a str),
    /// The member `data_base64`.
    Base64,
}

/// Returns the form of `data` from which a reader restores the same bytes.
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
