//! The schema of an event: a shape, serialized as a subset of JSON Schema (2020-12).

mod json_schema;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// An event with a schema. [`GoldenFiles`](super::GoldenFiles) checks the schema against stored payloads.
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
    /// Returns the shape of the newest version.
    fn shape() -> Shape;
}

/// The shape of a value: the properties on which compatibility depends.
///
/// Serde reads and writes a shape as JSON Schema with the keywords `type`, `properties`, `required`, `items`,
/// `additionalProperties`, `enum`, and `anyOf` with null. A value outside this subset, such as a tagged union, is
/// [`Shape::Any`]: only golden payloads check it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Value", try_from = "Value")]
#[non_exhaustive]
pub enum Shape {
    /// A value of any type.
    Any,
    /// A boolean.
    Boolean,
    /// An integer.
    Integer,
    /// A number, integer or not.
    Number,
    /// A string.
    String,
    /// A string from a fixed set.
    Enum(BTreeSet<String>),
    /// An array whose items all have one shape.
    Array(Box<Shape>),
    /// An object with arbitrary names, whose values all have one shape.
    Map(Box<Shape>),
    /// An object with fixed field names. A reader ignores other fields.
    Record(BTreeMap<String, Field>),
    /// A value of the inner shape, or null.
    Nullable(Box<Shape>),
}

/// A field of a [`Shape::Record`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Field {
    /// The shape of the field's value.
    pub shape: Shape,
    /// Whether writers always write the field, so that readers may require it.
    pub required: bool,
}

/// A builder of a [`Shape::Record`]; [`Shape::record`] starts one.
#[derive(Debug, Clone, Default)]
pub struct Record(BTreeMap<String, Field>);

impl Record {
    /// Adds a field that is always present.
    #[must_use]
    pub fn required(self, name: &str, shape: Shape) -> Self {
        self.field(name, shape, true)
    }

    /// Adds a field that may be absent but is never null, as with `#[serde(default)]`.
    #[must_use]
    pub fn optional(self, name: &str, shape: Shape) -> Self {
        self.field(name, shape, false)
    }

    /// Adds a field that may be absent or null, as an `Option` in serde.
    #[must_use]
    pub fn nullable(self, name: &str, shape: Shape) -> Self {
        self.field(name, shape.nullable(), false)
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
    /// Starts a record without fields.
    #[must_use]
    pub fn record() -> Record {
        Record::default()
    }

    /// Returns the shape of a string that is one of `values`.
    pub fn one_of<S: Into<String>>(values: impl IntoIterator<Item = S>) -> Self {
        Self::Enum(values.into_iter().map(Into::into).collect())
    }

    /// Returns the shape of an array of `items`.
    #[must_use]
    pub fn array(items: Self) -> Self {
        Self::Array(Box::new(items))
    }

    /// Returns the shape of an object with arbitrary names and `values`.
    #[must_use]
    pub fn map(values: Self) -> Self {
        Self::Map(Box::new(values))
    }

    /// Returns the same shape with null allowed. [`Shape::Any`] and [`Shape::Nullable`] stay as they are.
    #[must_use]
    pub fn nullable(self) -> Self {
        match self {
            Self::Any | Self::Nullable(_) => self,
            other => Self::Nullable(Box::new(other)),
        }
    }

    /// Returns the name of the shape, for reports.
    pub(super) fn type_name(&self) -> String {
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
            Self::Nullable(inner) => format!("{} or null", inner.type_name()),
        }
    }

    /// Adds the path and the description of each difference between `value` and this shape to `out`. With `closed`,
    /// fields that the record does not name are differences.
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
            (Self::Enum(values), Value::String(text)) if values.contains(text) => {}
            (Self::Enum(_), Value::String(text)) => {
                out.push((path.into(), format!("{text:?} is not in the enum")))
            }
            (Self::Array(items), Value::Array(values)) => {
                values.iter().for_each(|v| items.mismatches(&format!("{path}[]"), v, closed, out));
            }
            (Self::Map(value), Value::Object(members)) => {
                members.values().for_each(|v| value.mismatches(&format!("{path}.*"), v, closed, out));
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
            (shape, other) => {
                out.push((path.into(), format!("is {}, not {}", json_type(other), shape.type_name())))
            }
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Value::from(self.clone()))
    }
}

fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
