//! How to reach the cluster, and what may be tuned without losing a promise.

use rdkafka::{ClientConfig, config::RDKafkaLogLevel, error::KafkaError};
use serde::{Deserialize, Deserializer};
use std::{collections::BTreeMap, fmt, net::Ipv6Addr};

use comms_core::Error;

/// Keys of librdkafka that carry a promise of this crate, with the promise.
const REFUSED: &[(&str, &str)] = &[
    ("acks", "a message counts as published only when all in-sync replicas have it"),
    ("request.required.acks", "a message counts as published only when all in-sync replicas have it"),
    ("enable.idempotence", "retries on the wire neither duplicate nor reorder"),
    ("message.timeout.ms", "a message given up locally would be overtaken by later ones of its key"),
    ("delivery.timeout.ms", "a message given up locally would be overtaken by later ones of its key"),
    ("retries", "a message given up locally would be overtaken by later ones of its key"),
    ("message.send.max.retries", "a message given up locally would be overtaken by later ones of its key"),
    ("transactional.id", "the transactional outbox and inbox take the place of Kafka's transactions"),
    ("enable.auto.commit", "an offset is committed only when its record is handled"),
    ("auto.commit.enable", "an offset is committed only when its record is handled"),
    ("enable.auto.offset.store", "an offset is committed only when its record is handled"),
    ("group.id", "the consumer's builder names the group"),
    ("bootstrap.servers", "it is the setting `brokers`"),
    ("metadata.broker.list", "it is the setting `brokers`"),
    ("client.id", "it is the setting `client_id`"),
    ("client.rack", "it is the setting `rack`"),
];

/// More requests in flight than this and idempotence cannot keep the order.
const MAX_IN_FLIGHT: u32 = 5;

/// How to reach a Kafka cluster. One value serves publishers, consumers and provisioning.
///
/// `librdkafka` passes anything through to the client
/// (<https://github.com/confluentinc/librdkafka/blob/master/CONFIGURATION.md>), except the keys that carry
/// a promise; those are refused with the reason when a client is built. Values may be numbers, booleans or
/// text; dotted keys may also be written as nested tables. Debug output hides secrets.
///
/// ```
/// let mut kafka = comms_kafka::KafkaConfig::new("a:9092,b:9092");
/// kafka.librdkafka.insert("session.timeout.ms".into(), "6000".into());
/// kafka.librdkafka.insert("sasl.password".into(), "hush".into());
/// assert!(!format!("{kafka:?}").contains("hush"));
/// ```
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct KafkaConfig {
    /// `host:port` of one or more brokers, comma-separated.
    pub brokers: String,
    /// The name in the brokers' logs and quotas. Default `comms`.
    #[serde(default = "default_client_id")]
    pub client_id: String,
    /// The rack this process stands in: consumers then read from the nearest replica. Default none.
    #[serde(default)]
    pub rack: Option<String>,
    /// Anything else librdkafka knows. Default empty.
    #[serde(default, deserialize_with = "flat")]
    pub librdkafka: BTreeMap<String, String>,
}

fn default_client_id() -> String {
    "comms".to_owned()
}

impl KafkaConfig {
    /// The defaults with these brokers.
    pub fn new(brokers: impl Into<String>) -> Self {
        Self {
            brokers: brokers.into(),
            client_id: default_client_id(),
            rack: None,
            librdkafka: BTreeMap::new(),
        }
    }

    /// `defaults`, what the pass-through puts in their place, and `promises`, which nothing replaces.
    pub(crate) fn client(
        &self,
        defaults: &[(&str, &str)],
        promises: &[(&str, &str)],
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
        for (key, value) in promises {
            client.set(*key, *value);
        }
        // Unknown keys and impossible values show here, not when the client is first used.
        client.create_native_config().map_err(|e| refusal(e).context("librdkafka settings"))?;
        Ok(client)
    }

    fn check(&self) -> Result<(), Error> {
        if self.brokers.trim().is_empty() {
            return Err(Error::invalid("brokers is empty: name at least one as host:port"));
        }
        // The client drops an entry that it cannot read, and waits for the others.
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
                let reason = "idempotence keeps the order of at most five requests in flight";
                return Err(Error::invalid(format!("librdkafka.\"{key}\" is at most 5: {reason}")));
            }
        }
        Ok(())
    }

    /// The pass-through's value of `key` as a number.
    pub(crate) fn number(&self, key: &str) -> Result<Option<u64>, Error> {
        let value = self.librdkafka.get(key).map(|text| text.parse());
        value.transpose().map_err(|e| Error::invalid(e).context(format_args!("librdkafka.\"{key}\"")))
    }
}

/// Without the value: under a key with a typing error it may be a secret.
fn refusal(error: KafkaError) -> Error {
    match error {
        KafkaError::ClientConfig(_, text, key, value) => {
            let text = if value.is_empty() { text } else { text.replace(&value, "***") };
            Error::invalid(format!("librdkafka.\"{key}\": {text}"))
        }
        other => Error::invalid(other),
    }
}

/// `host`, `host:port`, either with `protocol://` before it; an IPv6 address stands in brackets.
fn is_broker(entry: &str) -> bool {
    let entry = entry.split_once("://").map_or(entry, |(_, entry)| entry);
    let (host, port) = match entry.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => return host.parse::<Ipv6Addr>().is_ok(),
        Some((host, port)) if host.parse::<Ipv6Addr>().is_ok() => (host, port.strip_prefix(':')),
        Some(_) => return false,
        None => entry.split_once(':').map_or((entry, Some("9092")), |(host, port)| (host, Some(port))),
    };
    let named = !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || matches!(c, '@' | '/'));
    named && port.is_some_and(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

impl fmt::Debug for KafkaConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |(key, value): (&'_ String, &'_ String)| {
            (key.clone(), if is_secret(key) { "***".to_owned() } else { value.clone() })
        };
        f.debug_struct("KafkaConfig")
            .field("brokers", &self.brokers)
            .field("client_id", &self.client_id)
            .field("rack", &self.rack)
            .field("librdkafka", &self.librdkafka.iter().map(shown).collect::<BTreeMap<_, _>>())
            .finish()
    }
}

fn is_secret(key: &str) -> bool {
    ["password", "secret", "pem", "oauthbearer", "token"].iter().any(|word| key.contains(word))
}

/// Numbers and booleans as text, nested tables as dotted keys: what TOML and environment variables give.
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
