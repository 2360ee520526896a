//! CloudEvents 1.0: the envelope that services of other houses know.
//!
//! A [`Message`](crate::Message) is a CloudEvent already, in binary mode over its headers. This module is for the
//! edges where that is not the form: JSON envelopes ([`json`]), HTTP requests and webhooks ([`http`]), and messages
//! of others that carry an envelope in the payload ([`CloudEvent::from_message`]).
//!
//! The guarantee: what is read is checked against the specification and the [`Limits`], and an error names the
//! attribute. Data is carried byte for byte, whether anything here can decode it or not; unknown extensions are
//! carried along. A tombstone (no data) stays apart from empty data; where HTTP cannot tell them apart, the
//! conversion is refused.
//!
//! Sources: <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md>, its JSON event format and its
//! HTTP and Kafka protocol bindings.

mod attribute;
pub mod http;
pub mod json;
mod message;

use std::{collections::BTreeMap, sync::Arc};

pub use attribute::Attribute;
use bytes::Bytes;

use crate::{Error, clock::Clock};
use attribute::{bad, check, missing, within_value};
pub(crate) use message::open;

/// The only version of the specification that is spoken.
pub const SPECVERSION: &str = "1.0";
/// Extension: what began the conversation.
pub const CORRELATION_ID: &str = "correlationid";
/// Extension: `source/id` of the event that caused this one.
pub const CAUSATION_ID: &str = "causationid";
/// Extension (partitioning): the key of the message.
pub const PARTITION_KEY: &str = "partitionkey";

/// What is read from outside at most. Bytes beyond are refused before they are parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of a body, be it one event or a batch. 1 MiB.
    pub bytes: usize,
    /// Events of a batch. 1,000.
    pub events: usize,
    /// Attributes of an event, required ones and extensions included; data is none. 64.
    pub attributes: usize,
    /// Bytes of the value of one attribute, as text: not of its quotes and escapes in a format. 4 KiB.
    pub attribute_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 1 << 20, events: 1_000, attributes: 64, attribute_bytes: 4 << 10 }
    }
}

/// Setters: each takes the configuration and returns it with one setting changed.
impl Limits {
    /// Sets `bytes`.
    #[must_use]
    pub fn bytes(self, bytes: usize) -> Self {
        Self { bytes, ..self }
    }

    /// Sets `events`.
    #[must_use]
    pub fn events(self, events: usize) -> Self {
        Self { events, ..self }
    }

    /// Sets `attributes`.
    #[must_use]
    pub fn attributes(self, attributes: usize) -> Self {
        Self { attributes, ..self }
    }

    /// Sets `attribute_bytes`.
    #[must_use]
    pub fn attribute_bytes(self, attribute_bytes: usize) -> Self {
        Self { attribute_bytes, ..self }
    }
}

/// An event with its context attributes. Valid by construction.
///
/// ```
/// use comms_core::{Error, clock::Clock, cloudevents::{CloudEvent, Limits, json}};
/// # fn main() -> Result<(), Error> {
/// let event = CloudEvent::new("/shop", "order.placed.v1", &Clock::system())?
///     .with("subject", "order-7")?
///     .with("tenant", "acme")?
///     .with_data("application/json", r#"{"order_id":"7"}"#)?;
/// let read = json::decode(&json::encode(&event)?, &Limits::default())?;
/// assert_eq!(read, event);
/// assert_eq!(read.text("tenant"), Some("acme"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloudEvent {
    id: Arc<str>,
    source: Arc<str>,
    event_type: Arc<str>,
    /// All but the required ones, optional and extension alike.
    attributes: BTreeMap<String, Attribute>,
    data: Option<Bytes>,
}

impl CloudEvent {
    /// An event with a new id (`UUIDv7`) and the time of `clock`.
    ///
    /// # Errors
    /// `Invalid` where `source` is no URI reference or `event_type` is empty.
    pub fn new(source: &str, event_type: &str, clock: &Clock) -> Result<Self, Error> {
        Self::identified(&clock.uuid_v7().to_string(), source, event_type)?.with("time", clock.rfc3339())
    }

