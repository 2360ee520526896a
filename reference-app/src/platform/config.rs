//! One configuration tree: defaults of the profile, then a TOML file, then `COMMS_…` environment
//! variables with `__` between levels, then the command line. Unknown keys are refused.

mod duration;
mod load;
mod redact;

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

use comms_core::{Error, PolicyConfig};
use serde::{Deserialize, Serialize};

pub use load::load;

/// What runs where nothing else is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// Nothing to install: SQLite, delivery by the relay, keys made at the first start.
    Embedded,
    /// PostgreSQL, Kafka and configured keys; refuses to start without them.
    Full,
}

/// A service.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// The REST edge.
    Gateway,
    /// Orders, and the saga that gets them paid.
    Order,
    /// Payments.
    Payment,
    /// What a person waits for, pushed to the socket.
    Notification,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 4] = [Self::Gateway, Self::Order, Self::Payment, Self::Notification];
}

/// The whole tree. `docs/reference/configuration.md` has it with its defaults.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Which defaults stand.
    pub profile: Profile,
    /// Services of this process.
    pub roles: Vec<Role>,
    /// Where SQLite files and development keys live. Locked by one process.
    pub data_dir: PathBuf,
    /// How long a shut-down may take in all, in seconds.
    pub shutdown_seconds: u64,
    /// Logs.
    pub log: Log,
    /// `/livez`, `/readyz`, `/metrics`, `/policies`.
    pub admin: Listen,
    /// The limits of every listener.
    pub listeners: Listeners,
    /// When readiness and liveness say so.
    pub health: Health,
    /// The REST edge.
    pub gateway: Gateway,
    /// Orders.
    pub order: Order,
    /// Payments.
    pub payment: Payment,
    /// Pushes.
    pub notification: Notification,
    /// PostgreSQL; without it SQLite.
    pub database: Option<Database>,
    /// Kafka; without it the relay delivers in the process.
    pub kafka: Option<Kafka>,
    /// Who is believed.
    pub auth: Auth,
    /// The outbox relay.
    pub relay: Relay,
    /// How consumers try again.
    pub consumer: Consumer,
    /// The guards of calls between services, by destination.
    pub policies: Policies,
}

/// How logs are written.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// `text` or `json`.
    pub format: LogFormat,
    /// As `RUST_LOG`.
    pub filter: String,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// When readiness and liveness say so.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// Readiness is degraded while a relay's oldest message is older, in seconds.
    pub relay_lag_seconds: u64,
    /// Readiness is degraded while a consumer is behind by more messages.
    pub consumer_lag_messages: u64,
    /// Readiness is degraded while a relay has parked or held more keys.
    pub parked_keys: usize,
    /// A relay's or consumer's loop that is silent for longer is not live, in seconds.
    pub silence_seconds: u64,
}

/// The guards of calls between services, by destination. The first form of each is in `defaults.toml`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policies {
    /// The gateway's calls to order-service: somebody waits.
    pub order: PolicyConfig,
    /// The saga's calls to payment-service: nobody waits, and the consumer tries again.
    pub payment: PolicyConfig,
}

/// A listener.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
}

/// The limits of every listener.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listeners {
    /// How long a peer may take to send a request head, or the HTTP/2 handshake.
    #[serde(with = "duration")]
    pub head_timeout: Duration,
    /// How long nothing may move on a connection while something is owed on it.
    #[serde(with = "duration")]
    pub progress_timeout: Duration,
    /// Connections of one listener at a time; without it, a share of the descriptors of the process.
    pub max_connections: Option<usize>,
    /// Connections of one address at one listener; without it, half of all.
    pub max_connections_per_address: Option<usize>,
}

/// The REST edge.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gateway {
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The longest a request may take, in milliseconds; a client may ask for less.
    pub request_timeout_ms: u64,
    /// The largest request body, in bytes.
    pub body_limit: usize,
}

/// Orders.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// gRPC listener; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where others find it: `http://host:port`. Without it, the bound address of this process.
    pub url: Option<String>,
}

/// Payments.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Payment {
    /// gRPC listener; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where others find it: `http://host:port`. Without it, the bound address of this process.
    pub url: Option<String>,
    /// A payment above this many minor units is declined.
    pub limit_minor: i64,
}

/// Pushes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Notification {
    /// WebSocket listener; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where clients find it: `wss://host`. Without it, the bound address of this process.
    pub url: Option<String>,
    /// Browser origins that may open a socket; the gateway's own is added where it is in this process.
    pub origins: Vec<String>,
}

/// PostgreSQL.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    /// `postgres://user:password@host:port/database`.
    pub url: String,
    /// Connections per service.
    #[serde(default = "default_connections")]
    pub max_connections: u32,
}

fn default_connections() -> u32 {
    10
}

/// Kafka.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kafka {
    /// `host:port,host:port`.
    pub brokers: String,
    /// `client.rack`: read from the nearest replica.
    #[serde(default)]
    pub rack: Option<String>,
    /// Before the names of topics and groups: several systems on one cluster.
    #[serde(default)]
    pub prefix: String,
    /// Of topics that are not there yet.
    #[serde(default = "default_replication")]
    pub replication_factor: i32,
    /// Passed through to librdkafka, except keys that carry a promise.
    #[serde(default)]
    pub librdkafka: BTreeMap<String, String>,
}

