//! The parts that every service shares.
//!
//! In reading order:
//! - [`service`]: the registration of a service, and what a service receives when it starts.
//! - [`config`]: the configuration: its layers, keys, validation and error texts.
//! - [`listeners`]: binds sockets, and derives the limits of listeners from file descriptors.
//! - [`http`]: the layers around a service's routes, and the types that handlers take and return.
//! - [`grpc`]: what a client may read of a failed gRPC call.
//! - [`policies`], [`channels`]: the policies of calls between services by name, and the channels that they guard.
//! - [`identity`]: verifies tokens; issues tokens in development.
//! - [`tls`]: the certificates of services, and which service may call which.
//! - [`db`]: the database of a service, on PostgreSQL or SQLite.
//! - [`delivery`]: relays and consumers, with and without Kafka. [`topic_prefix`] prefixes topics on a shared cluster.
//! - [`holds`]: the deliveries that consumers hold and relays park. [`message_key`] prints their keys.
//! - [`sagas`], [`projections`], [`sockets`]: the sagas, projections and hubs of the process, for operators. Each is a
//!   [`registry`].
//! - [`admin`]: the admin listener: health, metrics, policies, channels, sockets, holds, sagas, projections.
//!   `admin/token.rs` checks the admin token.
//! - [`shutdown`]: the stages of the shutdown, in their order.
//! - [`telemetry`]: logs and metrics.
//! - [`rfc3339`]: reads times in requests and events.
//! - [`data_dir`]: the locked data directory, and secrets generated in it.

pub mod admin;
pub mod channels;
pub mod config;
pub mod data_dir;
pub mod db;
pub mod delivery;
pub mod grpc;
pub mod holds;
pub mod http;
pub mod identity;
pub mod listeners;
pub mod message_key;
pub mod policies;
pub mod projections;
pub mod registry;
pub mod rfc3339;
pub mod sagas;
pub mod service;
pub mod shutdown;
pub mod sockets;
pub mod telemetry;
pub mod tls;
pub mod topic_prefix;
