//! The sections of the platform. Each service has its own section in its folder.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

use comms_core::resilience::PolicyConfig;
use serde::{Deserialize, Serialize};

use super::duration;

/// The defaults that apply where nothing else is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// Nothing to install: SQLite, delivery by the relay, keys made at the first start.
    Embedded,
    /// PostgreSQL, Kafka and configured keys; refuses to start without them.
    Full,
}

/// Every section but those of the services. `docs/reference/configuration.md` lists all keys with their defaults.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Platform {
    /// The profile.
    pub profile: Profile,
    /// The services of this process, by name.
    pub roles: Vec<String>,
    /// The directory of SQLite files and development keys. One process at a time has locked it.
    pub data_dir: PathBuf,
    /// The shutdown.
    pub shutdown: Shutdown,
    /// Logs.
    pub log: Log,
    /// The listener of `/livez`, `/readyz`, `/metrics`, `/policies` and `/holds`.
    pub admin: Admin,
    /// The limits of every listener.
    pub listeners: Listeners,
    /// The limits of readiness and liveness.
    pub health: Health,
    /// PostgreSQL; without it SQLite.
    pub database: Option<Database>,
    /// Kafka; without it the relay delivers in the process.
    pub kafka: Option<Kafka>,
    /// Tokens.
    pub auth: Auth,
    /// The outbox relay.
    pub relay: Relay,
    /// The attempts of consumers.
    pub consumer: Consumer,
    /// The policies of the calls between services, by name.
    pub policies: BTreeMap<String, PolicyConfig>,
}

/// The shutdown.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shutdown {
    /// How long the listeners go on accepting while readiness fails, so that load balancers can turn away first.
    #[serde(with = "duration")]
    pub accepting: Duration,
    /// The longest that all stages may take together, after `accepting`.
    #[serde(with = "duration")]
    pub limit: Duration,
}

/// Logs.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// `text` or `json`.
    pub format: LogFormat,
    /// A filter as in `RUST_LOG`.
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

/// The admin listener.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The file with the token that operations which change something need. Without it, embedded makes
    /// `<data_dir>/admin-token` at the first start, and full refuses these operations.
    pub token_file: Option<PathBuf>,
}

/// The limits of every listener.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listeners {
    /// How long a peer may take to send a request head, or the HTTP/2 handshake.
    #[serde(with = "duration")]
    pub head_timeout: Duration,
    /// How long an HTTP/1 connection stays open after a response if its peer sends nothing.
    #[serde(with = "duration")]
    pub idle_timeout: Duration,
    /// How long nothing may move on a connection while something is owed on it.
    #[serde(with = "duration")]
    pub progress_timeout: Duration,
    /// Connections of one listener at a time; without it, a share of the descriptors of the process.
    pub max_connections: Option<usize>,
    /// Connections of one address at one listener; without it, half of all.
    pub max_connections_per_address: Option<usize>,
}

/// The limits of readiness and liveness.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// Readiness is degraded while a relay's oldest message is older.
    #[serde(with = "duration")]
    pub relay_lag: Duration,
    /// Readiness is degraded while a consumer is behind by more messages.
    pub consumer_lag_messages: u64,
    /// Readiness is degraded while a relay has parked or held more keys.
    pub parked_keys: usize,
    /// A loop of a relay or a consumer that is silent for longer is not live.
    #[serde(with = "duration")]
    pub silence: Duration,
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

const fn default_connections() -> u32 {
    10
}

/// Kafka.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kafka {
    /// `host:port,host:port`.
    pub brokers: String,
    /// `client.rack`: consumers read from the nearest replica.
    #[serde(default)]
    pub rack: Option<String>,
    /// The prefix of topics and groups, for several systems on one cluster.
    #[serde(default)]
    pub prefix: String,
    /// The replication factor of topics that do not exist yet.
    #[serde(default = "default_replication")]
    pub replication_factor: i32,
    /// Passed through to librdkafka, except the keys that carry a promise.
    #[serde(default)]
    pub librdkafka: BTreeMap<String, String>,
}

const fn default_replication() -> i32 {
    3
}

/// Tokens.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// The `iss` of tokens.
    pub issuer: String,
    /// The `aud` of tokens.
    pub audience: String,
    /// The PEM file of the ES256 public key. Without it (embedded only) a key pair is made in the data directory.
    pub public_key_file: Option<PathBuf>,
    /// How far the clocks of the issuer and of this process may differ, at most 5 minutes: a token is valid so much
    /// longer, for a request and for the session of a socket.
    #[serde(with = "duration")]
    pub clock_skew: Duration,
}

/// The outbox relay.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Relay {
    /// How long the lease of a dead relay holds up its successor.
    #[serde(with = "duration")]
    pub lease: Duration,
    /// The owner of the leases of this process: unique among running processes, the same after a restart.
    #[serde(default)]
    pub owner: Option<String>,
}

/// The attempts of consumers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Consumer {
    /// Counted attempts before a failure becomes a dead letter.
    pub attempts: u32,
    /// The first wait between attempts; each further one is twice as long.
    #[serde(with = "duration")]
    pub backoff: Duration,
    /// The longest wait between attempts.
    #[serde(with = "duration")]
    pub backoff_cap: Duration,
}