fn default_replication() -> i32 {
    3
}

/// Who is believed.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// `iss` of tokens.
    pub issuer: String,
    /// `aud` of tokens.
    pub audience: String,
    /// PEM file of the ES256 public key; without it (embedded only) a key pair is made in the data directory.
    pub public_key_file: Option<PathBuf>,
}

/// The outbox relay.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Relay {
    /// How long a dead relay's lease holds up its successor, in milliseconds.
    pub lease_ms: u64,
    /// The owner of the leases of this process: unique among running processes, the same after a restart.
    #[serde(default)]
    pub owner: Option<String>,
}

/// How consumers try again.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Consumer {
    /// Tries in all before a retryable failure becomes a dead letter.
    pub attempts: u32,
    /// First wait, in milliseconds; doubles.
    pub backoff_ms: u64,
    /// Longest wait, in milliseconds.
    pub backoff_cap_ms: u64,
}

impl Config {
    /// Whether `role` runs in this process.
    #[must_use]
    pub fn runs(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    /// What can be seen to be wrong before anything starts.
    ///
    /// # Errors
    /// `Invalid`, with what to do.
    pub fn validate(&self) -> Result<(), Error> {
        let alone = !Role::ALL.iter().all(|role| self.runs(*role));
        let full = self.profile == Profile::Full;
        let finds =
            |caller, callee, url: &Option<String>| !self.runs(caller) || self.runs(callee) || url.is_some();
        let refusals = [
            (self.roles.is_empty(), "no role to run: leave out `roles`, or name some"),
            (
                alone && self.kafka.is_none(),
                "roles in separate processes need Kafka: set kafka.brokers (COMMS_KAFKA__BROKERS), \
                 or run all roles in one process",
            ),
            (
                full && self.database.is_none(),
                "profile full needs PostgreSQL: set database.url (COMMS_DATABASE__URL)",
            ),
            (
                full && self.kafka.is_none(),
                "profile full needs Kafka: set kafka.brokers (COMMS_KAFKA__BROKERS)",
            ),
            (
                full && self.auth.public_key_file.is_none(),
                "profile full makes no keys: set auth.public_key_file (COMMS_AUTH__PUBLIC_KEY_FILE) \
                 to the ES256 public key of whoever issues your tokens",
            ),
            (self.consumer.attempts == 0, "consumer.attempts must be at least 1"),
            (
                self.relay.owner.as_ref().is_some_and(|owner| owner.is_empty() || owner.len() > 200),
                "relay.owner must have 1 to 200 bytes: leave it out for a random one",
            ),
            (self.relay.lease_ms < 300, "relay.lease_ms must be at least 300"),
            (
                self.runs(Role::Gateway) && !self.runs(Role::Notification) && self.notification.url.is_none(),
                "a gateway without the notification role cannot tell clients where the socket is: \
                 set notification.url (COMMS_NOTIFICATION__URL)",
            ),
            (
                !finds(Role::Gateway, Role::Order, &self.order.url),
                "a gateway without the order role must be told where it is: set order.url (COMMS_ORDER__URL)",
            ),
            (
                !finds(Role::Order, Role::Payment, &self.payment.url),
                "the order role without the payment role must be told where it is: \
                 set payment.url (COMMS_PAYMENT__URL)",
            ),
            (
                self.health.silence_seconds < 60
                    || self.health.silence_seconds.saturating_mul(1_000) <= self.relay.lease_ms,
                "health.silence_seconds must be at least 60, and more than relay.lease_ms: a loop that waits \
                 for its database is not stuck",
            ),
            (
                self.auth.public_key_file.is_none() && !self.gateway.listen.ip().is_loopback(),
                "without auth.public_key_file anybody gets a token for any user, and gateway.listen can be \
                 reached from elsewhere: configure the key, or listen on 127.0.0.1",
            ),
            (
                self.listeners.head_timeout.is_zero() || self.listeners.progress_timeout.is_zero(),
                "listeners.head_timeout and listeners.progress_timeout must not be zero",
            ),
            (
                self.listeners.max_connections == Some(0)
                    || self.listeners.max_connections_per_address == Some(0),
                "listeners.max_connections and listeners.max_connections_per_address must be at least 1",
            ),
            (!(1..=3_600).contains(&self.shutdown_seconds), "shutdown_seconds must be 1 to 3600"),
            (
                self.database.as_ref().is_some_and(|database| database.max_connections == 0),
                "database.max_connections must be at least 1",
            ),
            (self.payment.limit_minor < 0, "payment.limit_minor must not be negative"),
            (self.gateway.request_timeout_ms == 0, "gateway.request_timeout_ms must be at least 1"),
        ];
        if let Some((_, what)) = refusals.iter().find(|(wrong, _)| *wrong) {
            return Err(Error::invalid(*what));
        }
        for (name, policy) in [("order", &self.policies.order), ("payment", &self.policies.payment)] {
            policy.validate().map_err(|e| e.context(format_args!("policies.{name}")))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
