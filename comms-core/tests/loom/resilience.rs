//! The parts under test, where the library has them.

pub(crate) use rejection::{Guard, Rejection};

#[path = "../../src/resilience/breaker.rs"]
pub(crate) mod breaker;
#[path = "../../src/resilience/budget.rs"]
pub(crate) mod budget;
#[path = "../../src/resilience/config.rs"]
mod config;
#[path = "../../src/resilience/name.rs"]
mod name;
#[path = "../../src/resilience/rejection.rs"]
mod rejection;
#[path = "../../src/resilience/bulkhead/seats.rs"]
pub(crate) mod seats;
