//! Reads a type from a document, and continues after an error.
//!
//! serde stops at the first error. Therefore the reader records the place of the error and reads the document again
//! with a placeholder in that place, until a pass finds no new error. In this way every error is found that does not
//! depend on another one.

mod deserializer;

use serde::de::{DeserializeOwned, Visitor};

use super::{
    error_list::{ErrorList, MAX_ERRORS},
    node::Node,
    read_error::ReadError,
};

/// Reads `T`. If errors were recorded, the value contains placeholders and serves only for further checks.
pub(super) fn read<T: DeserializeOwned>(node: &Node, errors: &ErrorList) -> Option<T> {
    for _ in 0..=MAX_ERRORS {
        let before = errors.replaced_count();
        if let Ok(value) = T::deserialize(Reader::new(node, String::new(), errors)) {
            return Some(value);
        }
        if errors.replaced_count() == before {
            return None;
        }
    }
    None
}

/// A value of the document, and its place.
pub(super) struct Reader<'a> {
    node: &'a Node,
    pointer: String,
    errors: &'a ErrorList,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(node: &'a Node, pointer: String, errors: &'a ErrorList) -> Self {
        Self { node, pointer, errors }
    }

    pub(super) fn wrong(&self, detail: impl Into<String>) -> ReadError {
        self.errors.record(&self.pointer, ReadError::Wrong(detail.into()))
    }

    fn mismatch(&self, what: &str) -> ReadError {
        self.wrong(format!("{what} is needed, not {}.", self.node.describe()))
    }

    fn is_replaced(&self) -> bool {
        self.errors.is_replaced(&self.pointer)
    }

    /// Records the error of a visitor at the place of this value.
    fn record<T>(&self, result: Result<T, ReadError>) -> Result<T, ReadError> {
        result.map_err(|error| self.errors.record(&self.pointer, error))
    }

    /// Returns a whole number from `min` to `max`.
    fn whole(&self, min: i128, max: i128) -> Result<i128, ReadError> {
        let number = match *self.node {
            Node::Unsigned(number) => i128::from(number),
            Node::Negative(number) => i128::from(number),
            Node::Float(number) if number.fract() != 0.0 => {
                return Err(self.wrong("A whole number is needed, without a fraction."));
            }
            Node::Float(number) if number.abs() < 2_f64.powi(63) => {
                return Err(self.wrong("Write the number with digits only, without a point or an exponent."));
            }
            Node::Float(number) if number > 0.0 => i128::MAX,
            Node::Float(_) => i128::MIN,
            _ => return Err(self.mismatch("A whole number")),
        };
        match (min..=max).contains(&number) {
            true => Ok(number),
            false => Err(self.wrong(format!("The number must be from {min} to {max}."))),
        }
    }

    fn signed<'de, V: Visitor<'de>>(self, min: i64, max: i64, visitor: V) -> Result<V::Value, ReadError> {
        if self.is_replaced() {
            return visitor.visit_i64(0).map_err(|_: ReadError| ReadError::Recorded);
        }
        let number = self.whole(min.into(), max.into())?;
        self.record(visitor.visit_i64(number as i64))
    }

    fn unsigned<'de, V: Visitor<'de>>(self, max: u64, visitor: V) -> Result<V::Value, ReadError> {
        if self.is_replaced() {
            return visitor.visit_u64(0).map_err(|_: ReadError| ReadError::Recorded);
        }
        let number = self.whole(0, max.into())?;
        self.record(visitor.visit_u64(number as u64))
    }

    fn number<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        if self.is_replaced() {
            return visitor.visit_f64(0.0).map_err(|_: ReadError| ReadError::Recorded);
        }
        let number = match *self.node {
            Node::Unsigned(number) => number as f64,
            Node::Negative(number) => number as f64,
            Node::Float(number) => number,
            _ => return Err(self.mismatch("A number")),
        };
        self.record(visitor.visit_f64(number))
    }

    fn text<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        if self.is_replaced() {
            return visitor.visit_str("").map_err(|_: ReadError| ReadError::Recorded);
        }
        let Node::Text(text) = self.node else { return Err(self.mismatch("A text")) };
        self.record(visitor.visit_str(text))
    }
}
