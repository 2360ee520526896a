//! Conversion between a message and an event: binary mode of the Kafka protocol binding.
//!
//! An attribute is the header `ce_<name>`, with these exceptions: `id` and `source` are the message's identity,
//! `partitionkey` is the message's key, `datacontenttype` is the header `content-type`, and `traceparent` and
//! `tracestate` are the headers of these names, which [`Context`](crate::context::Context) reads.

use std::{collections::BTreeMap, str};

use super::{
    Attribute, CloudEvent, Limits, PARTITION_KEY, SPECVERSION, attribute::invalid_attribute, json,
    limits::check_limit, media_type::essence,
};
use crate::{Error, Headers, Message, MessageParts, wire};

/// The prefix of an attribute's header.
const PREFIX: &str = "ce_";
/// The attributes of the trace, whose headers have no prefix.
const TRACE: [&str; 2] = [wire::TRACEPARENT, wire::TRACESTATE];

impl CloudEvent {
    /// Converts `message`, in binary mode or with a JSON envelope as its payload (structured mode), into an event.
    ///
    /// The message's key becomes the attribute `partitionkey`. The topic and headers that are not attributes are
    /// dropped. Of a header that occurs twice, the last one counts, as in Kafka.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if
    /// - a required attribute is missing, or an attribute is invalid or not UTF-8: the error names the attribute;
    /// - the message's key is not valid as the attribute `partitionkey`;
    /// - the message is over one of the `limits`;
    /// - the payload is a batch, or an envelope that [`json::decode`] refuses.
    pub fn from_message(message: &Message, limits: &Limits) -> Result<Self, Error> {
        let payload = message.payload().unwrap_or_default();
        let content_type = message.headers().text(wire::CONTENT_TYPE);
        let mut event = match content_type.map(essence).as_deref() {
            Some(json::CONTENT_TYPE) => json::decode(payload, limits)?,
            Some(json::BATCH_CONTENT_TYPE) => {
                return Err(Error::invalid(
                    "the payload is a batch of CloudEvents: decode it with json::decode_batch",
                ));
            }
            _ => binary(message, limits)?,
        };
        if let Some(key) = message.key() {
            event = event.with(PARTITION_KEY, text(PARTITION_KEY, key)?)?;
        }
        event.check_limits(limits)
    }

    /// Converts the event into a message to `topic`, in binary mode. The attribute `partitionkey` becomes the key.
    #[must_use]
    pub fn into_message(mut self, topic: impl AsRef<str>) -> Message {
        let key = self.attributes.remove(PARTITION_KEY).map(|key| key.to_string());
        let mut headers = Headers::new();
        headers.append(wire::CE_SPECVERSION, SPECVERSION);
        headers.append(wire::CE_TYPE, &*self.event_type);
        for (name, value) in self.attributes {
            let header = match name.as_str() {
                "datacontenttype" => wire::CONTENT_TYPE.into(),
                name if TRACE.contains(&name) => name.to_owned(),
                name => format!("{PREFIX}{name}"),
            };
            headers.append(header, value.to_string());
        }
        Message::new(MessageParts {
            source: &self.source,
            id: &self.id,
            topic: topic.as_ref(),
            key: key.as_deref().map(str::as_bytes),
            headers: headers.view(),
            payload: self.data.as_deref(),
        })
    }
}

/// Converts a `message` in structured mode into binary mode. Returns any other message unchanged.
///
/// The envelope's attributes replace the `ce_` headers of the message, which are copies of them. The topic, the key and
/// all other headers stay. The record's key defined its order, so a `partitionkey` that differs from it becomes a
/// header.
///
/// # Errors
/// Returns `Invalid` if the payload is not one valid CloudEvent in JSON.
pub(crate) fn open(message: Message) -> Result<Message, Error> {
    let content_type = message.headers().text(wire::CONTENT_TYPE).map(essence);
    let (Some(json::CONTENT_TYPE), Some(payload)) = (content_type.as_deref(), message.payload()) else {
        return Ok(message);
    };
    // The payload is in memory already, so its size needs no other limit.
    let limits = Limits { bytes: payload.len(), ..Limits::default() };
    let event = json::decode(payload, &limits).map_err(|e| e.context("open a CloudEvents envelope"))?;
    let is_untyped = event.text("datacontenttype").is_none() && event.data().is_some();
    let opened = event.into_message(message.topic());
    let mut headers = Headers::from(opened.headers());
    if is_untyped {
        headers.append(wire::CONTENT_TYPE, "application/json");
    }
    for (name, value) in message.headers().iter() {
        if TRACE.contains(&name) {
            headers.insert(name, value);
        } else if name != wire::CONTENT_TYPE && !name.starts_with(PREFIX) {
            headers.append(name, value);
        }
    }
    if let Some(key) = opened.key().filter(|key| message.key() != Some(key)) {
        headers.append(format!("{PREFIX}{PARTITION_KEY}"), key);
    }
    Ok(Message::new(MessageParts { key: message.key(), headers: headers.view(), ..opened.parts() }))
}

fn binary(message: &Message, limits: &Limits) -> Result<CloudEvent, Error> {
    check_limit(limits.bytes, message.payload().map_or(0, <[u8]>::len), "bytes")?;
    let mut attributes = BTreeMap::new();
    for (header, value) in message.headers().iter() {
        let Some((name, preferred)) = attribute_name(header) else { continue };
        if header != preferred && message.headers().get(preferred).is_some() {
            continue;
        }
        attributes.insert(name.to_owned(), text(name, value)?);
    }
    attributes.insert("id".to_owned(), message.id().into());
    attributes.insert("source".to_owned(), message.source().into());
    CloudEvent::assemble(attributes, message.payload_bytes())
}

/// Returns the name of the attribute in `header`, and the preferred header for it, which takes precedence if both are
/// present. Returns `None` for a header that is not an attribute.
fn attribute_name(header: &str) -> Option<(&str, &str)> {
    let name = header.strip_prefix(PREFIX);
    match (name, header) {
        (None, wire::CONTENT_TYPE) | (Some("datacontenttype"), _) => {
            Some(("datacontenttype", wire::CONTENT_TYPE))
        }
        (Some(trace), _) | (None, trace) if TRACE.contains(&trace) => Some((trace, trace)),
        _ => name.map(|name| (name, header)),
    }
}

fn text(name: &str, value: &[u8]) -> Result<Attribute, Error> {
    str::from_utf8(value).map(Attribute::from).map_err(|_| invalid_attribute(name, "is not UTF-8"))
}
