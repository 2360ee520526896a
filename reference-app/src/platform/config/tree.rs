//! The layers of the configuration, merged, and where each key was written.

use std::{path::Path, sync::Arc};

use comms_core::Error;
use figment::{
    Figment, Provider,
    error::Kind,
    value::{Dict, Value},
};
use serde::de::DeserializeOwned;

use super::{environment, explain, keys::Keys};
use crate::platform::service::Service;

/// Where a layer comes from.
#[derive(Debug, Clone)]
pub(super) enum Place {
    /// The defaults in the program.
    Defaults,
    /// A TOML file.
    File(String),
    /// `COMMS_…` variables.
    Environment,
    /// The arguments of the program.
    CommandLine,
}

/// The merged layers. Clones share them.
#[derive(Clone)]
pub struct Tree {
    merged: Arc<Dict>,
    layers: Arc<Vec<(Place, Dict)>>,
    pub(super) keys: Arc<Keys>,
}

impl Tree {
    /// Merges `layers`, of which the first has the defaults; a later one wins.
    ///
    /// # Errors
    /// Returns `Invalid` for a layer that cannot be read.
    pub(super) fn merge(services: &[&'static Service], layers: Vec<(Place, Figment)>) -> Result<Self, Error> {
        let mut merged = Figment::new();
        let mut read = Vec::new();
        for (place, layer) in layers {
            let keys: Dict = layer.extract().map_err(|error| unreadable(&place, &error))?;
            merged = merged.merge(layer);
            read.push((place, keys));
        }
        let mut merged: Dict = merged.extract().map_err(|error| unreadable(&Place::Defaults, &error))?;
        // A section that an argument takes away.
        merged.retain(|_, value| !matches!(value, Value::Empty(..)));
        let keys = read.first().map(|(_, defaults)| Keys::new(services, defaults));
        let keys = keys.unwrap_or_else(|| Keys::new(services, &Dict::new()));
        Ok(Self { merged: Arc::new(merged), layers: Arc::new(read), keys: Arc::new(keys) })
    }

    /// The merged tables.
    pub(super) fn root(&self) -> &Dict {
        &self.merged
    }

    /// Reads the whole tree as `T`.
    ///
    /// # Errors
    /// Returns `Invalid` for an unknown key and a value of the wrong type.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, Error> {
        let whole = Value::from((*self.merged).clone());
        whole.deserialize().map_err(|error| explain::refusal(self, &[], &error))
    }

    /// Reads the whole tree as `T`, and keeps the variables that `T` wants as text as they were written: `0123` in the
    /// environment is a number only where a number is wanted.
    ///
    /// # Errors
    /// Those of [`read`](Self::read).
    pub(super) fn settle<T: DeserializeOwned>(&mut self) -> Result<T, Error> {
        loop {
            let whole = Value::from((*self.merged).clone());
            let error = match whole.deserialize() {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            let path: Vec<&str> = error.path.iter().map(String::as_str).collect();
            let wants_text = matches!(&error.kind, Kind::InvalidType(_, wanted) if wanted == "a string" || wanted == "path string");
            let text = Some(&path).filter(|_| wants_text).and_then(|path| environment::text(path));
            let slot = find(Arc::make_mut(&mut self.merged), &path);
            match (slot, text) {
                (Some(slot), Some(text)) if slot.as_str().is_none() => *slot = Value::from(text),
                _ => return Err(explain::refusal(self, &[], &error)),
            }
        }
    }

    /// Reads the table `section` as `T`, without the keys that `skip` names.
    ///
    /// # Errors
    /// Returns `Invalid` for an unknown key and a value of the wrong type.
    pub fn section<T: DeserializeOwned>(&self, section: &str, skip: &[&str]) -> Result<T, Error> {
        let value = self.merged.get(section).cloned().unwrap_or_else(|| Value::from(Dict::new()));
        let value = match value {
            Value::Dict(tag, mut keys) => {
                keys.retain(|key, _| !skip.contains(&key.as_str()));
                Value::Dict(tag, keys)
            }
            other => other,
        };
        value.deserialize().map_err(|error| explain::refusal(self, &[section], &error))
    }

    /// The key at `path` as its user has written it: `COMMS_ORDER__URL`, `order.url in shop.toml`, `order.url`.
    #[must_use]
    pub fn written(&self, path: &[&str]) -> String {
        match self.place(path) {
            Place::Environment => variable(path),
            Place::File(file) => format!("{} in {file}", dotted(path)),
            Place::CommandLine | Place::Defaults => dotted(path),
        }
    }

    /// The last layer that has `path`, or something other than a table on the way to it.
    pub(super) fn place(&self, path: &[&str]) -> Place {
        let found = self.layers.iter().rev().find(|(_, keys)| has(keys, path));
        found.map_or(Place::Defaults, |(place, _)| place.clone())
    }
}

fn has(keys: &Dict, path: &[&str]) -> bool {
    let Some((first, rest)) = path.split_first() else { return true };
    match keys.get(*first) {
        Some(Value::Dict(_, inner)) => has(inner, rest),
        Some(_) => true,
        None => false,
    }
}

fn find<'a>(keys: &'a mut Dict, path: &[&str]) -> Option<&'a mut Value> {
    let (first, rest) = path.split_first()?;
    match (keys.get_mut(*first)?, rest) {
        (value, []) => Some(value),
        (Value::Dict(_, inner), rest) => find(inner, rest),
        _ => None,
    }
}

/// `order.url`; a part with a dot is quoted, as TOML has it.
pub(super) fn dotted(path: &[&str]) -> String {
    let part = |part: &&str| if part.contains('.') { format!("{part:?}") } else { (*part).to_owned() };
    path.iter().map(part).collect::<Vec<_>>().join(".")
}

/// `COMMS_ORDER__URL`, in the spelling of the environment if it is there.
pub(super) fn variable(path: &[&str]) -> String {
    let name = format!("COMMS_{}", path.join("__").to_uppercase());
    let mut written = std::env::vars_os().filter_map(|(key, _)| key.into_string().ok());
    written.find(|key| name.eq_ignore_ascii_case(key)).unwrap_or(name)
}

fn unreadable(place: &Place, error: &figment::Error) -> Error {
    // The error may quote a value; its key does not.
    let key = error.path.iter().map(String::as_str).collect::<Vec<_>>();
    Error::invalid(format!("{place:?}: {} cannot be read", dotted(&key)))
}

/// The layer of a TOML file.
///
/// # Errors
/// Returns `Invalid` with the file and the line. The text of the file is not repeated: it may hold a password.
pub(super) fn file(path: &Path) -> Result<impl Provider, Error> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Error::invalid(format!("configuration file {shown} is not there")),
        _ => Error::invalid(format!("configuration file {shown}: {error}")),
    })?;
    let table: toml::Table = toml::from_str(&text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        Error::invalid(format!("configuration file {shown}, line {line}: {}", syntax(error.message())))
    })?;
    Ok(figment::providers::Serialized::defaults(table))
}

/// The first line of the parser's message, without what it quotes.
fn syntax(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    let plain: String = line.split('`').step_by(2).collect::<Vec<_>>().join("…");
    format!("not TOML: {plain}")
}
