//! Context attributes: names, values, and the rules of the specification for them.

use std::fmt;

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::media_type::is_media_type;
use crate::Error;

/// The maximum length of an attribute name, in characters. The specification recommends at most 20.
const NAME_LIMIT: usize = 64;

/// The value of a context attribute.
///
/// The other types of the specification (Binary, URI, URI-reference, Timestamp) are strings in their canonical form, as
/// in every format and binding. A header has no type: a boolean or an integer that passes through headers becomes a
/// string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attribute {
    /// A boolean.
    Boolean(bool),
    /// A signed integer of 32 bits.
    Integer(i32),
    /// A Unicode string without control characters and noncharacters.
    String(String),
}

impl Attribute {
    /// Returns the text of a string, or `None` for another type.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            Self::Boolean(_) | Self::Integer(_) => None,
        }
    }
}

impl fmt::Display for Attribute {
    /// Writes the canonical form, as headers contain it.
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

/// Returns an error of `Invalid` that names the attribute and its `fault`.
pub(super) fn invalid_attribute(name: &str, fault: impl fmt::Display) -> Error {
    Error::invalid(format!("CloudEvents attribute {} {fault}", quoted(name)))
}

/// Returns a name from outside in quotes, escaped and cut after 64 characters, for an error text.
pub(super) fn quoted(name: &str) -> String {
    format!("{:?}", name.chars().take(NAME_LIMIT).collect::<String>())
}

pub(super) fn missing_attribute(name: &str) -> Error {
    invalid_attribute(name, "is missing")
}

/// Checks an attribute's name, and its value by the rule for this name.
///
/// # Errors
/// Returns `Invalid` with the name of the attribute if the name or the value breaks a rule.
pub(super) fn check_attribute(name: &str, value: &Attribute) -> Result<(), Error> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    if name.is_empty() || name.len() > NAME_LIMIT || !name.bytes().all(allowed) {
        return Err(invalid_attribute(
            name,
            format_args!("has an invalid name: 1 to {NAME_LIMIT} characters of a-z and 0-9 are allowed"),
        ));
    }
    if name == "data" {
        return Err(invalid_attribute(name, "has an invalid name: data is the name of the payload"));
    }
    if let Some(c) = value.as_str().and_then(|text| text.chars().find(|c| is_forbidden(*c))) {
        return Err(invalid_attribute(
            name,
            format_args!("contains U+{:04X}, a control character or noncharacter", u32::from(c)),
        ));
    }
    let rule: fn(&str) -> Result<(), &'static str> = match name {
        "specversion" | "id" | "type" | "subject" => |_| Ok(()),
        "source" => check_uri_reference,
        "dataschema" => check_absolute_uri,
        "datacontenttype" => check_media_type,
        "time" => check_timestamp,
        _ => return Ok(()),
    };
    match value.as_str() {
        None => Err(invalid_attribute(name, "is not a string")),
        Some("") => Err(invalid_attribute(name, "is empty")),
        Some(text) => rule(text).map_err(|fault| invalid_attribute(name, fault)),
    }
}

/// Returns whether the type String excludes `c`: a C0 or C1 control character, or a Unicode noncharacter.
fn is_forbidden(c: char) -> bool {
    let code = u32::from(c);
    c.is_control() || (0xFDD0..=0xFDEF).contains(&code) || code & 0xFFFE == 0xFFFE
}

/// Checks the characters of a URI reference (RFC 3986, section 4.1), and not its structure.
fn check_uri_reference(text: &str) -> Result<(), &'static str> {
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let valid = match byte {
            b'%' => [rest.next(), rest.next()].iter().all(|d| d.is_some_and(|d| d.is_ascii_hexdigit())),
            byte => byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=".contains(&byte),
        };
        if !valid {
            return Err("is not a URI reference (RFC 3986)");
        }
    }
    Ok(())
}

/// Checks the characters and the scheme of a URI (RFC 3986, section 3.1).
fn check_absolute_uri(text: &str) -> Result<(), &'static str> {
    check_uri_reference(text)?;
    let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme);
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"+-.".contains(&b);
    match scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.bytes().all(allowed) {
        true => Ok(()),
        false => Err("is not an absolute URI (RFC 3986)"),
    }
}

fn check_media_type(text: &str) -> Result<(), &'static str> {
    is_media_type(text).then_some(()).ok_or("is not a media type (RFC 2046)")
}

fn check_timestamp(text: &str) -> Result<(), &'static str> {
    OffsetDateTime::parse(text, &Rfc3339).map(drop).map_err(|_| "is not a time (RFC 3339)")
}