    /// An event with an id of the caller's, and no time.
    ///
    /// # Errors
    /// As [`CloudEvent::new`]; `Invalid` where the id is empty.
    pub fn identified(id: &str, source: &str, event_type: &str) -> Result<Self, Error> {
        let required = [("specversion", SPECVERSION), ("id", id), ("source", source), ("type", event_type)];
        let attributes = required.map(|(name, value)| (name.to_owned(), Attribute::from(value)));
        Self::assemble(attributes.into(), None)
    }

    /// The same with an optional or extension attribute set. An extension's name is of `a-z` and `0-9`, at most
    /// 64 characters, better 20.
    ///
    /// # Errors
    /// `Invalid` where the name is none, or one of the four required attributes, or the value is not of its type.
    pub fn with(mut self, name: &str, value: impl Into<Attribute>) -> Result<Self, Error> {
        let value = value.into();
        check(name, &value)?;
        if matches!(name, "specversion" | "id" | "source" | "type") {
            return Err(bad(name, "is set when the event is made"));
        }
        self.attributes.insert(name.to_owned(), value);
        Ok(self)
    }

    /// The same with data of a media type.
    ///
    /// # Errors
    /// `Invalid` where `content_type` is no media type.
    pub fn with_data(mut self, content_type: &str, data: impl Into<Bytes>) -> Result<Self, Error> {
        self.data = Some(data.into());
        self.with("datacontenttype", content_type)
    }

    /// With the source the identity of the event.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Who says it: a URI reference.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// What happened: `order.placed.v1`.
    #[must_use]
    pub fn event_type(&self) -> &str {
        &self.event_type
    }

    /// An optional or extension attribute.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Attribute> {
        self.attributes.get(name)
    }

    /// An optional or extension attribute that is text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(Attribute::as_str)
    }

    /// The data, byte for byte. `None` is a tombstone, which is not empty data.
    #[must_use]
    pub fn data(&self) -> Option<&Bytes> {
        self.data.as_ref()
    }

    /// The optional and extension attributes, by name; not the four required ones.
    pub fn attributes(&self) -> impl Iterator<Item = (&str, &Attribute)> {
        self.attributes.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// The same, if it is within the limits. Each reader ends here: one count, one measure.
    fn within(self, limits: &Limits) -> Result<Self, Error> {
        let required = [
            ("specversion", SPECVERSION),
            ("id", &*self.id),
            ("source", &*self.source),
            ("type", &*self.event_type),
        ];
        within(limits.attributes, required.len() + self.attributes.len(), "attributes")?;
        for (name, text) in required {
            within_value(limits, name, text.len())?;
        }
        for (name, value) in &self.attributes {
            within_value(limits, name, value.as_str().map_or_else(|| value.to_string().len(), str::len))?;
        }
        Ok(self)
    }

    /// An event of attributes that were read somewhere, all checked here.
    fn assemble(mut attributes: BTreeMap<String, Attribute>, data: Option<Bytes>) -> Result<Self, Error> {
        for (name, value) in &attributes {
            check(name, value)?;
        }
        let mut take = |name| match attributes.remove(name) {
            Some(Attribute::String(text)) => Ok(text),
            _ => Err(missing(name)),
        };
        if take("specversion")? != SPECVERSION {
            return Err(bad("specversion", "is not 1.0, the version spoken here"));
        }
        let (id, source, event_type) = (take("id")?.into(), take("source")?.into(), take("type")?.into());
        Ok(Self { id, source, event_type, attributes, data })
    }
}

/// Whether a content type is JSON (`application/json`, `text/json`, `…+json`), which is also what none means.
fn is_json(content_type: Option<&str>) -> bool {
    let Some(content_type) = content_type else { return true };
    let essence = essence(content_type);
    let subtype = essence.split_once('/').map_or("", |(_, subtype)| subtype);
    subtype == "json" || subtype.ends_with("+json")
}

/// The media type without parameters, in lower case.
fn essence(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Refuses what is beyond a limit, before anything reads it.
fn within(limit: usize, found: usize, what: &str) -> Result<(), Error> {
    if found <= limit {
        return Ok(());
    }
    Err(Error::invalid(format!("CloudEvents: {found} {what}, but at most {limit} are read")))
}

#[cfg(test)]
mod tests;
