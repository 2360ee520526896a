//! CloudEvents 1.0: the common event format for exchange with other systems.
//!
//! A [`Message`](crate::Message) is a CloudEvent in binary mode: its headers are the attributes. This module converts
//! between messages and the other forms: JSON envelopes ([`json`]), HTTP requests and webhooks ([`http`]), and messages
//! with an envelope in the payload ([`CloudEvent::from_message`]).
//!
//! Guarantees:
//! - An event that is read satisfies the specification and the [`Limits`]. An error names the invalid attribute.
//! - Data stays the same, byte for byte, even if it does not decode. Unknown extensions are kept.
//! - A tombstone (no data) and empty data remain distinct. [`http::encode`] refuses an event for which HTTP cannot
//!   express the difference.
//!
//! Sources: <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md>, its JSON event format and its
//! HTTP and Kafka protocol bindings.

mod attribute;
pub mod http;
pub mod json;
mod limits;
mod media_type;
mod message;

use std::{collections::BTreeMap, sync::Arc};

pub use attribute::Attribute;
use bytes::Bytes;
pub use limits::Limits;

use crate::{Error, clock::Clock};
use attribute::{check_attribute, invalid_attribute, missing_attribute};
use limits::{check_limit, check_value_size};
pub(crate) use message::open;

/// The supported version of the specification, the value of the attribute `specversion`.
pub const SPECVERSION: &str = "1.0";
/// The extension attribute with the correlation id of the conversation.
pub const CORRELATION_ID: &str = "correlationid";
/// The extension attribute with `source/id` of the event that caused this one.
pub const CAUSATION_ID: &str = "causationid";
/// The extension attribute with the key of the message (the partitioning extension of the specification).
pub const PARTITION_KEY: &str = "partitionkey";

/// An event with its context attributes and data. Every value satisfies the specification.
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
    /// Optional and extension attributes.
    attributes: BTreeMap<String, Attribute>,
    data: Option<Bytes>,
}

impl CloudEvent {
    /// Creates an event with a new id (`UUIDv7`) and the time of `clock`, without data.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if `source` is empty or not a URI reference, or if
    /// `event_type` is empty or contains control characters or noncharacters.
    pub fn new(source: &str, event_type: &str, clock: &Clock) -> Result<Self, Error> {
        Self::with_id(&clock.uuid_v7().to_string(), source, event_type)?.with("time", clock.rfc3339())
    }

    /// Creates an event with the given id, without a time and without data.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if `source` is empty or not a URI reference, or if
    /// `id` or `event_type` is empty or contains control characters or noncharacters.
    pub fn with_id(id: &str, source: &str, event_type: &str) -> Result<Self, Error> {
        let required = [("specversion", SPECVERSION), ("id", id), ("source", source), ("type", event_type)];
        let attributes = required.map(|(name, value)| (name.to_owned(), Attribute::from(value)));
        Self::assemble(attributes.into(), None)
    }

    /// Sets an optional or extension attribute.
    ///
    /// The name of an extension has 1 to 64 characters of `a-z` and `0-9`; the specification recommends at most 20.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if `name` is not a valid name, if it is one of the
    /// four required attributes or `data`, or if `value` is not valid for the attribute.
    pub fn with(mut self, name: &str, value: impl Into<Attribute>) -> Result<Self, Error> {
        let value = value.into();
        check_attribute(name, &value)?;
        if matches!(name, "specversion" | "id" | "source" | "type") {
            return Err(invalid_attribute(name, "can only be set by the constructor"));
        }
        self.attributes.insert(name.to_owned(), value);
        Ok(self)
    }

    /// Sets the data and its media type, the attribute `datacontenttype`.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if `content_type` is not a media type (RFC 2046).
    pub fn with_data(mut self, content_type: &str, data: impl Into<Bytes>) -> Result<Self, Error> {
        self.data = Some(data.into());
        self.with("datacontenttype", content_type)
    }

    /// Returns the id of the event. Source and id together identify an event.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the source of the event, a URI reference.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Returns the type of the event, such as `order.placed.v1`.
    #[must_use]
    pub fn event_type(&self) -> &str {
        &self.event_type
    }

    /// Returns an optional or extension attribute. The required attributes have methods of their own.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Attribute> {
        self.attributes.get(name)
    }

    /// Returns the text of an optional or extension attribute, or `None` if the attribute is absent or not a string.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(Attribute::as_str)
    }

    /// Returns the data. `None` is a tombstone, which is different from empty data.
    #[must_use]
    pub fn data(&self) -> Option<&Bytes> {
        self.data.as_ref()
    }

    /// Returns the optional and extension attributes, ordered by name, without the four required attributes.
    pub fn attributes(&self) -> impl Iterator<Item = (&str, &Attribute)> {
        self.attributes.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// Checks the number and the size of the attributes. Every reader ends with this check, so that all of them count
    /// and measure alike.
    fn check_limits(self, limits: &Limits) -> Result<Self, Error> {
        let required = [
            ("specversion", SPECVERSION),
            ("id", &*self.id),
            ("source", &*self.source),
            ("type", &*self.event_type),
        ];
        check_limit(limits.attributes, required.len() + self.attributes.len(), "attributes")?;
        for (name, text) in required {
            check_value_size(limits, name, text.len())?;
        }
        for (name, value) in &self.attributes {
            check_value_size(limits, name, value.as_str().map_or_else(|| value.to_string().len(), str::len))?;
        }
        Ok(self)
    }

    /// Builds an event from all of its attributes, and checks each of them.
    fn assemble(mut attributes: BTreeMap<String, Attribute>, data: Option<Bytes>) -> Result<Self, Error> {
        for (name, value) in &attributes {
            check_attribute(name, value)?;
        }
        let mut take = |name| match attributes.remove(name) {
            Some(Attribute::String(text)) => Ok(text),
            _ => Err(missing_attribute(name)),
        };
        if take("specversion")? != SPECVERSION {
            return Err(invalid_attribute("specversion", "is not 1.0, the only supported version"));
        }
        let (id, source, event_type) = (take("id")?.into(), take("source")?.into(), take("type")?.into());
        Ok(Self { id, source, event_type, attributes, data })
    }
}

#[cfg(test)]
mod tests;
