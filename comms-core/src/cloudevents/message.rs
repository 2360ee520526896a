//! Between a message and an event: the Kafka binding's binary mode over `Headers`.
//!
//! Three attributes have a home of their own in a message: `partitionkey` is its key, `traceparent` and `tracestate`
//! are the headers of that name, where [`Context`](crate::context::Context) looks for them. All others are `ce_` headers,
//! `datacontenttype` is `content-type`.

use std::{collections::BTreeMap, str, sync::Arc};

use bytes::Bytes;

use super::{
    Attribute, CloudEvent, Limits, PARTITION_KEY, SPECVERSION, attribute::bad, essence, json, within,
};
use crate::{Error, Headers, Message, wire};

const PREFIX: &str = "ce_";
const TRACE: [&str; 2] = [wire::TRACEPARENT, wire::TRACESTATE];

impl CloudEvent {
    /// The event that `message` is, in binary mode, or carries, in structured mode. Headers that are no attributes
    /// stay behind, as does the topic. Of a header that is there twice the last counts, as in Kafka.
    ///
    /// # Errors
    /// `Invalid` where it is no valid CloudEvent, over the limits, or its key is not text: the error names the attribute.
    pub fn from_message(message: &Message, limits: &Limits) -> Result<Self, Error> {
        let payload = message.payload.as_deref().unwrap_or_default();
        let content_type = message.headers.text(wire::CONTENT_TYPE);
        let mut event = match content_type.map(essence).as_deref() {
            Some(json::CONTENT_TYPE) => json::decode(payload, limits)?,
            Some(json::BATCH_CONTENT_TYPE) => {
                return Err(Error::invalid("a batch of CloudEvents: read it with json::decode_batch"));
            }
            _ => binary(message, limits)?,
        };
        if let Some(key) = &message.key {
            event = event.with(PARTITION_KEY, text(PARTITION_KEY, key)?)?;
        }
        event.within(limits)
    }

    /// The message to `topic` that is this event, in binary mode. Its key is the `partitionkey`.
    #[must_use]
    pub fn into_message(mut self, topic: impl Into<Arc<str>>) -> Message {
        let key = self.attributes.remove(PARTITION_KEY).map(|key| key.to_string().into());
        let mut headers = Headers::new();
        headers.append(wire::CE_SPECVERSION, SPECVERSION);
        headers.append(wire::CE_TYPE, self.event_type.as_bytes().to_vec());
        for (name, value) in self.attributes {
            let header = match name.as_str() {
                "datacontenttype" => wire::CONTENT_TYPE.into(),
                name if TRACE.contains(&name) => name.to_owned(),
                name => format!("{PREFIX}{name}"),
            };
            headers.append(header, value.to_string());
        }
        let topic = topic.into();
        Message { source: self.source, id: self.id, topic, key, headers, payload: self.data }
    }
}

/// The binary form of a `message` in structured mode; any other message itself. The envelope is authoritative for its
/// attributes: `ce_` headers beside it are copies, and are dropped. All other headers stay, and so do topic
/// and key: the record's key is what ordered it, so `partitionkey` becomes a header where it differs.
///
/// # Errors
/// Returns `Invalid` if the payload is not one valid CloudEvent in JSON.
pub(crate) fn open(message: Message) -> Result<Message, Error> {
    let content_type = message.headers.text(wire::CONTENT_TYPE).map(essence);
    let (Some(json::CONTENT_TYPE), Some(payload)) = (content_type.as_deref(), &message.payload) else {
        return Ok(message);
    };
    // The consumer has the whole payload already.
    let limits = Limits { bytes: payload.len(), ..Limits::default() };
    let event = json::decode(payload, &limits).map_err(|e| e.context("open a CloudEvents envelope"))?;
    let content_type = event.text("datacontenttype").is_none() && event.data().is_some();
    let mut opened = event.into_message(message.topic.clone());
    if content_type {
        opened.headers.append(wire::CONTENT_TYPE, "application/json");
    }
    for (name, value) in message.headers.iter() {
        if TRACE.contains(&name) {
            opened.headers.insert(name.to_owned(), value.clone());
        } else if name != wire::CONTENT_TYPE && !name.starts_with(PREFIX) {
            opened.headers.append(name.to_owned(), value.clone());
        }
    }
    if let Some(key) = opened.key.take().filter(|key| message.key.as_ref() != Some(key)) {
        opened.headers.append(format!("{PREFIX}{PARTITION_KEY}"), key);
    }
    Ok(Message { key: message.key, ..opened })
}

fn binary(message: &Message, limits: &Limits) -> Result<CloudEvent, Error> {
    within(limits.bytes, message.payload.as_ref().map_or(0, Bytes::len), "bytes")?;
    let mut attributes = BTreeMap::new();
    for (header, value) in message.headers.iter() {
        let Some((name, home)) = attribute_name(header) else { continue };
        if header != home && message.headers.get(home).is_some() {
            continue;
        }
        attributes.insert(name.to_owned(), text(name, value)?);
    }
    attributes.insert("id".to_owned(), (&*message.id).into());
    attributes.insert("source".to_owned(), (&*message.source).into());
    CloudEvent::assemble(attributes, message.payload.clone())
}

/// The attribute a header stands for, and the header where it is at home: that one counts, where both are there.
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
    str::from_utf8(value).map(Attribute::from).map_err(|_| bad(name, "is not UTF-8"))
}
