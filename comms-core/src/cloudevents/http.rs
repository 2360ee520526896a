//! The HTTP binding: attributes as `ce-` headers (binary mode), envelopes and batches as bodies.
//!
//! Header values are percent-encoded (section 3.1.3.2 of the binding): space, double quote, percent, and all that
//! is not visible ASCII.

use std::collections::BTreeMap;

use ::http::{HeaderMap, HeaderName, HeaderValue, header::CONTENT_TYPE};
use bytes::Bytes;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode, utf8_percent_encode};

use super::{
    Attribute, CloudEvent, Limits, SPECVERSION,
    attribute::{bad, shown},
    essence, json, within,
};
use crate::Error;

const PREFIX: &str = "ce-";
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');

/// Headers and body of a request (or response) that carries `event` in binary mode.
///
/// No data is an empty body without `content-type`, empty data one with it: the content type of a tombstone is left
/// out. For structured mode send [`json::encode`] with [`json::CONTENT_TYPE`], for a batch
/// [`json::encode_batch`] with [`json::BATCH_CONTENT_TYPE`].
///
/// ```
/// use comms_core::{Error, cloudevents::{CloudEvent, Limits, http}};
/// # fn main() -> Result<(), Error> {
/// let event = CloudEvent::identified("1", "/shop", "order.placed.v1")?
///     .with("subject", "Größe 7")?
///     .with_data("text/plain", "hello")?;
/// let (headers, body) = http::encode(&event)?;
/// assert_eq!(headers["ce-subject"], "Gr%C3%B6%C3%9Fe%207");
/// assert_eq!(http::decode(&headers, body, &Limits::default())?, [event]);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// `Invalid` for empty data without `datacontenttype`, which no reader could tell from a tombstone.
pub fn encode(event: &CloudEvent) -> Result<(HeaderMap, Bytes), Error> {
    let mut headers = HeaderMap::new();
    let required = [
        ("specversion", SPECVERSION),
        ("id", event.id()),
        ("source", event.source()),
        ("type", event.event_type()),
    ];
    for (name, value) in required {
        headers.insert(header_name(name)?, header_value(name, value)?);
    }
    for (name, value) in event.attributes().filter(|(name, _)| *name != "datacontenttype") {
        headers.insert(header_name(name)?, header_value(name, &value.to_string())?);
    }
    let Some(data) = event.data() else { return Ok((headers, Bytes::new())) };
    match event.text("datacontenttype") {
        Some(content_type) => {
            let value = HeaderValue::from_str(content_type).map_err(|e| bad("datacontenttype", e))?;
            headers.insert(CONTENT_TYPE, value);
        }
        None if data.is_empty() => {
            return Err(bad("datacontenttype", "is due: empty data without it cannot be told from no data"));
        }
        None => {}
    }
    Ok((headers, data.clone()))
}

/// The events of a request (or response) in whichever mode it is: one in binary and structured mode, any number in
/// batched mode.
///
/// # Errors
/// `Invalid` where there is no CloudEvent, its format is another than JSON, it is over the limits, or an attribute is
/// missing, wrong or there twice: the error names it.
pub fn decode(headers: &HeaderMap, body: Bytes, limits: &Limits) -> Result<Vec<CloudEvent>, Error> {
    within(limits.bytes, body.len(), "bytes")?;
    let content_type = content_type(headers)?;
    let media = content_type.map(essence).unwrap_or_default();
    match media.as_str() {
        json::CONTENT_TYPE => Ok(vec![json::decode(&body, limits)?]),
        json::BATCH_CONTENT_TYPE => json::decode_batch(&body, limits),
        other if other.starts_with("application/cloudevents") => {
            Err(Error::invalid(format!("CloudEvents format {}: only JSON is read", shown(other))))
        }
        _ if headers.contains_key("ce-specversion") => Ok(vec![binary(headers, content_type, body, limits)?]),
        _ => Err(Error::invalid("no CloudEvent: neither its content type nor the header ce-specversion")),
    }
}

fn content_type(headers: &HeaderMap) -> Result<Option<&str>, Error> {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(bad("datacontenttype", "is there twice: the header content-type"));
    }
    value.to_str().map(Some).map_err(|_| Error::invalid("the header content-type is not ASCII"))
}

fn binary(
    headers: &HeaderMap,
    content_type: Option<&str>,
    body: Bytes,
    limits: &Limits,
) -> Result<CloudEvent, Error> {
    let mut attributes = BTreeMap::new();
    for (name, value) in headers {
        let Some(name) = name.as_str().strip_prefix(PREFIX) else { continue };
        if attributes.insert(name.to_owned(), Attribute::String(text(name, value)?)).is_some() {
            return Err(bad(name, "is there twice"));
        }
    }
    if attributes.contains_key("datacontenttype") {
        return Err(bad("datacontenttype", "is the header content-type over HTTP, not ce-datacontenttype"));
    }
    let data = (content_type.is_some() || !body.is_empty()).then_some(body);
    if let Some(content_type) = content_type {
        attributes.insert("datacontenttype".to_owned(), content_type.into());
    }
    CloudEvent::assemble(attributes, data)?.within(limits)
}

fn header_name(name: &str) -> Result<HeaderName, Error> {
    HeaderName::try_from(format!("{PREFIX}{name}")).map_err(|e| bad(name, e))
}

fn header_value(name: &str, value: &str) -> Result<HeaderValue, Error> {
    HeaderValue::try_from(utf8_percent_encode(value, ENCODED).to_string()).map_err(|e| bad(name, e))
}

/// The value of a header: first out of its quotes, if it has any, then percent-decoded; UTF-8 or nothing.
fn text(name: &str, value: &HeaderValue) -> Result<String, Error> {
    let unquoted =
        unquote(value.as_bytes()).ok_or_else(|| bad(name, "opens a quote and does not close it"))?;
    let text = percent_decode(&unquoted).decode_utf8().map(|text| text.into_owned());
    text.map_err(|_| bad(name, "is not UTF-8"))
}

/// RFC 9110, section 5.6.4: a quoted string.
fn unquote(value: &[u8]) -> Option<Vec<u8>> {
    let Some(mut rest) = value.strip_prefix(b"\"") else { return Some(value.to_vec()) };
    let mut out = Vec::with_capacity(rest.len());
    loop {
        match rest {
            b"\"" => return Some(out),
            [b'\\', escaped, tail @ ..] => {
                out.push(*escaped);
                rest = tail;
            }
            [b'"' | b'\\', ..] | [] => return None,
            [byte, tail @ ..] => {
                out.push(*byte);
                rest = tail;
            }
        }
    }
}
