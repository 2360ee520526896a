//! Golden files: what was once on the wire, kept beside the tests.

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

/// A folder of golden files. For an event `order.placed` it holds
/// - `order.placed.v2.schema.json`: the schema as it was released, of the newest version;
/// - `order.placed.v1.json`, `order.placed.v1.<case>.json`: payloads, at least one of every version still read.
///
/// ```no_run
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # struct Placed {}
/// # impl comms_core::event::Event for Placed {
/// #     const TYPE: &'static str = "order.placed";
/// #     const VERSION: u32 = 1;
/// #     fn key(&self) -> String { String::new() }
/// # }
/// use comms_core::event::{Golden, Versions, compat::Compatibility};
/// // #[test]
/// fn old_orders_are_read() -> Result<(), Box<dyn std::error::Error>> {
///     let versions = Versions::<Placed>::json().build()?;
///     Ok(Golden::at("tests/golden").check(&versions, Compatibility::Full)?)
/// }
/// # old_orders_are_read().unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct Golden {
    folder: PathBuf,
}

impl Golden {
    /// The golden files in `folder`; cargo runs tests in the folder of their package.
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// Checks that
    /// - every stored payload decodes, through the upcasters, as the newest version;
    /// - what is then written again is of the schema the event gives of itself, and has no field beyond it;
    /// - that schema is compatible with the stored one;
    /// - no payload is stored of a version that is not read: its upcaster has gone, or the version went back.
    ///
    /// The second and the third are for events that are [`described`](super::VersionsBuilder::described).
    ///
    /// # Errors
    /// The [`Report`]; a missing or unreadable file is a finding that says what to store.
    pub fn check<E: Event>(&self, versions: &Versions<E>, mode: Compatibility) -> Result<(), Report> {
        let mut findings = Vec::new();
        for version in versions.oldest()..=E::VERSION {
            self.payloads(versions, version, &mut findings);
        }
        self.strays(versions, &mut findings);
        if let Some(shape) = versions.shape() {
            self.schema::<E>(shape, mode, &mut findings);
        }
        report(&type_name::<E>(), findings)
    }

    fn payloads<E: Event>(&self, versions: &Versions<E>, version: u32, findings: &mut Vec<Finding>) {
        let stem = format!("{}.v{version}", E::TYPE);
        let files = match self.list(&stem, is_payload) {
            Ok(files) if !files.is_empty() => files,
            Ok(_) => return findings.push(absent(&stem)),
            Err(e) => return findings.push(unreadable(&self.folder, &e)),
        };
        for file in files {
            let payload = match fs::read(&file) {
                Ok(payload) => payload,
                Err(e) => return findings.push(unreadable(&file, &e)),
            };
            match written_again(versions, version, &payload) {
                Ok(value) => drifted(&file, versions.shape(), &value, findings),
                Err(e) => findings.push(undecodable(&file, &e)),
            }
        }
    }

    fn schema<E: Event>(&self, shape: &Shape, mode: Compatibility, findings: &mut Vec<Finding>) {
        let name = type_name::<E>();
        let file = self.folder.join(format!("{name}.schema.json"));
        let stored = fs::read(&file)
            .map_err(|e| unreadable(&file, &e))
            .and_then(|bytes| serde_json::from_slice::<Shape>(&bytes).map_err(|e| unreadable(&file, &e)));
        match stored {
            Ok(stored) => findings
                .extend(compare(&name, &stored, shape, mode).err().into_iter().flat_map(|r| r.findings)),
            Err(finding) => {
                findings.push(Finding { remedy: format!("store {shape} there"), ..finding });
            }
        }
    }

    /// Payloads of versions that are not read; a folder that cannot be read has been found already.
    fn strays<E: Event>(&self, versions: &Versions<E>, findings: &mut Vec<Finding>) {
        let read = versions.oldest()..=E::VERSION;
        let beyond = |rest: &str| {
            let (version, case) = rest.split_once('.').unwrap_or((rest, ""));
            let version = version.parse().ok().filter(|version| !read.contains(version));
            version.is_some_and(|_: u32| is_payload(&format!(".{case}")))
        };
        let files = self.list(&format!("{}.v", E::TYPE), beyond).unwrap_or_default();
        findings.extend(files.iter().map(|file| unread(file)));
    }

    /// The files named `<stem><rest>`, by what the rest is, in order.
    fn list(&self, stem: &str, wanted: impl Fn(&str) -> bool) -> io::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let rest = path.file_name().and_then(|n| n.to_str()).and_then(|n| n.strip_prefix(stem));
            if rest.is_some_and(&wanted) {
                files.push(path);
            }
        }
        files.sort();
        Ok(files)
    }
}

/// Whether the name of a file goes on after the version as that of a payload: `.json` or `.<case>.json`.
fn is_payload(rest: &str) -> bool {
    rest.starts_with('.') && rest.ends_with(".json") && rest != ".schema.json"
}

fn written_again<E: Event>(versions: &Versions<E>, version: u32, payload: &[u8]) -> Result<Value, Error> {
    let codec = versions.codec();
    let event = if version == E::VERSION { codec.decode(payload) } else { versions.lift(version, payload) }?;
    match versions.shape() {
        Some(_) => codec.raw(&codec.encode(&event)?),
        None => Ok(Value::Null),
    }
}

fn drifted(file: &Path, shape: Option<&Shape>, value: &Value, findings: &mut Vec<Finding>) {
    let mut wrong = Vec::new();
    if let Some(shape) = shape {
        shape.mismatches("$", value, true, &mut wrong);
    }
    findings.extend(wrong.into_iter().map(|(path, what)| Finding {
        path,
        change: format!("written again, {} {what}", name_of(file)),
        why: "the schema does not say what is written, so it proves nothing".into(),
        remedy: "correct Schema::shape or the type".into(),
    }));
}

fn absent(stem: &str) -> Finding {
    Finding {
        path: format!("{stem}.json"),
        change: "no golden payload".into(),
        why: "nothing proves that this version is still read".into(),
        remedy: "store a payload as it was on the wire under this name".into(),
    }
}

fn undecodable(file: &Path, error: &Error) -> Finding {
    Finding {
        path: name_of(file),
        change: error.to_string(),
        why: "data like this stands in topics and dead letters".into(),
        remedy: "mend the upcaster, or give what is new a default".into(),
    }
}

fn unread(file: &Path) -> Finding {
    Finding {
        path: name_of(file),
        change: "its version is not read".into(),
        why: "data like this stands in topics and dead letters, and would be dead-lettered".into(),
        remedy: "give its upcaster back, or delete the file when no such data is left".into(),
    }
}

fn unreadable(file: &Path, error: &dyn std::fmt::Display) -> Finding {
    Finding {
        path: name_of(file),
        change: error.to_string(),
        why: "there is nothing to compare with".into(),
        remedy: "mend the file".into(),
    }
}

fn name_of(file: &Path) -> String {
    file.file_name().unwrap_or(file.as_os_str()).to_string_lossy().into_owned()
}
