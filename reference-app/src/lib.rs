//! The reference marketplace: an application that uses every crate of comms.
//!
//! [`services`] has the four services, [`contracts`] their events and gRPC calls, and [`platform`] what is the same for
//! each service. [`system::System`] starts the configured services in one process and shuts them down.

pub mod contracts;
pub mod platform;
pub mod services;
pub mod system;
