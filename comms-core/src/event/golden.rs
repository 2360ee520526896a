//! Golden files: payloads and schemas as they were on the wire, stored with the tests.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::{
    Event, Shape, Versions,
    compat::{Compatibility, Finding, Report, compare, report},
    type_name,
};
use crate::Error;

/// A folder of golden files, against which a test checks the current code.
///
/// For an event `order.placed` the folder contains
/// - `order.placed.v2.schema.json`: the released schema of the newest version;
/// - `order.placed.v1.json`, `order.placed.v1.<case>.json`: payloads, at least one for every version that can be read.
///
/// ```no_run
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # struct Placed {}
/// # impl comms_core::event::Event for Placed {
/// #     const TYPE: &'static str = "order.placed";
/// #     const VERSION: u32 = 1;
/// #     fn key(&self) -> String { String::new() }
/// # }
/// use comms_core::event::{GoldenFiles, Versions, compat::Compatibility};
/// // #[test]
/// fn old_orders_are_read() -> Result<(), Box<dyn std::error::Error>> {
///     let versions = Versions::<Placed>::json().build()?;
///     Ok(GoldenFiles::at("tests/golden").check(&versions, Compatibility::Full)?)
/// }
/// # old_orders_are_read().unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct GoldenFiles {
    folder: PathBuf,
}

impl GoldenFiles {
    /// Uses the golden files in `folder`. Cargo runs a test in the folder of its package, so the path may be relative
    /// to it.
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// Checks the event of `versions` against the golden files.
    ///
    /// The check passes if
    /// - every version that can be read has a stored payload;
    /// - every stored payload decodes, through the upcasters, as the newest version;
    /// - every decoded event, encoded again, matches the event's schema and has no field outside it;
    /// - the event's schema is compatible with the stored one in the direction of `mode`;
    /// - no stored payload has a version that cannot be read, because its upcaster was removed or [`Event::VERSION`]
    ///   was lowered.
    ///
    /// The third and fourth conditions apply only to versions built [with a
    /// schema](super::VersionsBuilder::with_schema).
    ///
    /// # Errors
    /// Returns a [`Report`] with a finding for each violated condition, and for each file that is missing or cannot be
    /// read.
    pub fn check<E: Event>(&self, versions: &Versions<E>, mode: Compatibility) -> Result<(), Report> {
        let mut findings = Vec::new();
        for version in versions.oldest()..=E::VERSION {
            self.check_payloads(versions, version, &mut findings);
        }
        self.check_unreadable_versions(versions, &mut findings);
        if let Some(shape) = versions.shape() {
            self.check_schema::<E>(shape, mode, &mut findings);
        }
        report(&type_name::<E>(), findings)
    }

    fn check_payloads<E: Event>(&self, versions: &Versions<E>, version: u32, findings: &mut Vec<Finding>) {
        let stem = format!("{}.v{version}", E::TYPE);
        let files = match self.list(&stem, is_payload) {
            Ok(files) if !files.is_empty() => files,
            Ok(_) => return findings.push(missing_payload(&stem)),
            Err(e) => return findings.push(unreadable(&self.folder, &e)),
        };
        for file in files {
            let payload = match fs::read(&file) {
                Ok(payload) => payload,
                Err(e) => return findings.push(unreadable(&file, &e)),
            };
            match reencode(versions, version, &payload) {
                Ok(value) => check_shape(&file, versions.shape(), &value, findings),
                Err(e) => findings.push(undecodable(&file, &e)),
            }
        }
    }

    fn check_schema<E: Event>(&self, shape: &Shape, mode: Compatibility, findings: &mut Vec<Finding>) {
        let name = type_name::<E>();
        let file = self.folder.join(format!("{name}.schema.json"));
        let stored = fs::read(&file)
            .map_err(|e| unreadable(&file, &e))
            .and_then(|bytes| serde_json::from_slice::<Shape>(&bytes).map_err(|e| unreadable(&file, &e)));
        match stored {
            Ok(stored) => findings
                .extend(compare(&name, &stored, shape, mode).err().into_iter().flat_map(|r| r.findings)),
            Err(finding) => {
                findings
                    .push(Finding { remedy: format!("store this schema in the file: {shape}"), ..finding });
            }
        }
    }

