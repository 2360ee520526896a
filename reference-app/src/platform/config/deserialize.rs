//! Deserializes the merged layers. Refuses unknown keys and values of the wrong type.

use std::sync::Arc;

use comms_core::Error;
use figment::{
    error::Kind,
    value::{Dict, Value},
};
use serde::de::DeserializeOwned;

use super::{environment, errors, tree::Tree};

impl Tree {
    /// Reads the whole tree as `T`.
    ///
    /// # Errors
    /// Returns `Invalid` for an unknown key and for a value of the wrong type.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, Error> {
        let whole = Value::from(self.root().clone());
        whole.deserialize().map_err(|error| errors::refusal(self, &[], &error))
    }

    /// Reads the whole tree as `T`, and replaces parsed values of environment variables by their text wherever `T`
    /// expects text: `0123` in the environment is a number only if `T` expects a number.
    ///
    /// # Errors
    /// Returns `Invalid` for an unknown key and for a value of the wrong type.
    pub(super) fn read_with_text<T: DeserializeOwned>(&mut self) -> Result<T, Error> {
        loop {
            let whole = Value::from(self.root().clone());
            let error = match whole.deserialize() {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            let path: Vec<&str> = error.path.iter().map(String::as_str).collect();
            let expects_text =
                matches!(&error.kind, Kind::InvalidType(_, expected) if errors::is_text(expected));
            let text = Some(&path).filter(|_| expects_text).and_then(|path| environment::text(path));
            let value = find(Arc::make_mut(&mut self.merged), &path);
            match (value, text) {
                (Some(value), Some(text)) if value.as_str().is_none() => *value = Value::from(text),
                _ => return Err(errors::refusal(self, &[], &error)),
            }
        }
    }

    /// Reads the table `section` as `T`, without the keys in `skip`.
    ///
    /// # Errors
    /// Returns `Invalid` for an unknown key and for a value of the wrong type.
    pub fn section<T: DeserializeOwned>(&self, section: &str, skip: &[&str]) -> Result<T, Error> {
        let value = self.root().get(section).cloned().unwrap_or_else(|| Value::from(Dict::new()));
        let value = match value {
            Value::Dict(tag, mut keys) => {
                keys.retain(|key, _| !skip.contains(&key.as_str()));
                Value::Dict(tag, keys)
            }
            other => other,
        };
        value.deserialize().map_err(|error| errors::refusal(self, &[section], &error))
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
