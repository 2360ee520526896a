//! Values that cannot work, by themselves.

use std::time::Duration;

use comms_core::{Error, resilience::Backoff};
use tracing_subscriber::EnvFilter;

use super::Config;

/// A rule of one value: whether it is broken, the key, and what the value must be.
type Rule = (bool, &'static [&'static str], &'static str);

const HOUR: Duration = Duration::from_secs(3_600);

impl Config {
    /// # Errors
    /// Returns `Invalid` for the first value that cannot work, with its key and what it must be.
    pub(super) fn validate_values(&self) -> Result<(), Error> {
        let groups = [&self.of_process()[..], &self.of_listeners(), &self.of_delivery(), &self.of_servers()];
        match groups.into_iter().flatten().find(|(wrong, ..)| *wrong) {
            Some((_, key, text)) => Err(self.refusal(key, text)),
            None => Ok(()),
        }
    }

    fn of_process(&self) -> [Rule; 8] {
        let seconds = Duration::from_secs;
        let auth = &self.auth;
        // A key that is pasted in the place of its file would be printed as a path.
        let pasted =
            auth.public_key_file.as_ref().is_some_and(|file| file.to_string_lossy().contains("-----"));
        [
            (self.roles.is_empty(), &["roles"], "no role to run: leave it out, or name some"),
            (
                EnvFilter::try_new(&self.log.filter).is_err(),
                &["log", "filter"],
                "must be a filter such as info,sqlx=debug",
            ),
            (pasted, &["auth", "public_key_file"], "must be the path of a file, and not the key itself"),
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

    fn of_listeners(&self) -> [Rule; 5] {
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

    fn of_delivery(&self) -> [Rule; 6] {
        let (consumer, relay, silence) = (&self.consumer, &self.relay, self.health.silence);
        let owner = relay.owner.as_ref();
        [
            (consumer.attempts == 0, &["consumer", "attempts"], "must be at least 1"),
            (consumer.backoff_cap > HOUR, &["consumer", "backoff_cap"], "must be at most 1h"),
            (
                Backoff::new(consumer.backoff, consumer.backoff_cap).is_err(),
                &["consumer", "backoff"],
                "must be more than 0s and at most consumer.backoff_cap",
            ),
            (
                owner.is_some_and(|owner| owner.is_empty() || owner.len() > 200),
                &["relay", "owner"],
                "must have 1 to 200 bytes: leave it out for a random one",
            ),
            (
                !(Duration::from_millis(300)..=HOUR).contains(&relay.lease),
                &["relay", "lease"],
                "must be between 300ms and 1h",
            ),
            (
                silence < Duration::from_secs(60) || silence <= relay.lease,
                &["health", "silence"],
                "must be at least 1m, and more than relay.lease: a loop that waits for its database is not stuck",
            ),
        ]
    }

    fn of_servers(&self) -> [Rule; 4] {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        let prefix = |prefix: &str| prefix.len() <= 100 && prefix.bytes().all(plain);
        let kafka = self.kafka.as_ref();
        [
            (
                // The pool reserves memory for all of them.
                self.database
                    .as_ref()
                    .is_some_and(|database| !(1..=10_000).contains(&database.max_connections)),
                &["database", "max_connections"],
                "must be between 1 and 10000",
            ),
            (
                kafka.is_some_and(|kafka| kafka.brokers.contains(['@', '/'])),
                &["kafka", "brokers"],
                "must be host:port,host:port; protocol, user name and password belong into kafka.librdkafka",
            ),
            (
                kafka.is_some_and(|kafka| !prefix(&kafka.prefix)),
                &["kafka", "prefix"],
                "must be at most 100 letters, digits and ._-, since it begins the names of topics",
            ),
            (
                kafka.is_some_and(|kafka| !(1..=10_000).contains(&kafka.replication_factor)),
                &["kafka", "replication_factor"],
                "must be at least 1, and at most the number of brokers",
            ),
        ]
    }
}
