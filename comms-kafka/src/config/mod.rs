//! The connection to a cluster, and the client settings that do not break a guarantee of this crate.

mod built;

use rdkafka::{ClientConfig, config::RDKafkaLogLevel, error::KafkaError};
use serde::{Deserialize, Deserializer};
use std::{collections::BTreeMap, fmt, net::Ipv6Addr};

use comms_core::Error;

/// Settings of librdkafka that carry a guarantee of this crate or have a setting of another name, with the reason.
const REFUSED: &[(&str, &str)] = &[
    ("acks", "a message counts as published only when all in-sync replicas have it"),
    ("request.required.acks", "a message counts as published only when all in-sync replicas have it"),
    ("enable.idempotence", "without it, retries of the client duplicate and reorder messages"),
    ("message.timeout.ms", "later messages of a key would overtake a message that expires locally"),
    ("delivery.timeout.ms", "later messages of a key would overtake a message that expires locally"),
    ("retries", "later messages of a key would overtake a message that expires locally"),
    ("message.send.max.retries", "later messages of a key would overtake a message that expires locally"),
    ("transactional.id", "use the transactional outbox and inbox instead of Kafka's transactions"),
    ("enable.auto.commit", "the consumer commits an offset only when its record is handled"),
    ("auto.commit.enable", "the consumer commits an offset only when its record is handled"),
    ("enable.auto.offset.store", "the consumer commits an offset only when its record is handled"),
    ("group.id", "pass the group to Consumer::builder"),
    ("bootstrap.servers", "use the setting `brokers`"),
    ("metadata.broker.list", "use the setting `brokers`"),
    ("client.id", "use the setting `client_id`"),
    ("client.rack", "use the setting `rack`"),
];

/// The largest number of requests in flight with which an idempotent producer keeps the order.
const MAX_IN_FLIGHT: u32 = 5;

/// The connection settings of a Kafka cluster, for publishers, consumers and [`provision`](crate::provision).
///
/// ```
/// let kafka = comms_kafka::KafkaConfig::new("a:9092,b:9092")
///     .client_id("billing")
///     .librdkafka("session.timeout.ms", "6000")
///     .librdkafka("sasl.password", "hush");
/// assert!(!format!("{kafka:?}").contains("hush"));
/// ```
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct KafkaConfig {
    /// The brokers to connect to first: one or more `host:port`, separated by commas.
    pub brokers: String,
    /// The name of this client in the brokers' logs and quotas. Default `comms`.
    #[serde(default = "default_client_id")]
    pub client_id: String,
    /// The rack of this process. Consumers then read from the closest replica. Default `None`: from the leader.
    #[serde(default)]
    pub rack: Option<String>,
    /// Further settings of librdkafka
    /// (<https://github.com/confluentinc/librdkafka/blob/master/CONFIGURATION.md>). Default empty.
    ///
    /// A setting that carries a guarantee of this crate is refused with the reason when a client is created: `acks`,
    /// `enable.idempotence`, `message.timeout.ms`, `retries`, `transactional.id`, `enable.auto.commit`,
    /// `enable.auto.offset.store` and their aliases. So are `group.id` and the settings that the other fields of this
    /// struct replace, and more than 5 requests in flight. A setting that needs a feature of this crate is refused with
    /// the name of the feature if this build lacks it.
    ///
    /// When this struct is deserialized, values may be numbers, booleans or text, and dotted keys may be nested tables.
    /// The `Debug` output hides the values of secrets.
    #[serde(default, deserialize_with = "flat")]
    pub librdkafka: BTreeMap<String, String>,
}

fn default_client_id() -> String {
    "comms".to_owned()
}

impl KafkaConfig {
    /// Creates the default settings for the cluster of `brokers`.
    pub fn new(brokers: impl Into<String>) -> Self {
        Self {
            brokers: brokers.into(),
            client_id: default_client_id(),
            rack: None,
            librdkafka: BTreeMap::new(),
        }
    }

    /// Sets [`KafkaConfig::brokers`].
    #[must_use]
    pub fn brokers(self, brokers: impl Into<String>) -> Self {
        Self { brokers: brokers.into(), ..self }
    }

    /// Sets [`KafkaConfig::client_id`].
    #[must_use]
    pub fn client_id(self, client_id: impl Into<String>) -> Self {
        Self { client_id: client_id.into(), ..self }
    }

    /// Sets [`KafkaConfig::rack`].
    #[must_use]
    pub fn rack(self, rack: impl Into<String>) -> Self {
        Self { rack: Some(rack.into()), ..self }
    }

    /// Adds one setting to [`KafkaConfig::librdkafka`], or replaces its value.
    #[must_use]
    pub fn librdkafka(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.librdkafka.insert(key.into(), value.into());
        self
    }

