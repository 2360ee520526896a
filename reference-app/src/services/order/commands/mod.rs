//! The handler of the commands of the saga: calls the participants.
//!
//! - `command`: reads a command from a message.
//! - `participants`: payment-service, ad-service and the shipping, each under its policy.

mod command;
mod participants;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use comms_core::{Delivery, Error, Message, Outcome, handler_fn, transport::BoxHandler, wire};

use command::Command;
pub(super) use participants::Participants;

/// Handles the topic `order.commands`: makes the call of each command.
///
/// The participant answers with an event, which is a reply of the saga. The key of the call is the idempotency key of the
/// command, so a redelivery and a later attempt are executed once. No transaction is open during the call. If a guard of the
/// policy refuses the call, or the participant is unavailable or lacks the method, the delivery is held and no attempt is
/// counted. A type of command that this program does not know is held until a program that knows it is deployed.
pub(super) fn execute(participants: Participants) -> BoxHandler {
    let participants = Arc::new(participants);
    BoxHandler::new(handler_fn(move |delivery: Delivery| {
        let participants = participants.clone();
        async move {
            let command = Command::read(&delivery.message)?;
            let key = idempotency_key(&delivery.message)?;
            participants.execute(key, &command).await?;
            Ok(Outcome::Done)
        }
    }))
}

fn idempotency_key(command: &Message) -> Result<&str, Error> {
    let missing = || Error::invalid(format!("the command has no header {}", wire::IDEMPOTENCY_KEY));
    command.headers().text(wire::IDEMPOTENCY_KEY).ok_or_else(missing)
}
