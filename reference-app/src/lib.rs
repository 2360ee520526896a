//! The reference marketplace: every crate of comms assembled into one system. The binary is a thin shell
//! around [`system::System`]; tests and benchmarks use the same parts.

pub mod contracts;
pub mod platform;
pub mod services;
pub mod system;