    /// Returns the client's settings. `librdkafka` replaces a value of `defaults`; nothing replaces a value of
    /// `guarantees`.
    pub(crate) fn client(
        &self,
        defaults: &[(&str, &str)],
        guarantees: &[(&str, &str)],
    ) -> Result<ClientConfig, Error> {
        self.check()?;
        let mut client = ClientConfig::new();
        client.set_log_level(RDKafkaLogLevel::Info);
        client.set("bootstrap.servers", &self.brokers).set("client.id", &self.client_id);
        if let Some(rack) = &self.rack {
            client.set("client.rack", rack);
        }
        for (key, value) in defaults {
            client.set(*key, *value);
        }
        client.extend(self.librdkafka.clone());
        for (key, value) in guarantees {
            client.set(*key, *value);
        }
        built::check(&client)?;
        // Reports unknown keys and impossible values now, and not when the client is first used.
        client.create_native_config().map_err(|e| without_value(e).context("librdkafka settings"))?;
        Ok(client)
    }

    fn check(&self) -> Result<(), Error> {
        if self.brokers.trim().is_empty() {
            return Err(Error::invalid("brokers is empty: name at least one broker as host:port"));
        }
        // The client ignores an entry that it cannot parse, and waits for the other brokers.
        if let Some(place) = self.brokers.split(',').position(|broker| !is_broker(broker.trim())) {
            let text = format!("brokers: entry {} is not host:port with a port of 1 to 65535", place + 1);
            return Err(Error::invalid(text));
        }
        for (key, reason) in REFUSED {
            if self.librdkafka.contains_key(*key) {
                return Err(Error::invalid(format!("librdkafka.\"{key}\" cannot be set: {reason}")));
            }
        }
        for key in ["max.in.flight", "max.in.flight.requests.per.connection"] {
            if self.number(key)?.is_some_and(|n| n > u64::from(MAX_IN_FLIGHT)) {
                let reason = "an idempotent producer keeps the order of at most five requests in flight";
                return Err(Error::invalid(format!("librdkafka.\"{key}\" must be at most 5: {reason}")));
            }
        }
        Ok(())
    }

    /// Returns `brokers` with `***` for each entry that [`check`](Self::check) refuses: it may contain a password.
    fn shown_brokers(&self) -> String {
        let shown = |broker| if is_broker(broker) { broker } else { "***" };
        self.brokers.split(',').map(|broker| shown(broker.trim())).collect::<Vec<_>>().join(",")
    }

    /// Returns the value of `key` in `librdkafka` as a number.
    pub(crate) fn number(&self, key: &str) -> Result<Option<u64>, Error> {
        let value = self.librdkafka.get(key).map(|text| text.parse());
        value.transpose().map_err(|e| Error::invalid(e).context(format_args!("librdkafka.\"{key}\"")))
    }
}

/// Converts `error` without the refused value: it may be a secret under a misspelled key.
fn without_value(error: KafkaError) -> Error {
    match error {
        KafkaError::ClientConfig(_, text, key, value) => {
            let text = if value.is_empty() { text } else { text.replace(&value, "***") };
            Error::invalid(format!("librdkafka.\"{key}\": {text}"))
        }
        other => Error::invalid(other),
    }
}

/// Returns whether `entry` is `host` or `host:port`, with or without `protocol://`. An IPv6 address needs brackets.
fn is_broker(entry: &str) -> bool {
    let entry = entry.split_once("://").map_or(entry, |(_, entry)| entry);
    let (host, port) = match entry.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => return host.parse::<Ipv6Addr>().is_ok(),
        Some((host, port)) if host.parse::<Ipv6Addr>().is_ok() => (host, port.strip_prefix(':')),
        Some(_) => return false,
        None => entry.split_once(':').map_or((entry, Some("9092")), |(host, port)| (host, Some(port))),
    };
    let valid_host =
        !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || matches!(c, '@' | '/'));
    valid_host && port.is_some_and(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

impl fmt::Debug for KafkaConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |(key, value): (&'_ String, &'_ String)| {
            (key.clone(), if is_secret(key) { "***".to_owned() } else { value.clone() })
        };
        f.debug_struct("KafkaConfig")
            .field("brokers", &self.shown_brokers())
            .field("client_id", &self.client_id)
            .field("rack", &self.rack)
            .field("librdkafka", &self.librdkafka.iter().map(shown).collect::<BTreeMap<_, _>>())
            .finish()
    }
}

fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    ["password", "secret", "pem", "oauthbearer", "token"].iter().any(|word| key.contains(word))
}

/// Deserializes a table with numbers and booleans as text, and nested tables as dotted keys. TOML files and environment
/// variables have both forms.
fn flat<'de, D: Deserializer<'de>>(input: D) -> Result<BTreeMap<String, String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Value {
        Bool(bool),
        Int(i64),
        Float(f64),
        Text(String),
        Table(BTreeMap<String, Value>),
    }
    fn put(out: &mut BTreeMap<String, String>, key: String, value: Value) {
        let text = match value {
            Value::Bool(value) => value.to_string(),
            Value::Int(value) => value.to_string(),
            Value::Float(value) => value.to_string(),
            Value::Text(value) => value,
            Value::Table(table) => {
                return table
                    .into_iter()
                    .for_each(|(inner, value)| put(out, format!("{key}.{inner}"), value));
            }
        };
        out.insert(key, text);
    }
    let table = BTreeMap::<String, Value>::deserialize(input)?;
    let mut out = BTreeMap::new();
    table.into_iter().for_each(|(key, value)| put(&mut out, key, value));
    Ok(out)
}

#[cfg(test)]
mod tests;
