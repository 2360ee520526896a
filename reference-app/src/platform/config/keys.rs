//! The list of known keys, for hints in errors, and the keys whose values may be printed. `deserialize` refuses unknown
//! keys.

use figment::value::{Dict, Value};

use crate::platform::service::Service;

/// The keys of the platform that hold no secret. A trailing `*` covers all keys with the prefix before it.
const PRINTABLE: [&str; 34] = [
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
    "redis.prefix",
    "auth.issuer",
    "auth.audience",
    "auth.public_key_file",
    "auth.clock_skew",
    "tls.mode",
    "tls.directory",
    "tls.trust_domain",
    "tls.authority",
    "tls.certificate",
    "relay.lease",
    "relay.owner",
    "consumer.max_attempts",
    "consumer.backoff",
    "consumer.backoff_cap",
    "policies.*",
    "listeners.*",
];
/// The keys that may hold a secret and have no default. `admin.token_file` and `tls.key` are two of them because a token
/// or a key may be set in the place of its file.
const SECRET: [&str; 5] = ["admin.token_file", "database.url", "kafka.librdkafka", "redis.url", "tls.key"];

/// The known keys, and those whose values may be printed.
pub(super) struct Keys {
    printable: Vec<String>,
    all: Vec<String>,
}

impl Keys {
    /// Collects the keys of the platform and of `services`. `defaults` contains the keys that have a default.
    pub(super) fn new(services: &[&'static Service], defaults: &Dict) -> Self {
        let mut printable: Vec<String> = PRINTABLE.map(str::to_owned).into();
        let mut all = Vec::new();
        for service in services {
            printable
                .extend(service.shown.iter().chain(&["listen"]).map(|key| format!("{}.{key}", service.name)));
            printable.push(format!("tls.services.{}.certificate", service.name));
            all.extend([format!("{}.url", service.name), format!("tls.services.{}.key", service.name)]);
        }
        leaves(defaults, "", &mut all);
        all.extend(SECRET.map(str::to_owned));
        all.extend(printable.iter().filter(|key| !key.ends_with('*')).cloned());
        all.sort();
        all.dedup();
        Self { printable, all }
    }

    /// Returns whether the value of `key` may be printed. The value of a key that is not listed may not.
    pub(super) fn is_printable(&self, key: &str) -> bool {
        let covers = |pattern: &String| {
            pattern == key || pattern.strip_suffix('*').is_some_and(|prefix| key.starts_with(prefix))
        };
        self.printable.iter().any(covers)
    }

    /// Returns every key that is known by name.
    pub(super) fn all(&self) -> &[String] {
        &self.all
    }

    /// Returns the first key in the table `table`, without the path of the table. `None`: the table is not known.
    pub(super) fn first_in(&self, table: &str) -> Option<&str> {
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
