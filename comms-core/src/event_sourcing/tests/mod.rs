//! The fixture of the event sourcing tests: an account.

mod append;
mod events;
mod repository;

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use super::*;
use crate::{
    Error, Message,
    event::{Event, EventSource, Versions},
};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Deposited {
    cents: u64,
}

/// Version 1 had `euros`.
impl Event for Deposited {
    const TYPE: &'static str = "account.deposited";
    const VERSION: u32 = 2;
    fn key(&self) -> String {
        String::new()
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Closed {}

impl Event for Closed {
    const TYPE: &'static str = "account.closed";
    const VERSION: u32 = 1;
    fn key(&self) -> String {
        String::new()
    }
}

#[derive(Debug, Clone, PartialEq)]
enum AccountEvent {
    Deposited(Deposited),
    Closed(Closed),
}

static DEPOSITED: LazyLock<Versions<Deposited>> = LazyLock::new(|| {
    let cents = |old: serde_json::Value| {
        let euros = old["euros"].as_u64().ok_or_else(|| Error::invalid("euros is not a number"))?;
        Ok(serde_json::json!({ "cents": euros * 100 }))
    };
    Versions::json().upcast(1, cents).build().unwrap()
});

impl EventSet for AccountEvent {
    fn message(&self, source: &EventSource) -> Result<Message, Error> {
        match self {
            Self::Deposited(event) => DEPOSITED.message(source, event),
            Self::Closed(event) => source.message(event),
        }
    }

    fn decode(message: &Message) -> Result<Self, Error> {
        one_of(message).versions(&DEPOSITED, Self::Deposited).event(Self::Closed).decode()
    }
}

#[derive(Debug, Clone)]
enum Command {
    /// Deposits each of the amounts.
    Deposit(Vec<u64>),
    Close,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Account {
    cents: u64,
    closed: bool,
}

impl Aggregate for Account {
    const CATEGORY: &'static str = "account";
    type Command = Command;
    type Event = AccountEvent;

    fn decide(&self, command: Command) -> Result<Vec<AccountEvent>, Error> {
        match command {
            _ if self.closed => Err(Error::conflict("the account is closed")),
            Command::Deposit(amounts) => Ok(amounts.into_iter().map(deposited).collect()),
            Command::Close => Ok(vec![AccountEvent::Closed(Closed {})]),
        }
    }

    fn evolve(&mut self, event: &AccountEvent) {
        match event {
            AccountEvent::Deposited(event) => self.cents += event.cents,
            AccountEvent::Closed(_) => self.closed = true,
        }
    }
}

fn deposited(cents: u64) -> AccountEvent {
    AccountEvent::Deposited(Deposited { cents })
}
