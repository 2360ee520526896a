//! Context attributes: names, values, and what the specification demands of them.

use std::fmt;

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::Limits;
use crate::Error;

/// The longest name; the specification advises 20.
const NAME_LIMIT: usize = 64;

/// The value of a context attribute. The other types of the specification (Binary, URI, URI-reference, Timestamp)
/// are carried as their canonical text, as every format and binding does. Headers know text only: a number
/// that went through them is text afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attribute {
    /// `true` or `false`.
    Boolean(bool),
    /// A whole number of 32 bits.
    Integer(i32),
    /// Unicode without control characters.
    String(String),
}

impl Attribute {
    /// The text, where it is text.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            Self::Boolean(_) | Self::Integer(_) => None,
        }
    }
}

impl fmt::Display for Attribute {
    /// The canonical text, which headers carry.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean(value) => value.fmt(f),
            Self::Integer(value) => value.fmt(f),
            Self::String(value) => value.fmt(f),
        }
    }
}

impl From<&str> for Attribute {
    fn from(value: &str) -> Self {
        Self::String(value.to_owned())
    }
}

impl From<String> for Attribute {
    fn from(value: String) -> Self {
        Self::String(value)
    }
}

impl From<bool> for Attribute {
    fn from(value: bool) -> Self {
        Self::Boolean(value)
    }
}

impl From<i32> for Attribute {
    fn from(value: i32) -> Self {
        Self::Integer(value)
    }
}

/// An error that names the attribute.
pub(super) fn bad(name: &str, what: impl fmt::Display) -> Error {
    Error::invalid(format!("CloudEvents attribute {} {what}", shown(name)))
}

/// A name from outside, in part and escaped: it may be anything.
pub(super) fn shown(name: &str) -> String {
    format!("{:?}", name.chars().take(NAME_LIMIT).collect::<String>())
}

/// Refuses a value of `bytes` bytes where that is beyond the limit.
pub(super) fn within_value(limits: &Limits, name: &str, bytes: usize) -> Result<(), Error> {
    match bytes > limits.attribute_bytes {
        true => {
            Err(bad(name, format_args!("has {bytes} bytes, but at most {} are read", limits.attribute_bytes)))
        }
        false => Ok(()),
    }
}

pub(super) fn missing(name: &str) -> Error {
    bad(name, "is missing")
}

/// Checks a name and its value, by the rules of the defined attributes where it is one.
pub(super) fn check(name: &str, value: &Attribute) -> Result<(), Error> {
    let named = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    if name.is_empty() || name.len() > NAME_LIMIT || !name.bytes().all(named) {
        return Err(bad(name, format_args!("is no name: 1 to {NAME_LIMIT} of a-z and 0-9")));
    }
    if name == "data" {
        return Err(bad(name, "is no name: it is the payload's"));
    }
    if let Some(c) = value.as_str().and_then(|text| text.chars().find(|c| is_forbidden(*c))) {
        return Err(bad(name, format_args!("holds U+{:04X}, a control or noncharacter", u32::from(c))));
    }
    let rule: fn(&str) -> Result<(), &'static str> = match name {
        "specversion" | "id" | "type" | "subject" => |_| Ok(()),
        "source" => uri_reference,
        "dataschema" => uri,
        "datacontenttype" => media_type,
        "time" => timestamp,
        _ => return Ok(()),
    };
    match value.as_str() {
        None => Err(bad(name, "is not text")),
        Some("") => Err(bad(name, "is empty")),
        Some(text) => rule(text).map_err(|why| bad(name, why)),
    }
}

/// What the type String excludes: C0 and C1 controls, and the noncharacters of Unicode.
fn is_forbidden(c: char) -> bool {
    let code = u32::from(c);
    c.is_control() || (0xFDD0..=0xFDEF).contains(&code) || code & 0xFFFE == 0xFFFE
}

/// RFC 3986, section 4.1, as far as its alphabet goes.
fn uri_reference(text: &str) -> Result<(), &'static str> {
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let fine = match byte {
            b'%' => [rest.next(), rest.next()].iter().all(|d| d.is_some_and(|d| d.is_ascii_hexdigit())),
            byte => byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=".contains(&byte),
        };
        if !fine {
            return Err("is no URI reference (RFC 3986)");
        }
    }
    Ok(())
}

/// A URI has a scheme (RFC 3986, section 3.1).
fn uri(text: &str) -> Result<(), &'static str> {
    uri_reference(text)?;
    let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme);
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"+-.".contains(&b);
    match scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.bytes().all(allowed) {
        true => Ok(()),
        false => Err("is no absolute URI (RFC 3986)"),
    }
}

/// RFC 2046: `type/subtype`, and parameters that are visible ASCII.
fn media_type(text: &str) -> Result<(), &'static str> {
    let token = |t: &str| {
        !t.is_empty() && t.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+'*%`|~".contains(&b))
    };
    let essence = super::essence(text);
    let typed = essence.split_once('/').is_some_and(|(kind, subtype)| token(kind) && token(subtype));
    match typed && text.bytes().all(|b| b == b' ' || b.is_ascii_graphic()) && text.trim() == text {
        true => Ok(()),
        false => Err("is no media type (RFC 2046)"),
    }
}

fn timestamp(text: &str) -> Result<(), &'static str> {
    OffsetDateTime::parse(text, &Rfc3339).map(drop).map_err(|_| "is no time (RFC 3339)")
}
