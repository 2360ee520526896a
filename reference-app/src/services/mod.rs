//! The services: each owns its data, none reads another's tables, and they talk only through gRPC and
//! events, also when they share a process. Each folder has the same few files.

pub mod gateway;
pub mod notification;
pub mod order;
pub mod payment;
