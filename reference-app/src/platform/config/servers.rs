//! The sections of the servers: PostgreSQL, Kafka and Redis.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// PostgreSQL.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    /// `postgres://user:password@host:port/database`.
    pub url: String,
    /// Connections of each service.
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
    /// The bootstrap servers: `host:port,host:port`.
    pub brokers: String,
    /// `client.rack`: consumers fetch from the nearest replica.
    #[serde(default)]
    pub rack: Option<String>,
    /// The prefix of topics and consumer groups, so that several systems can share a cluster.
    #[serde(default)]
    pub prefix: String,
    /// The replication factor of topics that this program creates.
    #[serde(default = "default_replication")]
    pub replication_factor: i32,
    /// Settings for librdkafka. Settings that a guarantee of this program depends on are refused.
    #[serde(default)]
    pub librdkafka: BTreeMap<String, String>,
}

const fn default_replication() -> i32 {
    3
}

/// Redis, which connects the processes that have sessions of clients.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redis {
    /// `redis://[user][:password@]host[:port][/db]`, with the scheme `rediss` for TLS.
    pub url: String,
    /// The prefix of keys and channels, so that several systems can share a server.
    #[serde(default = "default_redis_prefix")]
    pub prefix: String,
}

fn default_redis_prefix() -> String {
    "comms".to_owned()
}
