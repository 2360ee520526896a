//! Saga: an order across payment, inventory and shipping, defined as data, drawn, and run without a server.
//!
//! The problem: no transaction spans three services. If the courier refuses an order, its payment and its reservation must
//! be undone, and a lost or late reply must not leave the order half done.
//!
//! The solution: a definition lists the steps with their replies, time limits and compensations. Its transitions are pure
//! functions, so every run can be drawn and tested. A coordinator stores the instance and sends the commands.
//!
//! Prints the Mermaid text of the states, and the transitions of a run that succeeds and of one that the courier refuses.
//!
//! Run: `cargo run -p examples --example saga_diagram`. Nothing else is needed.

use std::time::Duration;

use comms_core::{
    Error,
    clock::Clock,
    event::{Event, EventSource},
    saga::{Definition, Effect, Input, Reply, Transition},
};
use serde::{Deserialize, Serialize};

#[derive(Clone)]
struct Order {
    cents: i64,
}

type Step = comms_core::saga::Step<Order>;

/// The commands and replies carry the id of the order. A reply also has a result.
macro_rules! events {
    ($($name:ident { $($field:ident: $type:ty),* } = $wire:literal;)*) => { $(
        #[derive(Serialize, Deserialize)]
        struct $name { order: String, $($field: $type),* }
        impl Event for $name {
            const TYPE: &'static str = $wire;
            const VERSION: u32 = 1;
            fn key(&self) -> String { self.order.clone() }
        }
    )* };
}

events! {
    OrderPlaced { cents: i64 } = "order.placed";
    Pay { cents: i64 } = "payment.pay";
    CancelPayment {} = "payment.cancel";
    PaymentChanged { paid: bool } = "payment.changed";
    Reserve {} = "inventory.reserve";
    Release {} = "inventory.release";
    InventoryChanged { reserved: bool } = "inventory.changed";
    Ship {} = "shipping.ship";
    ShippingAnswered { accepted: bool } = "shipping.answered";
    Delivered {} = "shipping.delivered";
}

fn main() -> Result<(), Error> {
    let definition = order_saga()?;
    println!("```mermaid\n{}```", definition.mermaid());
    let events = EventSource::new("peers", Clock::system());
    let order = || "order-7".to_owned();
    let paid = |paid| events.message(&PaymentChanged { order: order(), paid });
    let reserved = |reserved| events.message(&InventoryChanged { order: order(), reserved });
    let accepted = |accepted| events.message(&ShippingAnswered { order: order(), accepted });
    let delivered = events.message(&Delivered { order: order() })?;
    let success = vec![paid(true)?, reserved(true)?, accepted(true)?, delivered];
    let failure = vec![paid(true)?, reserved(true)?, accepted(false)?, reserved(false)?, paid(false)?];
    for replies in [success, failure] {
        println!("\n{:<24}{:<24}commands", "event", "state");
        let placed = events.message(&OrderPlaced { order: order(), cents: 4_200 })?;
        let Some(mut saga) = definition.start_on(&placed)? else { return Ok(()) };
        print_line(OrderPlaced::TYPE, &saga);
        for reply in replies {
            saga = definition.transition(&saga.instance, &Input::Message(&reply))?;
            print_line(reply.topic(), &saga);
        }
    }
    Ok(())
}

fn order_saga() -> Result<Definition<Order>, Error> {
    let payment = Step::command("payment", |saga| Pay { order: saga.id.clone(), cents: saga.data.cents })
        .reply::<PaymentChanged>(|_, event| result(event.paid, "card declined"))
        .compensate(|saga| CancelPayment { order: saga.id.clone() })
        .compensated_by::<PaymentChanged>(|_, event| result(!event.paid, "still paid"))
        .topic("payment.commands")
        .time_limit(Duration::from_secs(30));
    let inventory = Step::command("inventory", |saga| Reserve { order: saga.id.clone() })
        .reply::<InventoryChanged>(|_, event| result(event.reserved, "out of stock"))
        .compensate(|saga| Release { order: saga.id.clone() })
        .compensated_by::<InventoryChanged>(|_, event| result(!event.reserved, "still reserved"))
        .topic("inventory.commands")
        .time_limit(Duration::from_secs(30));
    let shipping = Step::command("shipping", |saga| Ship { order: saga.id.clone() })
        .reply::<ShippingAnswered>(|_, event| result(event.accepted, "no courier"))
        .time_limit(Duration::from_secs(3_600))
        .pivot();
    let delivery = Step::observe("delivery")
        .reply::<Delivered>(|_, _| Reply::Done)
        .time_limit(Duration::from_secs(14 * 24 * 3_600));
    let definition = Definition::builder("order-saga", 1)
        .start::<OrderPlaced>(|placed| Order { cents: placed.cents })
        .step(payment.running("PaymentProcessing").compensating("PaymentCancelled"))
        .step(inventory.done("InventoryReserved").compensating("CompensateInventory"))
        .step(shipping.done("ShippingProcessing"))
        .step(delivery.running("ShippingProcessing"));
    Ok(definition.build()?)
}

fn result(done: bool, reason: &str) -> Reply {
    if done { Reply::Done } else { Reply::Failed(reason.to_owned()) }
}

fn print_line(event: &str, saga: &Transition<Order>) {
    let commands = saga.effects.iter().filter_map(|effect| match effect {
        Effect::Send(command) => Some(command.event_type.as_str()),
        _ => None,
    });
    println!("{event:<24}{:<24}{}", saga.instance.state, commands.collect::<Vec<_>>().join(", "));
}
