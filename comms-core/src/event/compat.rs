//! The compatibility check between two schemas of an event.
//!
//! Old and new code read and write one topic at the same time, and a topic keeps old payloads for years. A change
//! within one major version must therefore be compatible in both directions. An incompatible change needs a new major
//! version with an upcaster ([`Versions`](super::Versions)).

use std::{collections::BTreeMap, fmt};

use super::{Field, Shape};

type Fields = BTreeMap<String, Field>;

/// The direction in which a change must be compatible, in the terms of schema registries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compatibility {
    /// New readers can read what old writers wrote. Required if a topic keeps old payloads.
    Backward,
    /// Old readers can read what new writers write. Required if writers are deployed before readers.
    Forward,
    /// Backward and forward.
    Full,
}

/// One incompatible change, with its effect and a remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// The path of the changed value, such as `$.lines[].price`, or the name of the golden file concerned.
    pub path: String,
    /// The change that was found.
    pub change: String,
    /// The readers or payloads that the change breaks.
    pub impact: String,
    /// The recommended correction.
    pub remedy: String,
}

/// All incompatible changes of one event, as the failure text of a test.
///
/// `Debug` prints the same text as `Display`, so that a test of type `fn() -> Result<(), Report>` and `unwrap` both
/// show it.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// The event's type name, such as `order.placed.v2`.
    pub event: String,
    /// The incompatible changes, at least one.
    pub findings: Vec<Finding>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {} incompatible", self.event, self.findings.len())?;
        for Finding { path, change, impact, remedy } in &self.findings {
            writeln!(f, "  {path}: {change}\n    breaks: {impact}\n    do: {remedy}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl std::error::Error for Report {}

/// Compares two shapes of `event`: `old`, which was stored, and `new`, which is the current one.
///
/// The check assumes that readers ignore unknown fields. A renamed optional field is not found: no reader fails, but
/// readers no longer see the values under the old name.
///
/// ```
/// use comms_core::event::{Shape, compat::{Compatibility, compare}};
/// let old = Shape::record().required("price", Shape::Integer).into();
/// let new = Shape::record().required("price", Shape::String).into();
/// let report = compare("order.placed.v1", &old, &new, Compatibility::Backward).unwrap_err();
/// assert_eq!(report.findings[0].path, "$.price");
/// assert_eq!(report.findings[0].change, "integer became string");
/// ```
///
/// # Errors
/// Returns a [`Report`] of all changes that are incompatible in the direction of `mode`, if there are any.
pub fn compare(event: &str, old: &Shape, new: &Shape, mode: Compatibility) -> Result<(), Report> {
    let mut findings = Vec::new();
    if mode != Compatibility::Forward {
        Check { direction: Direction::Backward, findings: &mut findings }.shapes("$", new, old);
    }
    if mode != Compatibility::Backward {
        Check { direction: Direction::Forward, findings: &mut findings }.shapes("$", old, new);
    }
    report(event, findings)
}

/// Returns a report of `findings` as the error, unless there are none.
pub(super) fn report(event: &str, findings: Vec<Finding>) -> Result<(), Report> {
    match findings.is_empty() {
        true => Ok(()),
        false => Err(Report { event: event.to_owned(), findings }),
    }
}

/// The direction of one check.
#[derive(Clone, Copy)]
enum Direction {
    /// The new shape reads what the old shape wrote.
    Backward,
    /// The old shape reads what the new shape wrote.
    Forward,
}

struct Check<'a> {
    direction: Direction,
    findings: &'a mut Vec<Finding>,
}

impl Check<'_> {
    /// Adds a finding for each value of `writer` that `reader` cannot read.
    fn shapes(&mut self, path: &str, reader: &Shape, writer: &Shape) {
        match (reader, writer) {
            (Shape::Any, _) | (Shape::Number, Shape::Integer) | (Shape::String, Shape::Enum(_)) => {}
            (Shape::Nullable(reader), writer) => {
                self.shapes(path, reader, non_null(writer));
            }
            (reader, Shape::Nullable(writer)) => {
                self.add_null(path);
                self.shapes(path, reader, writer);
            }
            (Shape::Enum(accepted), Shape::Enum(written)) => {
                let unknown: Vec<&str> = written.difference(accepted).map(String::as_str).collect();
                if !unknown.is_empty() {
                    self.add_enum_values(path, &unknown.join(", "));
                }
            }
            (Shape::Array(reader), Shape::Array(writer)) => self.shapes(&format!("{path}[]"), reader, writer),
            (Shape::Map(reader), Shape::Map(writer)) => self.shapes(&format!("{path}.*"), reader, writer),
            (Shape::Record(reader), Shape::Record(writer)) => self.record(path, reader, writer),
            (reader, writer) if reader == writer => {}
            (reader, writer) => self.add_type_change(path, reader, writer),
        }
    }

    fn record(&mut self, path: &str, reader: &Fields, writer: &Fields) {
        for (name, field) in reader {
            let path = format!("{path}.{name}");
            let written = writer.get(name);
            if field.required && !written.is_some_and(|w| w.required) {
                let renamed = written.is_none().then(|| renamed(field, reader, writer)).flatten();
                self.add_missing(&path, written.is_some(), renamed);
            }
            if let Some(written) = written {
                self.shapes(&path, &field.shape, &written.shape);
            }
        }
    }

    fn add_missing(&mut self, path: &str, is_optional: bool, renamed: Option<&str>) {
        let hint = |word: &str| renamed.map_or(String::new(), |name| format!(" (renamed {word} {name:?}?)"));
        match (self.direction, is_optional) {
            (Direction::Backward, true) => self.add(path, "became required", OLD_LACKS, MAKE_OPTIONAL),
            (Direction::Backward, false) => {
                self.add(path, &format!("added as required{}", hint("from")), OLD_LACKS, MAKE_OPTIONAL);
            }
            (Direction::Forward, true) => self.add(path, "became optional", OLD_REQUIRES, KEEP_WRITING),
            (Direction::Forward, false) => {
                self.add(path, &format!("required field removed{}", hint("to")), OLD_REQUIRES, KEEP_WRITING);
            }
        }
    }

    fn add_null(&mut self, path: &str) {
        match self.direction {
            Direction::Backward => {
                self.add(path, "may no longer be null", "old payloads may contain null", ACCEPT_NULL)
            }
            Direction::Forward => {
                self.add(path, "may now be null", "old readers do not accept null", NEVER_NULL);
            }
        }
    }

    fn add_enum_values(&mut self, path: &str, values: &str) {
        match self.direction {
            Direction::Backward => {
                self.add(
                    path,
                    &format!("enum lost {values}"),
                    "old payloads may contain these values",
                    KEEP_VALUES,
                );
            }
            Direction::Forward => {
                let impact = "old readers do not accept these values";
                self.add(path, &format!("enum gained {values}"), impact, READERS_FIRST);
            }
        }
    }

    fn add_type_change(&mut self, path: &str, reader: &Shape, writer: &Shape) {
        let (reads, writes) = (reader.type_name(), writer.type_name());
        let (change, impact) = match self.direction {
            Direction::Backward => (
                format!("{writes} became {reads}"),
                format!("old payloads contain {writes}, and new readers expect {reads}"),
            ),
            Direction::Forward => (
                format!("{reads} became {writes}"),
                format!("old readers expect {reads}, and new payloads contain {writes}"),
            ),
        };
        self.add(path, &change, &impact, ADD_ANOTHER_FIELD);
    }

    fn add(&mut self, path: &str, change: &str, impact: &str, remedy: &str) {
        let [path, change, impact, remedy] = [path, change, impact, remedy].map(str::to_owned);
        self.findings.push(Finding { path, change, impact, remedy });
    }
}

