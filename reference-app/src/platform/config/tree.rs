//! The merged layers of the configuration, and the layer that set each key.

use std::sync::Arc;

use comms_core::Error;
use figment::{
    Figment,
    providers::Serialized,
    value::{Dict, Value},
};

use super::{
    key_names::{dotted, printable, variable_set},
    keys::Keys,
};
use crate::platform::service::Service;

/// The source of a layer.
#[derive(Debug, Clone)]
pub(super) enum Origin {
    /// The defaults in the program.
    Defaults,
    /// A TOML file.
    File(String),
    /// `COMMS_…` environment variables.
    Environment,
    /// The arguments of the program.
    CommandLine,
}

/// The merged layers. Clones share them.
#[derive(Clone)]
pub struct Tree {
    pub(super) merged: Arc<Dict>,
    layers: Arc<Vec<(Origin, Dict)>>,
    pub(super) keys: Arc<Keys>,
}

impl Tree {
    /// Merges `layers`. The first layer holds the defaults; later layers override earlier ones.
    ///
    /// # Errors
    /// Returns `Invalid` if a layer cannot be read.
    pub(super) fn merge(
        services: &[&'static Service],
        layers: Vec<(Origin, Figment)>,
    ) -> Result<Self, Error> {
        let mut merged = Figment::new();
        let mut read = Vec::new();
        for (origin, layer) in layers {
            let mut keys: Dict = layer.extract().map_err(|error| unreadable(&origin, &error))?;
            join_librdkafka_keys(&mut keys);
            merged = merged.merge(Serialized::defaults(&keys));
            read.push((origin, keys));
        }
        let mut merged: Dict = merged.extract().map_err(|error| unreadable(&Origin::Defaults, &error))?;
        // An argument of the command line can remove a section.
        merged.retain(|_, value| !matches!(value, Value::Empty(..)));
        let keys = read.first().map(|(_, defaults)| Keys::new(services, defaults));
        let keys = keys.unwrap_or_else(|| Keys::new(services, &Dict::new()));
        Ok(Self { merged: Arc::new(merged), layers: Arc::new(read), keys: Arc::new(keys) })
    }

    /// Returns the merged tables.
    pub(super) fn root(&self) -> &Dict {
        &self.merged
    }

    /// Returns the key at `path` in the form in which the user set it: `COMMS_ORDER__URL`, `order.url in shop.toml` or
    /// `order.url`.
    #[must_use]
    pub fn key_as_set(&self, path: &[&str]) -> String {
        match self.origin(path) {
            Origin::Environment => variable_set(path),
            Origin::File(file) => format!("{} in {file}", printable(path)),
            Origin::CommandLine | Origin::Defaults => printable(path),
        }
    }

    /// Returns the last layer that contains `path`, or that contains a value other than a table at a prefix of `path`.
    pub(super) fn origin(&self, path: &[&str]) -> Origin {
        let found = self.layers.iter().rev().find(|(_, keys)| contains(keys, path));
        found.map_or(Origin::Defaults, |(origin, _)| origin.clone())
    }

    /// Returns the path to the first value below the top-level key `root`. An environment variable names such a path.
    pub(super) fn first_value<'a>(&'a self, root: &'a str) -> Vec<&'a str> {
        let (mut path, mut value) = (vec![root], self.merged.get(root));
        while let Some((key, inner)) = value.and_then(Value::as_dict).and_then(|keys| keys.iter().next()) {
            path.push(key);
            value = Some(inner);
        }
        path
    }

    /// Returns the path of the first list that is set in the place of a table. serde would read the items of the list
    /// as the values of the table's keys.
    pub(super) fn list_in_place_of_table(&self) -> Option<Vec<&str>> {
        let is_table =
            |path: &[&str]| self.keys.first_in(&dotted(path)).is_some() || path.first() == Some(&"policies");
        find_list(&self.merged, &[], &is_table)
    }
}

fn contains(keys: &Dict, path: &[&str]) -> bool {
    let Some((first, rest)) = path.split_first() else { return true };
    match keys.get(*first) {
        Some(Value::Dict(_, inner)) => contains(inner, rest),
        Some(_) => true,
        None => false,
    }
}

fn find_list<'a>(
    keys: &'a Dict,
    path: &[&'a str],
    is_table: &dyn Fn(&[&str]) -> bool,
) -> Option<Vec<&'a str>> {
    keys.iter().find_map(|(key, value)| {
        let path = [path, &[key.as_str()]].concat();
        match value {
            Value::Dict(_, inner) => find_list(inner, &path, is_table),
            Value::Array(..) if is_table(&path) => Some(path),
            _ => None,
        }
    })
}

/// Joins the parts of librdkafka's keys. TOML and the environment read `sasl.password = "..."` as a table `sasl`.
fn join_librdkafka_keys(layer: &mut Dict) {
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

/// Names only the key, because the text of `error` may quote a value.
fn unreadable(origin: &Origin, error: &figment::Error) -> Error {
    let key = error.path.iter().map(String::as_str).collect::<Vec<_>>();
    let source = match origin {
        Origin::Defaults => "the defaults".to_owned(),
        Origin::File(file) => format!("configuration file {file}"),
        Origin::Environment => "the environment".to_owned(),
        Origin::CommandLine => "the command line".to_owned(),
    };
    Error::invalid(format!("{source}: {} cannot be read", printable(&key)))
}
