//! The commands of the topic `order.commands`.

use comms_core::{Error, Message, event};

use crate::services::order::saga::messages::{
    CancelPayment, ConfirmStock, ReleaseStock, RequestPayment, ReserveStock, ShipOrder,
};

/// A command of the saga.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    RequestPayment(RequestPayment),
    CancelPayment(CancelPayment),
    ReserveStock(ReserveStock),
    ReleaseStock(ReleaseStock),
    ConfirmStock(ConfirmStock),
    ShipOrder(ShipOrder),
}

type Read = fn(&Message) -> Result<Option<Command>, Error>;

/// A reader for each type of command.
const READERS: [Read; 6] = [
    |message| Ok(event::read(message)?.map(Command::RequestPayment)),
    |message| Ok(event::read(message)?.map(Command::CancelPayment)),
    |message| Ok(event::read(message)?.map(Command::ReserveStock)),
    |message| Ok(event::read(message)?.map(Command::ReleaseStock)),
    |message| Ok(event::read(message)?.map(Command::ConfirmStock)),
    |message| Ok(event::read(message)?.map(Command::ShipOrder)),
];

impl Command {
    /// Reads the command that `message` carries.
    ///
    /// # Errors
    /// Returns `Misconfigured` if the type of the command is unknown, and the errors of [`event::read`].
    pub(super) fn read(message: &Message) -> Result<Self, Error> {
        for read in READERS {
            if let Some(command) = read(message)? {
                return Ok(command);
            }
        }
        let event_type = message.event_type().unwrap_or("without a type");
        Err(Error::misconfigured(format!("this program does not know the command {event_type}")))
    }
}
