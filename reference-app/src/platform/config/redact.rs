//! The configuration as it may be shown: `--print-config`.

use comms_core::Error;
use toml::{Table, Value};

use super::{Config, names::dotted};

/// In place of every value that is not listed as harmless.
const HIDDEN: &str = "[redacted]";

impl Config {
    /// The configuration as TOML. Only the keys that are listed as harmless have their values.
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
            } else if !self.tree.keys.harmless(&dotted(&path)) {
                *value = Value::String(HIDDEN.to_owned());
            }
        }
    }
}
