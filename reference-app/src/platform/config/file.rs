//! Reads the layer of a TOML file.

use std::path::Path;

use comms_core::Error;
use figment::{Provider, providers::Serialized};

/// Reads the TOML file at `path`.
///
/// # Errors
/// Returns `Invalid` if the file cannot be read or is not TOML, with the path and the line. The error does not quote
/// the file, which may contain a password.
pub(super) fn read(path: &Path) -> Result<impl Provider, Error> {
    let file = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            Error::invalid(format!("configuration file {file} does not exist: check --config"))
        }
        _ => Error::invalid(format!("configuration file {file} cannot be read: {error}")),
    })?;
    let table: toml::Table = toml::from_str(&text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let reason = without_quotes(error.message());
        Error::invalid(format!("configuration file {file}, line {line}: not valid TOML: {reason}"))
    })?;
    Ok(Serialized::defaults(table))
}

/// Returns the first line of the parser's message, with every quoted part replaced by `…`.
fn without_quotes(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    line.split('`').step_by(2).collect::<Vec<_>>().join("…")
}
