//! The HTTP protocol binding: attributes as `ce-` headers in binary mode, and envelopes and batches as bodies.
//!
//! Header values are percent-encoded (section 3.1.3.2 of the binding): space, double quote, percent sign, and every
//! character that is not visible ASCII.

use std::collections::BTreeMap;

use ::http::{HeaderMap, HeaderName, HeaderValue, header::CONTENT_TYPE};
use bytes::Bytes;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode, utf8_percent_encode};

use super::{
    Attribute, CloudEvent, Limits, SPECVERSION,
    attribute::{invalid_attribute, quoted},
    json,
    limits::check_limit,
    media_type::essence,
};
use crate::Error;

const PREFIX: &str = "ce-";
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');

/// Encodes `event` in binary mode, as the headers and the body of a request or response.
///
/// A tombstone becomes an empty body without `content-type`, even if the event has a content type. Empty data becomes
/// an empty body with `content-type`. For structured mode send [`json::encode`] with [`json::CONTENT_TYPE`], and for a
/// batch [`json::encode_batch`] with [`json::BATCH_CONTENT_TYPE`].
///
/// ```
/// use comms_core::{Error, cloudevents::{CloudEvent, Limits, http}};
/// # fn main() -> Result<(), Error> {
/// let event = CloudEvent::with_id("1", "/shop", "order.placed.v1")?
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
/// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if the event has empty data and no `datacontenttype`: a
/// reader could not distinguish it from a tombstone.
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
            let value =
                HeaderValue::from_str(content_type).map_err(|e| invalid_attribute("datacontenttype", e))?;
            headers.insert(CONTENT_TYPE, value);
        }
        None if data.is_empty() => {
            return Err(invalid_attribute(
                "datacontenttype",
                "is missing: without it, empty data cannot be distinguished from no data",
            ));
        }
        None => {}
    }
    Ok((headers, data.clone()))
}

/// Decodes the events of a request or response in binary, structured or batched mode.
///
/// The content type selects the mode. Binary and structured mode give one event, batched mode any number.
///
/// # Errors
/// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if
/// - the request is in none of the modes: it has no `CloudEvents` content type and no header `ce-specversion`;
/// - the format of an envelope or batch is not JSON, or [`json::decode`] refuses it;
/// - the input is over one of the `limits`;
/// - a required attribute is missing, or an attribute is invalid or occurs twice: the error names the attribute;
/// - a header value is not UTF-8 after decoding, or opens a quote and does not close it;
/// - the header `content-type` is not ASCII.
pub fn decode(headers: &HeaderMap, body: Bytes, limits: &Limits) -> Result<Vec<CloudEvent>, Error> {
    check_limit(limits.bytes, body.len(), "bytes")?;
    let content_type = content_type(headers)?;
    let media = content_type.map(essence).unwrap_or_default();
    match media.as_str() {
        json::CONTENT_TYPE => Ok(vec![json::decode(&body, limits)?]),
        json::BATCH_CONTENT_TYPE => json::decode_batch(&body, limits),
        other if other.starts_with("application/cloudevents") => Err(Error::invalid(format!(
            "the CloudEvents format {} is not supported: send JSON",
            quoted(other)
        ))),
        _ if headers.contains_key("ce-specversion") => Ok(vec![binary(headers, content_type, body, limits)?]),
        _ => Err(Error::invalid(
            "not a CloudEvent: it has no CloudEvents content type and no header ce-specversion",
        )),
    }
}

fn content_type(headers: &HeaderMap) -> Result<Option<&str>, Error> {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(invalid_attribute("datacontenttype", "occurs twice: send one header content-type"));
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
        if attributes.insert(name.to_owned(), Attribute::String(header_text(name, value)?)).is_some() {
            return Err(invalid_attribute(name, "occurs twice"));
        }
    }
    if attributes.contains_key("datacontenttype") {
        return Err(invalid_attribute(
            "datacontenttype",
            "must be the header content-type over HTTP, not ce-datacontenttype",
        ));
    }
    let data = (content_type.is_some() || !body.is_empty()).then_some(body);
    if let Some(content_type) = content_type {
        attributes.insert("datacontenttype".to_owned(), content_type.into());
    }
    CloudEvent::assemble(attributes, data)?.check_limits(limits)
}

fn header_name(name: &str) -> Result<HeaderName, Error> {
    HeaderName::try_from(format!("{PREFIX}{name}")).map_err(|e| invalid_attribute(name, e))
}

fn header_value(name: &str, value: &str) -> Result<HeaderValue, Error> {
    HeaderValue::try_from(utf8_percent_encode(value, ENCODED).to_string())
        .map_err(|e| invalid_attribute(name, e))
}

/// Returns the text of a header value: unquoted first, then percent-decoded.
///
/// # Errors
/// Returns `Invalid` with the name of the attribute if a quote is not closed or the text is not UTF-8.
fn header_text(name: &str, value: &HeaderValue) -> Result<String, Error> {
    let unquoted = unquote(value.as_bytes())
        .ok_or_else(|| invalid_attribute(name, "opens a quote and does not close it"))?;
    let text = percent_decode(&unquoted).decode_utf8().map(|text| text.into_owned());
    text.map_err(|_| invalid_attribute(name, "is not UTF-8"))
}

/// Returns the content of a quoted string (RFC 9110, section 5.6.4), or the value itself if it does not start with a
/// quote. Returns `None` if the quoted string is malformed.
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
