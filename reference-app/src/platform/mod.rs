//! What every service stands on: configuration, database, delivery, identity, telemetry, listeners,
//! and an end in order.

pub mod admin;
pub mod config;
pub mod data_dir;
pub mod db;
pub mod deliveries;
pub mod delivery;
pub mod grpc;
pub mod http;
pub mod identity;
pub mod key;
pub mod listeners;
pub mod policies;
pub mod prefix;
pub mod service;
pub mod stages;
pub mod telemetry;
