//! The layers of the configuration, merged, and where each key was written.

use std::{path::Path, sync::Arc};

use comms_core::Error;
use figment::{
    Figment, Provider,
    error::Kind,
    providers::Serialized,
    value::{Dict, Value},
};
use serde::de::DeserializeOwned;

use super::{
    environment, explain,
    keys::Keys,
    names::{dotted, shown, written_variable},
};
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
            let mut keys: Dict = layer.extract().map_err(|error| unreadable(&place, &error))?;
            join_client_keys(&mut keys);
            merged = merged.merge(Serialized::defaults(&keys));
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
            let wants_text =
                matches!(&error.kind, Kind::InvalidType(_, expected) if explain::is_text(expected));
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
            Place::Environment => written_variable(path),
            Place::File(file) => format!("{} in {file}", shown(path)),
            Place::CommandLine | Place::Defaults => shown(path),
        }
    }

    /// The path to the first value below the key `root` of the tree: what a variable of the environment names.
    pub(super) fn first_value<'a>(&'a self, root: &'a str) -> Vec<&'a str> {
        let (mut path, mut value) = (vec![root], self.merged.get(root));
        while let Some((key, inner)) = value.and_then(Value::as_dict).and_then(|keys| keys.iter().next()) {
            path.push(key);
            value = Some(inner);
        }
        path
    }

    /// The first list that stands where a table belongs. serde would read its items as the values of the table's keys.
    pub(super) fn list_for_table(&self) -> Option<Vec<&str>> {
        let is_table =
            |path: &[&str]| self.keys.inside(&dotted(path)).is_some() || path.first() == Some(&"policies");
        list_where(&self.merged, &[], &is_table)
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

fn list_where<'a>(
    keys: &'a Dict,
    path: &[&'a str],
    is_table: &dyn Fn(&[&str]) -> bool,
) -> Option<Vec<&'a str>> {
    keys.iter().find_map(|(key, value)| {
        let path = [path, &[key.as_str()]].concat();
        match value {
            Value::Dict(_, inner) => list_where(inner, &path, is_table),
            Value::Array(..) if is_table(&path) => Some(path),
            _ => None,
        }
    })
}

/// Joins the parts of librdkafka's keys: TOML reads `sasl.password = "..."` as a table `sasl`, and so does the
/// environment.
fn join_client_keys(layer: &mut Dict) {
    let Some(Value::Dict(_, kafka)) = layer.get_mut("kafka") else { return };
    let Some(Value::Dict(_, client)) = kafka.get_mut("librdkafka") else { return };
    let mut joined = Dict::new();
    join(std::mem::take(client), "", &mut joined);
    *client = joined;
}

fn join(keys: Dict, prefix: &str, joined: &mut Dict) {
    for (key, value) in keys {
        let key = format!("{prefix}{key}");
        match value {
            Value::Dict(_, inner) if !inner.is_empty() => join(inner, &format!("{key}."), joined),
            value => drop(joined.insert(key, value)),
        }
    }
}

fn unreadable(place: &Place, error: &figment::Error) -> Error {
    // The error may quote a value; its key does not.
    let key = error.path.iter().map(String::as_str).collect::<Vec<_>>();
    Error::invalid(format!("{place:?}: {} cannot be read", shown(&key)))
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
