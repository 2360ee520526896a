//! Tests of the consumer under test, on the broker in memory.

mod assertions;
mod batches;
mod faults;
mod settling;
mod states;
mod time;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::*;
use crate::{
    Delivery, Error, ErrorKind, Handler, Message, MessageParts, Outcome, Scoped,
    event::Event,
    handler_fn,
    testing::{CommitFaults, FaultyUnit, MemoryPublisher, MemoryTx, MemoryUnit},
    transactional,
    transport::{AttemptConfig, FailurePolicy},
};

const TOPIC: &str = "order.placed";
const SECOND: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Placed {
    order: String,
    cents: u32,
}

impl Event for Placed {
    const TYPE: &'static str = TOPIC;
    const VERSION: u32 = 1;
    fn key(&self) -> String {
        self.order.clone()
    }
}

fn placed(order: &str, cents: u32) -> Placed {
    Placed { order: order.into(), cents }
}

/// Returns the message of an order with an id that names the order and the amount.
fn message(order: &str, cents: u32) -> Message {
    let message = TestBroker::memory().events("shop").message(&placed(order, cents)).unwrap();
    Message::new(MessageParts { id: &format!("{order}-{cents}"), ..message.parts() })
}

/// Returns a handler whose nth call returns the nth result, and `Done` after the last one.
fn scripted(results: impl IntoIterator<Item = Result<Outcome, Error>>) -> impl Handler {
    let results = Arc::new(Mutex::new(results.into_iter().collect::<std::collections::VecDeque<_>>()));
    handler_fn(move |_: Delivery| {
        let next = results.lock().unwrap().pop_front().unwrap_or(Ok(Outcome::Done));
        async move { next }
    })
}

/// Returns a handler that writes the invoice of an order in a transaction of `unit`.
fn billing(unit: &MemoryUnit) -> impl Handler {
    transactional(unit.clone(), |placed: Placed, mut tx: Scoped<MemoryTx>| async move {
        tx.write(&format!("invoices/{}", placed.order), placed.cents.to_string()).await
    })
}

async fn start(handler: impl Handler) -> TestConsumer {
    TestConsumer::builder("billing").on(TOPIC, handler).start().await.unwrap()
}
