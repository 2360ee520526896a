//! What a token says.

use serde::{Deserialize, Deserializer, Serialize, de::Error};

/// The claims this house reads; others are ignored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The subject: 1 to 256 bytes without control characters in a verified token.
    pub sub: String,
    /// Who says so.
    pub iss: String,
    /// For whom: one or several (RFC 7519, 4.1.3).
    #[serde(deserialize_with = "one_or_many")]
    pub aud: Vec<String>,
    /// Not after, seconds since 1970.
    #[serde(deserialize_with = "numeric_date")]
    pub exp: u64,
    /// Not before, seconds since 1970.
    #[serde(default, deserialize_with = "optional_date", skip_serializing_if = "Option::is_none")]
    pub nbf: Option<u64>,
    /// What it may do, space-separated (RFC 8693).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub scope: String,
}

fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Audience {
        One(String),
        Many(Vec<String>),
    }
    Ok(match Audience::deserialize(deserializer)? {
        Audience::One(one) => vec![one],
        Audience::Many(many) => many,
    })
}

/// A NumericDate (RFC 7519, section 2), which may have a fraction: it is cut off.
fn numeric_date<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Date {
        Whole(u64),
        Fraction(f64),
    }
    match Date::deserialize(deserializer)? {
        Date::Whole(seconds) => Ok(seconds),
        Date::Fraction(seconds) if (0.0..1e15).contains(&seconds) => Ok(seconds as u64),
        Date::Fraction(_) => Err(D::Error::custom("not a date")),
    }
}

fn optional_date<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    numeric_date(deserializer).map(Some)
}
