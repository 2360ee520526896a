//! The keys of the configuration: which exist, and whose values may be shown.

use figment::value::{Dict, Value};

use crate::platform::service::Service;

/// The keys of the platform that hold no secret; a last part `*` stands for everything below.
const SHOWN: [&str; 28] = [
    "profile",
    "roles",
    "data_dir",
    "shutdown.accepting",
    "shutdown.limit",
    "log.format",
    "log.filter",
    "admin.listen",
    "health.relay_lag",
    "health.consumer_lag_messages",
    "health.parked_keys",
    "health.silence",
    "database.max_connections",
    "kafka.brokers",
    "kafka.rack",
    "kafka.prefix",
    "kafka.replication_factor",
    "auth.issuer",
    "auth.audience",
    "auth.public_key_file",
    "auth.clock_skew",
    "relay.lease",
    "relay.owner",
    "consumer.attempts",
    "consumer.backoff",
    "consumer.backoff_cap",
    "policies.*",
    "listeners.*",
];
/// The keys that may hold a secret, and have no default. A token is easily given in the place of its file.
const SECRET: [&str; 3] = ["admin.token_file", "database.url", "kafka.librdkafka"];

/// The keys that exist, and those whose values may be shown.
pub(super) struct Keys {
    shown: Vec<String>,
    all: Vec<String>,
}

impl Keys {
    /// The keys of the platform and of `services`, where `defaults` has those with a default.
    pub(super) fn new(services: &[&'static Service], defaults: &Dict) -> Self {
        let mut shown: Vec<String> = SHOWN.map(str::to_owned).into();
        let mut all = Vec::new();
        for service in services {
            shown
                .extend(service.shown.iter().chain(&["listen"]).map(|key| format!("{}.{key}", service.name)));
            all.push(format!("{}.url", service.name));
        }
        leaves(defaults, "", &mut all);
        all.extend(SECRET.map(str::to_owned));
        all.extend(shown.iter().filter(|key| !key.ends_with('*')).cloned());
        all.sort();
        all.dedup();
        Self { shown, all }
    }

    /// Whether the value at `key` may be shown: the key is listed as harmless.
    pub(super) fn harmless(&self, key: &str) -> bool {
        let covers = |shown: &String| {
            shown == key || shown.strip_suffix('*').is_some_and(|prefix| key.starts_with(prefix))
        };
        self.shown.iter().any(covers)
    }

    /// Every key that is known by name.
    pub(super) fn all(&self) -> &[String] {
        &self.all
    }

    /// The last part of a key in the table `table`.
    pub(super) fn inside(&self, table: &str) -> Option<&str> {
        let inner = |key: &'_ String| key.strip_prefix(table).is_some_and(|rest| rest.starts_with('.'));
        self.all.iter().find(|key| inner(key)).and_then(|key| key[table.len() + 1..].split('.').next())
    }
}

fn leaves(table: &Dict, path: &str, keys: &mut Vec<String>) {
    for (key, value) in table {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        match value {
            Value::Dict(_, inner) => leaves(inner, &path, keys),
            _ => keys.push(path),
        }
    }
}