    /// Adds a finding for each payload of a version that cannot be read. An unreadable folder is reported by
    /// [`check_payloads`](Self::check_payloads).
    fn check_unreadable_versions<E: Event>(&self, versions: &Versions<E>, findings: &mut Vec<Finding>) {
        let readable = versions.oldest()..=E::VERSION;
        let is_unreadable = |rest: &str| {
            let (version, case) = rest.split_once('.').unwrap_or((rest, ""));
            let version = version.parse().ok().filter(|version| !readable.contains(version));
            version.is_some_and(|_: u32| is_payload(&format!(".{case}")))
        };
        let files = self.list(&format!("{}.v", E::TYPE), is_unreadable).unwrap_or_default();
        findings.extend(files.iter().map(|file| unreadable_version(file)));
    }

    /// Returns the files named `<stem><rest>` for which `matches(rest)` is true, sorted by name.
    fn list(&self, stem: &str, matches: impl Fn(&str) -> bool) -> io::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let rest = path.file_name().and_then(|n| n.to_str()).and_then(|n| n.strip_prefix(stem));
            if rest.is_some_and(&matches) {
                files.push(path);
            }
        }
        files.sort();
        Ok(files)
    }
}

/// Returns whether a file name that ends in `rest` after its version is that of a payload: `.json` or `.<case>.json`.
fn is_payload(rest: &str) -> bool {
    rest.starts_with('.') && rest.ends_with(".json") && rest != ".schema.json"
}

/// Decodes `payload` and returns the raw form of the event encoded again, or null for an event without a schema.
fn reencode<E: Event>(versions: &Versions<E>, version: u32, payload: &[u8]) -> Result<Value, Error> {
    let codec = versions.codec();
    let event = if version == E::VERSION {
        codec.decode(payload)
    } else {
        versions.decode_version(version, payload)
    }?;
    match versions.shape() {
        Some(_) => codec.raw(&codec.encode(&event)?),
        None => Ok(Value::Null),
    }
}

/// Adds a finding for each difference between `value` and `shape`.
fn check_shape(file: &Path, shape: Option<&Shape>, value: &Value, findings: &mut Vec<Finding>) {
    let mut mismatches = Vec::new();
    if let Some(shape) = shape {
        shape.mismatches("$", value, true, &mut mismatches);
    }
    findings.extend(mismatches.into_iter().map(|(path, mismatch)| Finding {
        path,
        change: format!("encoded again, {} {mismatch}", name_of(file)),
        impact: "the schema differs from what the code writes, so the compatibility check is void".into(),
        remedy: "correct Schema::shape or the event type".into(),
    }));
}

fn missing_payload(stem: &str) -> Finding {
    Finding {
        path: format!("{stem}.json"),
        change: "no golden payload".into(),
        impact: "no test proves that this version can still be read".into(),
        remedy: "store a payload of this version, as it was on the wire, under this name".into(),
    }
}

fn undecodable(file: &Path, error: &Error) -> Finding {
    Finding {
        path: name_of(file),
        change: error.to_string(),
        impact: "topics and dead letters may contain payloads like this one".into(),
        remedy: "correct the upcaster, or give the new field a default".into(),
    }
}

fn unreadable_version(file: &Path) -> Finding {
    Finding {
        path: name_of(file),
        change: "its version cannot be read".into(),
        impact: "payloads of this version in topics and dead letters would be dead-lettered".into(),
        remedy: "restore the upcaster, or delete the file if no payload of this version is left".into(),
    }
}

fn unreadable(file: &Path, error: &dyn std::fmt::Display) -> Finding {
    Finding {
        path: name_of(file),
        change: error.to_string(),
        impact: "the file cannot be compared with the code".into(),
        remedy: "correct the file".into(),
    }
}

fn name_of(file: &Path) -> String {
    file.file_name().unwrap_or(file.as_os_str()).to_string_lossy().into_owned()
}
