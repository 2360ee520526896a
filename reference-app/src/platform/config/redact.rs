//! The configuration as it may be shown: `--print-config`.

use comms_core::Error;

use super::Config;

const HIDDEN: &str = "[redacted]";
/// Pass-through keys that hold secrets.
const SECRET_WORDS: [&str; 4] = ["password", "secret", "token", "key"];

impl Config {
    /// As TOML, without passwords.
    ///
    /// # Errors
    /// `Fatal` where the tree cannot be written as TOML.
    pub fn redacted(&self) -> Result<String, Error> {
        let mut shown = self.clone();
        if let Some(database) = &mut shown.database {
            database.url = without_password(&database.url);
        }
        if let Some(kafka) = &mut shown.kafka {
            for (key, value) in &mut kafka.librdkafka {
                if SECRET_WORDS.iter().any(|word| key.contains(word)) {
                    HIDDEN.clone_into(value);
                }
            }
        }
        toml::to_string_pretty(&shown).map_err(Error::fatal)
    }
}

/// Hides what stands between the user's name and the last `@`, and the parameters, which may hold it too.
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return HIDDEN.to_owned() };
    let (credentials, host) = rest.rsplit_once('@').map_or((None, rest), |(c, host)| (Some(c), host));
    let host = host.split_once('?').map_or_else(|| host.to_owned(), |(host, _)| format!("{host}?{HIDDEN}"));
    match credentials.map(|c| c.split_once(':').map_or((c, false), |(user, _)| (user, true))) {
        None => format!("{scheme}://{host}"),
        Some((user, false)) => format!("{scheme}://{user}@{host}"),
        Some((user, true)) => format!("{scheme}://{user}:{HIDDEN}@{host}"),
    }
}
