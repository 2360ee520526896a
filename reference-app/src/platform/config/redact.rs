//! The text of `--print-config`: the configuration without values that may be secret.

use comms_core::Error;
use toml::{Table, Value};

use super::{Config, key_names::dotted};

/// Replaces every value whose key is not listed as printable.
const HIDDEN: &str = "[redacted]";

impl Config {
    /// Returns the configuration as TOML. Replaces the value of every key that is not listed as printable by
    /// `[redacted]`.
    ///
    /// # Errors
    /// Returns `Invalid` if the tree cannot be written as TOML.
    pub fn redacted(&self) -> Result<String, Error> {
        let mut tree: Table = self.tree.read()?;
        self.hide(&mut tree, &[]);
        toml::to_string_pretty(&tree).map_err(Error::invalid)
    }

    fn hide(&self, table: &mut Table, path: &[&str]) {
        for (key, value) in table {
            let path = [path, &[key.as_str()]].concat();
            if let Value::Table(table) = value {
                self.hide(table, &path);
            } else if !self.tree.keys.is_printable(&dotted(&path)) {
                *value = Value::String(HIDDEN.to_owned());
            }
        }
    }
}
