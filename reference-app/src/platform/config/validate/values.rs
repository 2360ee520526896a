//! Validates single values.

use std::time::Duration;

use comms_core::{Error, resilience::Backoff};
use tracing_subscriber::EnvFilter;

use crate::platform::config::Config;

/// A rule for one value: whether the value violates the rule, the key, and what the value must be.
type Rule = (bool, &'static [&'static str], &'static str);

const HOUR: Duration = Duration::from_secs(3_600);

impl Config {
    /// Validates the values of the platform's sections.
    ///
    /// # Errors
    /// Returns `Invalid` for the first value that cannot work, with the key and what the value must be.
    pub(super) fn validate_values(&self) -> Result<(), Error> {
        let rules =
            [&self.process_rules()[..], &self.listener_rules(), &self.delivery_rules(), &self.server_rules()];
        match rules.into_iter().flatten().find(|(is_violated, ..)| *is_violated) {
            Some((_, key, text)) => Err(self.refusal(key, text)),
            None => Ok(()),
        }
    }

    fn process_rules(&self) -> [Rule; 8] {
        let seconds = Duration::from_secs;
        let auth = &self.auth;
        // A key in the place of the path would be printed, because paths are printable.
        let is_pem =
            auth.public_key_file.as_ref().is_some_and(|file| file.to_string_lossy().contains("-----"));
        [
            (
                self.roles.is_empty(),
                &["roles"],
                "no role is set: name at least one service, or remove the key to run all of them",
            ),
            (
                EnvFilter::try_new(&self.log.filter).is_err(),
                &["log", "filter"],
                "must be a filter in the syntax of RUST_LOG, such as info,sqlx=debug",
            ),
            (is_pem, &["auth", "public_key_file"], "must be the path of a PEM file, not the key itself"),
            (auth.issuer.is_empty(), &["auth", "issuer"], "must not be empty"),
            (auth.audience.is_empty(), &["auth", "audience"], "must not be empty"),
            (auth.clock_skew > seconds(300), &["auth", "clock_skew"], "must be at most 5m"),
            (
                !(seconds(1)..=HOUR).contains(&self.shutdown.limit),
                &["shutdown", "limit"],
                "must be between 1s and 1h",
            ),
            (self.shutdown.accepting > seconds(600), &["shutdown", "accepting"], "must be at most 10m"),
        ]
    }

    fn listener_rules(&self) -> [Rule; 5] {
        let limits = &self.listeners;
        [
            (limits.head_timeout.is_zero(), &["listeners", "head_timeout"], "must be more than 0s"),
            (limits.idle_timeout.is_zero(), &["listeners", "idle_timeout"], "must be more than 0s"),
            (limits.progress_timeout.is_zero(), &["listeners", "progress_timeout"], "must be more than 0s"),
            (limits.max_connections == Some(0), &["listeners", "max_connections"], "must be at least 1"),
            (
                limits.max_connections_per_address == Some(0),
                &["listeners", "max_connections_per_address"],
                "must be at least 1",
            ),
        ]
    }

    fn delivery_rules(&self) -> [Rule; 6] {
        let (consumer, relay, silence) = (&self.consumer, &self.relay, self.health.silence);
        let owner = relay.owner.as_ref();
        [
            (consumer.max_attempts == 0, &["consumer", "max_attempts"], "must be at least 1"),
            (consumer.backoff_cap > HOUR, &["consumer", "backoff_cap"], "must be at most 1h"),
            (
                Backoff::new(consumer.backoff, consumer.backoff_cap).is_err(),
                &["consumer", "backoff"],
                "must be more than 0s and at most consumer.backoff_cap",
            ),
            (
                owner.is_some_and(|owner| owner.is_empty() || owner.len() > 150),
                &["relay", "owner"],
                "must have 1 to 150 bytes; remove the key to use the default owner",
            ),
            (
                !(Duration::from_millis(300)..=HOUR).contains(&relay.lease),
                &["relay", "lease"],
                "must be between 300ms and 1h",
            ),
            (
                silence < Duration::from_secs(60) || silence <= relay.lease,
                &["health", "silence"],
                "must be at least 1m and more than relay.lease, because a loop may wait for its database for that long",
            ),
        ]
    }

    fn server_rules(&self) -> [Rule; 5] {
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        let is_prefix = |prefix: &str| prefix.len() <= 100 && prefix.bytes().all(is_plain);
        let (kafka, redis) = (self.kafka.as_ref(), self.redis.as_ref());
        [
            (
                // The pool reserves memory for each connection.
                self.database
                    .as_ref()
                    .is_some_and(|database| !(1..=10_000).contains(&database.max_connections)),
                &["database", "max_connections"],
                "must be between 1 and 10000",
            ),
            (
                kafka.is_some_and(|kafka| kafka.brokers.contains(['@', '/'])),
                &["kafka", "brokers"],
                "must be a list such as host:port,host:port; set protocol, user name and password in kafka.librdkafka",
            ),
            (
                kafka.is_some_and(|kafka| !is_prefix(&kafka.prefix)),
                &["kafka", "prefix"],
                "must be at most 100 letters, digits and ._-, because it becomes a part of topic names",
            ),
            (
                kafka.is_some_and(|kafka| !(1..=10_000).contains(&kafka.replication_factor)),
                &["kafka", "replication_factor"],
                "must be at least 1, and at most the number of brokers",
            ),
            (
                redis.is_some_and(|redis| redis.prefix.is_empty() || !is_prefix(&redis.prefix)),
                &["redis", "prefix"],
                "must be 1 to 100 letters, digits and ._-, because it becomes a part of keys",
            ),
        ]
    }
}
