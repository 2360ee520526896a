//! What an event looks like: a small shape, written as a subset of JSON Schema (2020-12).

mod json_schema;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// An event that can say what it looks like. [`Golden`](super::Golden) holds it to its word.
///
/// ```
/// use comms_core::event::{Schema, Shape};
/// struct OrderPlaced;
/// impl Schema for OrderPlaced {
///     fn shape() -> Shape {
///         let line = Shape::record().required("sku", Shape::String).required("pieces", Shape::Integer);
///         Shape::record()
///             .required("order_id", Shape::String)
///             .required("lines", Shape::array(line.into()))
///             .nullable("coupon", Shape::String)
///             .into()
///     }
/// }
/// assert!(OrderPlaced::shape().to_string().starts_with(r#"{"properties":{"coupon":"#));
/// ```
pub trait Schema {
    /// The shape of the version that is written now.
    fn shape() -> Shape;
}

/// The shape of a value: what compatibility depends on, and no more. As serde it is JSON Schema: `type`,
/// `properties`, `required`, `items`, `additionalProperties`, `enum`, and `anyOf` with null. What cannot be said
/// so (a tagged union) is [`Shape::Any`], and then only golden payloads watch over it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Value", try_from = "Value")]
#[non_exhaustive]
pub enum Shape {
    /// Anything.
    Any,
    /// `true` or `false`.
    Boolean,
    /// A whole number.
    Integer,
    /// Any number.
    Number,
    /// Text.
    String,
    /// Text out of a fixed set.
    Enum(BTreeSet<String>),
    /// A list of one shape.
    Array(Box<Shape>),
    /// An object of any names, all of one shape.
    Map(Box<Shape>),
    /// An object of known names. A reader ignores others.
    Record(BTreeMap<String, Field>),
    /// This, or null.
    Nullable(Box<Shape>),
}

/// A field of a [`Shape::Record`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Field {
    /// What it holds.
    pub shape: Shape,
    /// Whether a writer always writes it, so that a reader may demand it.
    pub required: bool,
}

/// A [`Shape::Record`] in the making.
#[derive(Debug, Clone, Default)]
pub struct Record(BTreeMap<String, Field>);

impl Record {
    /// A field that is always there.
    #[must_use]
    pub fn required(self, name: &str, shape: Shape) -> Self {
        self.field(name, shape, true)
    }

    /// A field that may be absent, but is never null: `#[serde(default)]`.
    #[must_use]
    pub fn optional(self, name: &str, shape: Shape) -> Self {
        self.field(name, shape, false)
    }

    /// A field that may be absent or null: serde's `Option`.
    #[must_use]
    pub fn nullable(self, name: &str, shape: Shape) -> Self {
        self.field(name, shape.or_null(), false)
    }

    fn field(mut self, name: &str, shape: Shape, required: bool) -> Self {
        self.0.insert(name.to_owned(), Field { shape, required });
        self
    }
}

impl From<Record> for Shape {
    fn from(record: Record) -> Self {
        Self::Record(record.0)
    }
}

impl Shape {
    /// Begins a record without fields.
    #[must_use]
    pub fn record() -> Record {
        Record::default()
    }

    /// Text out of `values`.
    pub fn one_of<S: Into<String>>(values: impl IntoIterator<Item = S>) -> Self {
        Self::Enum(values.into_iter().map(Into::into).collect())
    }

    /// A list of `items`.
    #[must_use]
    pub fn array(items: Self) -> Self {
        Self::Array(Box::new(items))
    }

    /// An object of any names with `values`.
    #[must_use]
    pub fn map(values: Self) -> Self {
        Self::Map(Box::new(values))
    }

    /// This, or null.
    #[must_use]
    pub fn or_null(self) -> Self {
        match self {
            Self::Any | Self::Nullable(_) => self,
            other => Self::Nullable(Box::new(other)),
        }
    }

    /// What it is in a word, for reports.
    pub(super) fn word(&self) -> String {
        match self {
            Self::Any => "anything".into(),
            Self::Boolean => "boolean".into(),
            Self::Integer => "integer".into(),
            Self::Number => "number".into(),
            Self::String => "string".into(),
            Self::Enum(_) => "enum".into(),
            Self::Array(_) => "array".into(),
            Self::Map(_) => "map".into(),
            Self::Record(_) => "record".into(),
            Self::Nullable(inner) => format!("{} or null", inner.word()),
        }
    }

    /// Where `value` is not of this shape: (path, what is wrong). `closed`: fields that no record names count.
    pub(super) fn mismatches(
        &self,
        path: &str,
        value: &Value,
        closed: bool,
        out: &mut Vec<(String, String)>,
    ) {
        match (self, value) {
            (Self::Any, _)
            | (Self::Boolean, Value::Bool(_))
            | (Self::Number, Value::Number(_))
            | (Self::String, Value::String(_))
            | (Self::Nullable(_), Value::Null) => {}
            (Self::Nullable(inner), _) => inner.mismatches(path, value, closed, out),
            (Self::Integer, Value::Number(n)) if n.is_i64() || n.is_u64() => {}
            (Self::Enum(known), Value::String(text)) if known.contains(text) => {}
            (Self::Enum(_), Value::String(text)) => {
                out.push((path.into(), format!("{text:?} is not in the enum")))
            }
            (Self::Array(items), Value::Array(values)) => {
                values.iter().for_each(|v| items.mismatches(&format!("{path}[]"), v, closed, out));
            }
            (Self::Map(of), Value::Object(values)) => {
                values.values().for_each(|v| of.mismatches(&format!("{path}.*"), v, closed, out));
            }
            (Self::Record(fields), Value::Object(values)) => {
                for (name, field) in fields {
                    match values.get(name) {
                        Some(v) => field.shape.mismatches(&format!("{path}.{name}"), v, closed, out),
                        None if field.required => out.push((format!("{path}.{name}"), "is missing".into())),
                        None => {}
                    }
                }
                for name in values.keys().filter(|name| closed && !fields.contains_key(*name)) {
                    out.push((format!("{path}.{name}"), "is not in the schema".into()));
                }
            }
            (shape, other) => out.push((path.into(), format!("is {}, not {}", kind_of(other), shape.word()))),
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Value::from(self.clone()))
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
