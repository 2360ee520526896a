//! The errors that serde reports, as texts for clients.

use std::fmt::{self, Display};

use serde::de::{self, Expected, Unexpected};

/// Why a value could not be read. The reader adds the place.
#[derive(Debug)]
pub(super) enum ReadError {
    /// The value is wrong, with a text for the client.
    Wrong(String),
    /// The object lacks a field.
    Missing(&'static str),
    /// The error is already in the list.
    Recorded,
}

impl Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wrong(detail) => f.write_str(detail),
            Self::Missing(field) => write!(f, "the field {field} is required"),
            Self::Recorded => f.write_str("see the list of errors"),
        }
    }
}

impl std::error::Error for ReadError {}

impl de::Error for ReadError {
    fn custom<T: Display>(message: T) -> Self {
        let text = message.to_string();
        // serde's text contains the name of the Rust type.
        let unmatched = text.starts_with("data did not match any variant");
        Self::Wrong(if unmatched { "None of the accepted forms matches.".to_owned() } else { text })
    }

    fn invalid_type(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::Wrong(format!("{} is needed.", plain(&expected.to_string())))
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::Wrong(format!("{} is needed.", plain(&expected.to_string())))
    }

    fn invalid_length(length: usize, _: &dyn Expected) -> Self {
        Self::Wrong(format!("A list of {length} items is not accepted here."))
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        Self::Wrong(one_of(expected))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::Wrong(format!("The field {field} is not known. Known: {}.", expected.join(", ")))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::Missing(field)
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::Wrong(format!("The field {field} is given under two names. Send it once."))
    }
}

/// Returns the text for a value that is not in a closed list.
pub(super) fn one_of(expected: &[&str]) -> String {
    format!("One of these texts is needed: {}.", expected.join(", "))
}

/// Describes what a visitor expects, without names of Rust types.
fn plain(expected: &str) -> &'static str {
    const WHOLE: [&str; 12] =
        ["i8", "i16", "i32", "i64", "i128", "isize", "u8", "u16", "u32", "u64", "u128", "usize"];
    let last = expected.rsplit(' ').next().unwrap_or_default();
    match expected {
        _ if expected.contains("nonzero") => "A number other than 0",
        _ if WHOLE.contains(&last) => "A whole number in range",
        "f32" | "f64" => "A number",
        "a boolean" => "true or false",
        "a string" | "a character" | "a borrowed string" => "A text",
        "a map" => "An object",
        "unit" => "null",
        _ if expected.starts_with("struct ") => "An object",
        _ if expected.starts_with("a sequence") || expected.starts_with("tuple") => "A list",
        _ => "Another value",
    }
}
