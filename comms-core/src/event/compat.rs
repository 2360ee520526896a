//! Whether a changed event still understands, and is understood by, its other readers and writers.
//!
//! The problem: old and new code read and write one topic at once, and the topic keeps what is old for years.
//! A change within one major version must suit both; what does not is a new major version with an upcaster
//! ([`Versions`](super::Versions)).

use std::{collections::BTreeMap, fmt};

use super::{Field, Shape};

type Fields = BTreeMap<String, Field>;

/// What a change must keep working. The names are those of the schema registries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compatibility {
    /// The new reader reads what old writers wrote: what a topic that keeps its past needs.
    Backward,
    /// Readers of the old form read what the new writer writes: what deploying writers first needs.
    Forward,
    /// Both.
    Full,
}

/// One reason why a change breaks somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// Where: `$.lines[].price`; the name of a golden file where the file itself is the matter.
    pub path: String,
    /// What changed.
    pub change: String,
    /// Who breaks, and why.
    pub why: String,
    /// What to do about it.
    pub remedy: String,
}

/// Everything that breaks, to be read by whom the test stops. `Debug` is the same text, so that
/// `fn test() -> Result<(), Report>` and `unwrap` both show it.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// The event: `order.placed.v2`.
    pub event: String,
    /// At least one.
    pub findings: Vec<Finding>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {} incompatible", self.event, self.findings.len())?;
        for Finding { path, change, why, remedy } in &self.findings {
            writeln!(f, "  {path}: {change}\n    breaks: {why}\n    do: {remedy}")?;
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

/// Compares two shapes of `event`, the stored one and the current one.
///
/// A reader is taken to ignore fields it does not know. An optional field that is renamed breaks no reader, and so
/// is not found here: its old values are just no longer read.
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
/// The [`Report`] of all that breaks.
pub fn compare(event: &str, old: &Shape, new: &Shape, mode: Compatibility) -> Result<(), Report> {
    let mut findings = Vec::new();
    if mode != Compatibility::Forward {
        Check { side: Side::Backward, findings: &mut findings }.reads("$", new, old);
    }
    if mode != Compatibility::Backward {
        Check { side: Side::Forward, findings: &mut findings }.reads("$", old, new);
    }
    report(event, findings)
}

pub(super) fn report(event: &str, findings: Vec<Finding>) -> Result<(), Report> {
    match findings.is_empty() {
        true => Ok(()),
        false => Err(Report { event: event.to_owned(), findings }),
    }
}

/// Which of the two shapes reads what the other wrote.
#[derive(Clone, Copy)]
enum Side {
    /// The new one reads.
    Backward,
    /// The old one reads.
    Forward,
}

struct Check<'a> {
    side: Side,
    findings: &'a mut Vec<Finding>,
}

