//! Consumers under test: an application's handlers run without a broker, and each delivery is recorded.
//!
//! - `builder.rs`, `consumer.rs`: the consumer of the application. `faults.rs`, `states.rs`: its faults and assertions.
//! - `broker.rs`: the clock, and what several consumers share.
//! - `transport.rs`: the seam to a broker. `memory/`: the broker in memory.
//! - `recorder.rs`, `dead_letters.rs`: the wrappers from which `ledger/` learns what happens.
//! - `call.rs`, `state.rs`: the records. `calls.rs`, `published.rs`: assertions on them.

mod broker;
mod builder;
mod call;
mod calls;
mod consumer;
mod dead_letters;
pub(super) mod fail;
mod faults;
mod ledger;
mod memory;
mod published;
mod recorder;
mod state;
mod states;
mod transport;

pub use broker::TestBroker;
pub use builder::TestConsumerBuilder;
pub use call::{Call, CallResult};
pub use calls::Calls;
pub use consumer::TestConsumer;
pub use memory::MemoryTransport;
pub use published::Published;
pub use state::{DeliveryState, Failure};
pub use transport::{ConsumerSetup, Transport};

#[cfg(test)]
mod tests;
