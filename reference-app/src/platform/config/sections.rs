//! The sections of the platform, without those of servers. The section of a service is defined in the folder of the service.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use comms_core::resilience::PolicyConfig;
use serde::{Deserialize, Serialize};

use super::{Database, Kafka, Redis, duration};

/// The names of the platform's sections. A service cannot have one of these names.
pub const RESERVED: [&str; 16] = [
    "profile",
    "roles",
    "data_dir",
    "shutdown",
    "log",
    "listeners",
    "admin",
    "health",
    "database",
    "kafka",
    "redis",
    "auth",
    "tls",
    "relay",
    "consumer",
    "policies",
];

/// The profile: which defaults apply, and which servers are required.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// Needs no servers: SQLite, delivery by the relay within the process, keys generated at the first start.
    Embedded,
    /// Needs PostgreSQL, Kafka and configured keys. The process does not start without their settings, and waits while a
    /// server is away.
    Full,
}

/// All sections except those of the services. `docs/reference/configuration.md` lists all keys with their defaults.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Platform {
    /// The profile.
    pub profile: Profile,
    /// The names of the services that run in this process.
    pub roles: Vec<String>,
    /// The directory of SQLite files and development keys. A running process locks it.
    pub data_dir: PathBuf,
    /// Graceful shutdown.
    pub shutdown: Shutdown,
    /// Logs.
    pub log: Log,
    /// The listener of `/livez`, `/readyz`, `/metrics`, `/policies` and `/holds`.
    pub admin: Admin,
    /// The limits of every listener.
    pub listeners: Listeners,
    /// The limits of readiness and liveness.
    pub health: Health,
    /// PostgreSQL. `None`: SQLite.
    pub database: Option<Database>,
    /// Kafka. `None`: the relay delivers within the process.
    pub kafka: Option<Kafka>,
    /// Redis. `None`: one process has all sessions of clients.
    pub redis: Option<Redis>,
    /// Verification of tokens.
    pub auth: Auth,
    /// TLS between services.
    pub tls: Tls,
    /// The outbox relay.
    pub relay: Relay,
    /// Attempts of consumers.
    pub consumer: Consumer,
    /// The policies of calls between services, by name.
    pub policies: BTreeMap<String, PolicyConfig>,
}

/// Graceful shutdown.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shutdown {
    /// How long the listeners continue to accept while readiness fails, so that load balancers can redirect traffic
    /// first.
    #[serde(with = "duration")]
    pub accepting: Duration,
    /// The time limit of all stages together, after `accepting`.
    #[serde(with = "duration")]
    pub limit: Duration,
}

/// Logs.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// `text` or `json`.
    pub format: LogFormat,
    /// A filter in the syntax of `RUST_LOG`.
    pub filter: String,
}

/// The format of a log line.
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
    /// Address and port. Port 0 picks a free port.
    pub listen: SocketAddr,
    /// The file with the admin token, which operations that change state require. Default: the profile embedded
    /// generates `<data_dir>/admin-token` at the first start; the profile full refuses these operations.
    pub token_file: Option<PathBuf>,
}

/// The limits of every listener.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listeners {
    /// How long a peer may take to send a request head, or the HTTP/2 handshake.
    #[serde(with = "duration")]
    pub head_timeout: Duration,
    /// How long an HTTP/1 connection stays open after a response if the peer sends nothing.
    #[serde(with = "duration")]
    pub idle_timeout: Duration,
    /// How long a connection may make no progress while a request or a response is incomplete.
    #[serde(with = "duration")]
    pub progress_timeout: Duration,
    /// Simultaneous connections of one listener. Default: a share of the file descriptors of the process.
    pub max_connections: Option<usize>,
    /// Simultaneous connections of one peer address at one listener. Default: half of the listener's connections.
    pub max_connections_per_address: Option<usize>,
}

/// The thresholds of readiness and liveness.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// Readiness is degraded while the oldest message of a relay is older than this.
    #[serde(with = "duration")]
    pub relay_lag: Duration,
    /// Readiness is degraded while a consumer lags by more messages than this.
    pub consumer_lag_messages: u64,
    /// Readiness is degraded while a relay has parked or holds more keys than this.
    pub parked_keys: usize,
    /// Liveness fails if a loop of a relay or a consumer sends no heartbeat for longer than this.
    #[serde(with = "duration")]
    pub silence: Duration,
}

/// Verification of tokens.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// The expected `iss` claim.
    pub issuer: String,
    /// The expected `aud` claim.
    pub audience: String,
    /// The PEM file of the ES256 public key. Default: in the profile embedded, a key pair is generated in the data
    /// directory.
    pub public_key_file: Option<PathBuf>,
    /// The tolerated difference between the clocks of the issuer and this process, at most 5 minutes. A token is
    /// accepted for this time after its expiry, both for a request and for a WebSocket session.
    #[serde(with = "duration")]
    pub clock_skew: Duration,
}

/// Mutual TLS of every gRPC connection between services. The other listeners are plain.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// Where certificates come from.
    pub mode: TlsMode,
    /// The directory of the development authority and of the certificates that it issues. Processes may share it. Default:
    /// `<data_dir>/tls`.
    pub directory: Option<PathBuf>,
    /// The trust domain of the SPIFFE ids: service `x` is `spiffe://<trust_domain>/x`.
    pub trust_domain: String,
    /// In the mode `files`, the PEM file with the certificates of the trusted authorities.
    pub authority: Option<PathBuf>,
    /// In the mode `files`, the PEM file with the certificate chain of the service, for a process of one service.
    pub certificate: Option<PathBuf>,
    /// The PEM file with the private key of `certificate`.
    pub key: Option<PathBuf>,
    /// In the mode `files`, the certificates by service. They override `certificate` and `key`.
    #[serde(default)]
    pub services: BTreeMap<String, TlsFiles>,
}

/// The source of certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TlsMode {
    /// An authority in a directory of this machine issues them. For development and tests.
    Development,
    /// Files, which another program renews.
    Files,
    /// No TLS: a gRPC listener believes every peer that can reach it.
    Off,
}

/// The certificate of one service.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// The PEM file with the certificate chain.
    pub certificate: PathBuf,
    /// The PEM file with the private key.
    pub key: PathBuf,
}

impl Tls {
    /// Returns the directory of the development authority.
    #[must_use]
    pub fn directory(&self, data_dir: &Path) -> PathBuf {
        self.directory.clone().unwrap_or_else(|| data_dir.join("tls"))
    }

    /// Returns the certificate of `service` in the mode `files`.
    #[must_use]
    pub fn files(&self, service: &str) -> Option<TlsFiles> {
        let shared = || Some(TlsFiles { certificate: self.certificate.clone()?, key: self.key.clone()? });
        self.services.get(service).cloned().or_else(shared)
    }
}

/// The outbox relay.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Relay {
    /// The duration of a relay's lease. If a relay dies, its successor waits up to this long.
    #[serde(with = "duration")]
    pub lease: Duration,
    /// The owner of the leases of this process. It must be unique among running processes and stay the same after a
    /// restart. Default: a fixed owner for databases in the data directory, and a random owner at each start otherwise.
    #[serde(default)]
    pub owner: Option<String>,
}

/// Attempts of consumers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Consumer {
    /// The number of counted attempts before a failing message becomes a dead letter.
    pub max_attempts: u32,
    /// The wait before the second attempt. Each further wait is twice as long.
    #[serde(with = "duration")]
    pub backoff: Duration,
    /// The longest wait between attempts.
    #[serde(with = "duration")]
    pub backoff_cap: Duration,
}