impl Check<'_> {
    /// Notes where `reader` cannot read what `writer` wrote.
    fn reads(&mut self, path: &str, reader: &Shape, writer: &Shape) {
        match (reader, writer) {
            (Shape::Any, _) | (Shape::Number, Shape::Integer) | (Shape::String, Shape::Enum(_)) => {}
            (Shape::Nullable(reader), writer) => {
                self.reads(path, reader, unwrapped(writer));
            }
            (reader, Shape::Nullable(writer)) => {
                self.null(path);
                self.reads(path, reader, writer);
            }
            (Shape::Enum(known), Shape::Enum(written)) => {
                let unknown: Vec<&str> = written.difference(known).map(String::as_str).collect();
                if !unknown.is_empty() {
                    self.values(path, &unknown.join(", "));
                }
            }
            (Shape::Array(reader), Shape::Array(writer)) => self.reads(&format!("{path}[]"), reader, writer),
            (Shape::Map(reader), Shape::Map(writer)) => self.reads(&format!("{path}.*"), reader, writer),
            (Shape::Record(reads), Shape::Record(writes)) => self.record(path, reads, writes),
            (reader, writer) if reader == writer => {}
            (reader, writer) => self.kind(path, reader, writer),
        }
    }

    fn record(&mut self, path: &str, reads: &Fields, writes: &Fields) {
        for (name, field) in reads {
            let path = format!("{path}.{name}");
            let written = writes.get(name);
            if field.required && !written.is_some_and(|w| w.required) {
                let twin = written.is_none().then(|| twin(field, reads, writes)).flatten();
                self.missing(&path, written.is_some(), twin);
            }
            if let Some(written) = written {
                self.reads(&path, &field.shape, &written.shape);
            }
        }
    }

    fn missing(&mut self, path: &str, still_optional: bool, twin: Option<&str>) {
        let hint = |word: &str| twin.map_or(String::new(), |t| format!(" (renamed {word} {t:?}?)"));
        match (self.side, still_optional) {
            (Side::Backward, true) => self.add(path, "became required", OLD_LACKS, MAKE_OPTIONAL),
            (Side::Backward, false) => {
                self.add(path, &format!("added as required{}", hint("from")), OLD_LACKS, MAKE_OPTIONAL);
            }
            (Side::Forward, true) => self.add(path, "became optional", OLD_DEMANDS, KEEP_WRITING),
            (Side::Forward, false) => {
                self.add(path, &format!("required field removed{}", hint("to")), OLD_DEMANDS, KEEP_WRITING);
            }
        }
    }

    fn null(&mut self, path: &str) {
        match self.side {
            Side::Backward => self.add(path, "may no longer be null", "old data may hold null", ACCEPT_NULL),
            Side::Forward => {
                self.add(path, "may now be null", "readers of the old form take no null", NEVER_NULL);
            }
        }
    }

    fn values(&mut self, path: &str, values: &str) {
        match self.side {
            Side::Backward => {
                self.add(path, &format!("enum lost {values}"), "old data may hold them", KEEP_VALUES);
            }
            Side::Forward => {
                let why = "readers of the old form know no such value";
                self.add(path, &format!("enum gained {values}"), why, READERS_FIRST);
            }
        }
    }

    fn kind(&mut self, path: &str, reader: &Shape, writer: &Shape) {
        let (reads, writes) = (reader.word(), writer.word());
        let (change, why) = match self.side {
            Side::Backward => (
                format!("{writes} became {reads}"),
                format!("old data holds {writes}, the new reader wants {reads}"),
            ),
            Side::Forward => (
                format!("{reads} became {writes}"),
                format!("readers of the old form want {reads}, new data holds {writes}"),
            ),
        };
        self.add(path, &change, &why, ADD_BESIDE);
    }

    fn add(&mut self, path: &str, change: &str, why: &str, remedy: &str) {
        let [path, change, why, remedy] = [path, change, why, remedy].map(str::to_owned);
        self.findings.push(Finding { path, change, why, remedy });
    }
}

/// The one field of the same shape that only the writer has: most likely the same under another name.
fn twin<'a>(field: &Field, reads: &Fields, writes: &'a Fields) -> Option<&'a str> {
    let mut twins = writes.iter().filter(|(name, w)| !reads.contains_key(*name) && w.shape == field.shape);
    match (twins.next(), twins.next()) {
        (Some((name, _)), None) => Some(name),
        _ => None,
    }
}

fn unwrapped(shape: &Shape) -> &Shape {
    match shape {
        Shape::Nullable(inner) => inner,
        other => other,
    }
}

const OLD_LACKS: &str = "the new reader demands what old data may lack";
const OLD_DEMANDS: &str = "readers of the old form demand it";
const MAKE_OPTIONAL: &str =
    "make it optional with a default, or a new major version with an upcaster that fills it";
const KEEP_WRITING: &str = "keep writing it always, or a new major version";
const ACCEPT_NULL: &str = "keep accepting null, or a new major version with an upcaster";
const NEVER_NULL: &str = "leave the field out of the change, or a new major version";
const KEEP_VALUES: &str = "keep the values, or a new major version with an upcaster that maps them";
const READERS_FIRST: &str = "teach every reader the values before they are written, or a new major version";
const ADD_BESIDE: &str =
    "keep the field and add one of the new type beside it, or a new major version with an upcaster";
