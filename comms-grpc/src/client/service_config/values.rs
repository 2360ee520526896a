//! The types of the values in a service config, as proto JSON writes them, with their bounds.

use std::{fmt, time::Duration};

use serde::{
    Deserialize, Deserializer,
    de::{Error, Visitor},
};
use tonic::Code;

use crate::status::code_name;

/// The longest duration, about three years: adding it to an instant of the clock does not overflow.
const LONGEST: Duration = Duration::from_secs(99_999_999);
/// The most attempts of a call (gRFC A6). A higher number counts as this one.
const MAX_ATTEMPTS: u32 = 5;

/// A number, written as a number or as a text.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Number(f64);

struct NumberVisitor;

impl Visitor<'_> for NumberVisitor {
    type Value = Number;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number")
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Number, E> {
        Ok(Number(value))
    }

    #[expect(clippy::cast_precision_loss, reason = "the bounds of all values are exact")]
    fn visit_u64<E: Error>(self, value: u64) -> Result<Number, E> {
        Ok(Number(value as f64))
    }

    #[expect(clippy::cast_precision_loss, reason = "the bounds of all values are exact")]
    fn visit_i64<E: Error>(self, value: i64) -> Result<Number, E> {
        Ok(Number(value as f64))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Number, E> {
        text.parse().map(Number).map_err(|_| E::custom(format_args!("{text:?} is not a number")))
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(NumberVisitor)
    }
}

/// A whole number of 32 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Number")]
pub(super) struct UInt32(pub(super) u32);

impl TryFrom<Number> for UInt32 {
    type Error = &'static str;

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the value was checked")]
    fn try_from(Number(value): Number) -> Result<Self, Self::Error> {
        let fits = value.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&value);
        if fits { Ok(Self(value as u32)) } else { Err("must be a whole number of at least 0 and below 2^32") }
    }
}

/// The number of attempts of a call, the first included. `2..=5`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "UInt32")]
pub(super) struct Attempts(pub(super) u32);

impl TryFrom<UInt32> for Attempts {
    type Error = &'static str;

    fn try_from(UInt32(value): UInt32) -> Result<Self, Self::Error> {
        if value < 2 {
            Err("must be at least 2, the first attempt included")
        } else {
            Ok(Self(value.min(MAX_ATTEMPTS)))
        }
    }
}

/// The factor between the waits. Above zero.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(try_from = "Number")]
pub(super) struct Multiplier(pub(super) f64);

impl TryFrom<Number> for Multiplier {
    type Error = &'static str;

    fn try_from(Number(value): Number) -> Result<Self, Self::Error> {
        if value > 0.0 && value.is_finite() { Ok(Self(value)) } else { Err("must be above 0") }
    }
}

/// The tokens of `retryThrottling`. `1..=1000`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "UInt32")]
pub(super) struct Tokens(pub(super) u32);

impl TryFrom<UInt32> for Tokens {
    type Error = &'static str;

    fn try_from(UInt32(value): UInt32) -> Result<Self, Self::Error> {
        if (1..=1_000).contains(&value) { Ok(Self(value)) } else { Err("must be between 1 and 1000") }
    }
}

/// The tokens that a success returns. Three decimal places count.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(try_from = "Number")]
pub(super) struct TokenRatio(pub(super) f64);

impl TryFrom<Number> for TokenRatio {
    type Error = &'static str;

    fn try_from(Number(value): Number) -> Result<Self, Self::Error> {
        if (0.001..=1_000.0).contains(&value) {
            Ok(Self(value))
        } else {
            Err("must be between 0.001 and 1000")
        }
    }
}

/// A duration such as `1.5s`, of at most about three years.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct ProtoDuration(pub(super) Duration);

impl TryFrom<String> for ProtoDuration {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        seconds(&text).map(Self).ok_or_else(|| format!("{text:?} is not a duration such as \"1.5s\""))
    }
}

/// Reads whole seconds with up to nine decimal places. `.5s` and `5.s` are allowed, as in other implementations.
fn seconds(text: &str) -> Option<Duration> {
    let number = text.strip_suffix('s')?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let is_decimal = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    let has_digits = !whole.is_empty() || !fraction.is_empty();
    if !has_digits || !is_decimal(whole) || !is_decimal(fraction) || fraction.len() > 9 || whole.len() > 12 {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let nanos: u32 = format!("{fraction:0<9}").parse().ok()?;
    Some(Duration::new(whole, nanos).min(LONGEST))
}

/// A duration above zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "ProtoDuration")]
pub(super) struct PositiveDuration(pub(super) Duration);

impl TryFrom<ProtoDuration> for PositiveDuration {
    type Error = &'static str;

    fn try_from(ProtoDuration(duration): ProtoDuration) -> Result<Self, Self::Error> {
        if duration.is_zero() { Err("must be above zero") } else { Ok(Self(duration)) }
    }
}

/// A set of status codes without OK. Read from a text, it has at least one code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<StatusCode>")]
pub(in crate::client) struct StatusCodes(u32);

impl StatusCodes {
    pub(super) fn of(codes: &[StatusCode]) -> Self {
        Self(codes.iter().fold(0, |set, StatusCode(code)| set | bit(*code)))
    }

    pub(in crate::client) fn contains(self, code: Code) -> bool {
        self.0 & bit(code) != 0
    }
}

fn bit(code: Code) -> u32 {
    1 << (code as u32)
}

impl TryFrom<Vec<StatusCode>> for StatusCodes {
    type Error = &'static str;

    fn try_from(codes: Vec<StatusCode>) -> Result<Self, Self::Error> {
        if codes.is_empty() {
            return Err("must name at least one status code");
        }
        Ok(Self::of(&codes))
    }
}

/// A status code, written as its name or as its number.
#[derive(Debug, Clone, Copy)]
pub(super) struct StatusCode(Code);

struct CodeVisitor;

impl Visitor<'_> for CodeVisitor {
    type Value = StatusCode;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a status code as its name or its number")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<StatusCode, E> {
        let code = i32::try_from(number).ok().filter(|number| (1..=16).contains(number));
        code.map(|number| StatusCode(Code::from_i32(number)))
            .ok_or_else(|| E::custom(format_args!("{number} is not a status code of a failure (1 to 16)")))
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<StatusCode, E> {
        let code = (1..=16).map(Code::from_i32).find(|code| code_name(*code) == name);
        code.map(StatusCode)
            .ok_or_else(|| E::custom(format_args!("{name:?} is not the name of a status code of a failure")))
    }
}

impl<'de> Deserialize<'de> for StatusCode {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(CodeVisitor)
    }
}