/// Returns the name of the only field that has the same shape and that only the writer has: probably the same field
/// under another name.
fn renamed<'a>(field: &Field, reader: &Fields, writer: &'a Fields) -> Option<&'a str> {
    let mut candidates =
        writer.iter().filter(|(name, w)| !reader.contains_key(*name) && w.shape == field.shape);
    match (candidates.next(), candidates.next()) {
        (Some((name, _)), None) => Some(name),
        _ => None,
    }
}

fn non_null(shape: &Shape) -> &Shape {
    match shape {
        Shape::Nullable(inner) => inner,
        other => other,
    }
}

const OLD_LACKS: &str = "new readers require the field, and old payloads may lack it";
const OLD_REQUIRES: &str = "old readers require the field";
const MAKE_OPTIONAL: &str =
    "make the field optional with a default, or add a new major version with an upcaster that sets it";
const KEEP_WRITING: &str = "keep writing the field always, or add a new major version";
const ACCEPT_NULL: &str = "keep accepting null, or add a new major version with an upcaster";
const NEVER_NULL: &str = "keep the field non-null, or add a new major version";
const KEEP_VALUES: &str = "keep the values, or add a new major version with an upcaster that maps them";
const READERS_FIRST: &str =
    "deploy readers that accept the values before they are written, or add a new major version";
const ADD_ANOTHER_FIELD: &str =
    "keep the field and add a second one of the new type, or add a new major version with an upcaster";
