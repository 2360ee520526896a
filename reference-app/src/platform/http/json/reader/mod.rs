//! Reads a type from a document, and goes on after an error.
//!
//! serde ends at the first error. So the place of the error is noted, and the document is read again with a blank in that
//! place, until a reading finds nothing new. Every error that does not depend on another one is found so.

mod deserializer;

use serde::de::{DeserializeOwned, Deserializer, Visitor};

use super::{
    access::{Fields, Items},
    blank::Blank,
    failure::Failure,
    findings::{Findings, MOST},
    node::Node,
    pointer::child,
};

/// Reads `T`. With an error found, the value holds blanks, and is for further checks only.
pub(super) fn read<T: DeserializeOwned>(node: &Node, findings: &Findings) -> Option<T> {
    for _ in 0..=MOST {
        let before = findings.blanks();
        if let Ok(value) = T::deserialize(Reader::new(node, String::new(), findings)) {
            return Some(value);
        }
        if findings.blanks() == before {
            return None;
        }
    }
    None
}

/// A value of the document, and its place.
pub(super) struct Reader<'a> {
    node: &'a Node,
    pointer: String,
    findings: &'a Findings,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(node: &'a Node, pointer: String, findings: &'a Findings) -> Self {
        Self { node, pointer, findings }
    }

    pub(super) fn wrong(&self, detail: impl Into<String>) -> Failure {
        self.findings.record(&self.pointer, Failure::Wrong(detail.into()))
    }

    fn needs(&self, what: &str) -> Failure {
        self.wrong(format!("{what} is needed, not {}.", self.node.describe()))
    }

    fn is_blank(&self) -> bool {
        self.findings.is_blank(&self.pointer)
    }

    /// A visitor's refusal has its place here.
    fn placed<T>(&self, result: Result<T, Failure>) -> Result<T, Failure> {
        result.map_err(|failure| self.findings.record(&self.pointer, failure))
    }

    /// A whole number from `least` to `most`.
    fn whole(&self, least: i128, most: i128) -> Result<i128, Failure> {
        let number = match *self.node {
            Node::Unsigned(number) => i128::from(number),
            Node::Negative(number) => i128::from(number),
            Node::Float(number) if number.fract() != 0.0 => {
                return Err(self.wrong("A whole number is needed, without a fraction."));
            }
            Node::Float(number) if number.abs() < 2_f64.powi(63) => {
                return Err(self.wrong("Write the number in digits alone, without a point or an exponent."));
            }
            Node::Float(number) if number > 0.0 => i128::MAX,
            Node::Float(_) => i128::MIN,
            _ => return Err(self.needs("A whole number")),
        };
        match (least..=most).contains(&number) {
            true => Ok(number),
            false => Err(self.wrong(format!("The number must be from {least} to {most}."))),
        }
    }

    fn signed<'de, V: Visitor<'de>>(self, least: i64, most: i64, visitor: V) -> Result<V::Value, Failure> {
        if self.is_blank() {
            return visitor.visit_i64(0).map_err(|_: Failure| Failure::Recorded);
        }
        let number = self.whole(least.into(), most.into())?;
        self.placed(visitor.visit_i64(number as i64))
    }

    fn unsigned<'de, V: Visitor<'de>>(self, most: u64, visitor: V) -> Result<V::Value, Failure> {
        if self.is_blank() {
            return visitor.visit_u64(0).map_err(|_: Failure| Failure::Recorded);
        }
        let number = self.whole(0, most.into())?;
        self.placed(visitor.visit_u64(number as u64))
    }

    fn number<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        if self.is_blank() {
            return visitor.visit_f64(0.0).map_err(|_: Failure| Failure::Recorded);
        }
        let number = match *self.node {
            Node::Unsigned(number) => number as f64,
            Node::Negative(number) => number as f64,
            Node::Float(number) => number,
            _ => return Err(self.needs("A number")),
        };
        self.placed(visitor.visit_f64(number))
    }

    fn text<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        if self.is_blank() {
            return visitor.visit_str("").map_err(|_: Failure| Failure::Recorded);
        }
        let Node::Text(text) = self.node else { return Err(self.needs("A text")) };
        self.placed(visitor.visit_str(text))
    }

    fn list<'de, V: Visitor<'de>>(self, length: Option<usize>, visitor: V) -> Result<V::Value, Failure> {
        if self.is_blank() {
            let blank = match length {
                Some(length) => Blank.deserialize_tuple(length, visitor),
                None => Blank.deserialize_seq(visitor),
            };
            return blank.map_err(|_| Failure::Recorded);
        }
        let Node::List(list) = self.node else { return Err(self.needs("A list")) };
        if let Some(length) = length.filter(|length| *length != list.len()) {
            return Err(self.wrong(format!("A list of {length} items is needed, not of {}.", list.len())));
        }
        let items = Items { list: list.iter(), index: 0, pointer: &self.pointer, findings: self.findings };
        self.placed(visitor.visit_seq(items))
    }

    /// With `known`, any other field is an error, whether or not the type itself refuses unknown fields.
    fn object<'de, V: Visitor<'de>>(
        self,
        known: Option<&'static [&'static str]>,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        let Node::Object(entries) = self.node else { return Err(self.needs("An object")) };
        for (name, _) in entries {
            if let Some(known) = known.filter(|known| !known.contains(&name.as_str())) {
                let detail = format!("This field is not known. Known: {}.", known.join(", "));
                self.findings.add(child(&self.pointer, name), detail);
            }
        }
        let mut missing = self.findings.blanks_of(&self.pointer);
        missing.retain(|name| entries.iter().all(|(present, _)| present != name));
        let fields = Fields {
            entries: entries.iter(),
            known,
            missing,
            pointer: &self.pointer,
            findings: self.findings,
            value: None,
        };
        self.placed(visitor.visit_map(fields))
    }
}
