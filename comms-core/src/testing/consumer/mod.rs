//! The conformance suite of a consumer: each message is handled at least once, in the order of its key, and no failure
//! loses a message.
//!
//! The suite runs on a [`Transport`], with which applications test their handlers too. An adapter of a broker
//! implements that trait with its consumer of production.
//!
//! ```
//! use comms_core::testing::{MemoryTransport, consumer};
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! consumer::all(&MemoryTransport::new()).await.unwrap();
//! # }
//! ```

mod bench;
mod failures;
mod lifecycle;
mod log;
mod order;

use super::{Broken, Transport, check::Suite};
pub use failures::{
    dead_letter_has_the_reason, hold_counts_no_attempt, panic_is_one_failed_attempt,
    refused_dead_letter_is_written_later,
};
pub use lifecycle::{fatal_error_stops_the_consumer, restart_loses_nothing, running_handlers_are_bounded};
pub use order::{each_message_is_handled, failed_key_holds_up_no_other, key_keeps_its_order};

/// Checks every guarantee. Must be called within a tokio runtime whose time is not paused.
///
/// # Errors
/// Returns [`Broken`] with every violated guarantee and what was observed.
pub async fn all<T: Transport + Clone>(transport: &T) -> Result<(), Broken> {
    let mut suite = Suite::new("Consumer");
    suite.check("each message is handled", each_message_is_handled(transport)).await;
    suite.check("a key keeps its order", key_keeps_its_order(transport)).await;
    suite.check("a failed key holds up no other key", failed_key_holds_up_no_other(transport)).await;
    suite.check("a dead letter has the reason", dead_letter_has_the_reason(transport)).await;
    suite
        .check("a refused dead letter is written later", refused_dead_letter_is_written_later(transport))
        .await;
    suite.check("a hold counts no attempt", hold_counts_no_attempt(transport)).await;
    suite.check("a panic is one failed attempt", panic_is_one_failed_attempt(transport)).await;
    suite.check("a restart loses nothing", restart_loses_nothing(transport)).await;
    suite.check("a fatal error stops the consumer", fatal_error_stops_the_consumer(transport)).await;
    suite.check("the running handlers are bounded", running_handlers_are_bounded(transport)).await;
    suite.finish()
}

#[cfg(test)]
mod tests;
