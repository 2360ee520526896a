//! An order: which change is possible in which state, and the state that follows from the events. This module does no
//! I/O.

use comms_core::{Error, event_sourcing::Aggregate};

use super::{
    change::{Change, Command, Placement},
    events::{
        Cancelled, Delivered, Entered, OrderEvent, Paid, PaymentFailed, PaymentStarted, Placed, Refunded,
        Reserved, Shipped,
    },
};
use crate::contracts::{Money, OrderItem, OrderStatus};

/// The state of an order, as the result of its events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) order_id: String,
    pub(super) buyer_id: String,
    pub(super) ad_id: String,
    pub(super) quantity: u32,
    pub(super) unit_price: Money,
    /// Whether other services react to the events of the order, instead of commands of its saga.
    pub(super) choreographed: bool,
    pub(super) status: OrderStatus,
    /// The number of changes of the status, from 1. 0: the order does not exist.
    pub(super) sequence: i64,
    pub(super) payment_id: Option<String>,
    pub(super) reason: Option<String>,
    /// Milliseconds since the Unix epoch.
    pub(super) created_at: i64,
    /// The time of the last change of the status.
    pub(super) updated_at: i64,
    /// The buyer was charged, whatever the status is now.
    pub(super) paid: bool,
    pub(super) reserved: bool,
    pub(super) refunded: bool,
}

impl Default for Order {
    /// Returns the state of an order without events, which does not exist.
    fn default() -> Self {
        Self {
            order_id: String::new(),
            buyer_id: String::new(),
            ad_id: String::new(),
            quantity: 0,
            unit_price: Money { minor: 0, currency: String::new() },
            choreographed: false,
            status: OrderStatus::Created,
            sequence: 0,
            payment_id: None,
            reason: None,
            created_at: 0,
            updated_at: 0,
            paid: false,
            reserved: false,
            refunded: false,
        }
    }
}

impl Order {
    /// Returns whether the order was placed.
    pub(super) const fn exists(&self) -> bool {
        self.sequence > 0
    }

    /// Returns what was ordered.
    pub(super) fn item(&self) -> OrderItem {
        let Self { ad_id, quantity, unit_price, .. } = self;
        OrderItem { ad_id: ad_id.clone(), quantity: *quantity, unit_price: unit_price.clone() }
    }

    /// Returns the price of all pieces.
    ///
    /// # Errors
    /// Returns `Invalid` if the total overflows.
    pub(super) fn total(&self) -> Result<Money, Error> {
        self.unit_price.times(self.quantity)
    }

    fn place(&self, new: Placement, at: i64) -> Result<Option<OrderEvent>, Error> {
        if !self.exists() {
            new.validate()?;
            let Placement { order_id, buyer_id, ad_id, quantity, unit_price, choreographed } = new;
            return Ok(Some(OrderEvent::Placed(Placed {
                order_id,
                buyer_id,
                ad_id,
                quantity,
                unit_price,
                choreographed,
                at,
            })));
        }
        let placed = (&self.order_id, &self.buyer_id, &self.ad_id, self.quantity, &self.unit_price);
        if placed == (&new.order_id, &new.buyer_id, &new.ad_id, new.quantity, &new.unit_price) {
            return Ok(None);
        }
        Err(Error::invalid(format!("another order was placed with the id {}", self.order_id)))
    }

    fn start_payment(&self, payment_id: String, at: i64) -> Result<Option<OrderEvent>, Error> {
        match &self.payment_id {
            None => Ok(Some(OrderEvent::PaymentStarted(PaymentStarted { payment_id, at }))),
            Some(known) if *known == payment_id => Ok(None),
            Some(known) => {
                Err(Error::invalid(format!("the order has the payment {known}, and cannot get {payment_id}")))
            }
        }
    }

    /// Returns the event that `change` causes. `None` if the change has happened already.
    fn decide_one(&self, change: Change, at: i64) -> Result<Option<OrderEvent>, Error> {
        use OrderStatus as S;
        if !self.exists() && !matches!(change, Change::Place(_)) {
            return Err(Error::not_found("the order does not exist"));
        }
        Ok(match (change, self.status) {
            (Change::Place(new), _) => self.place(new, at)?,
            (Change::StartPayment { payment_id }, _) => self.start_payment(payment_id, at)?,
            (Change::Pay, S::Created) => Some(OrderEvent::Paid(Paid { at })),
            (Change::Pay, _) if self.paid => None,
            (Change::FailPayment { reason }, S::Created) => {
                Some(OrderEvent::PaymentFailed(PaymentFailed { reason, at }))
            }
            (Change::FailPayment { .. }, S::PaymentFailed) => None,
            (Change::Reserve, _) if self.reserved => None,
            (Change::Reserve, S::Paid) => Some(OrderEvent::Reserved(Reserved { at })),
            (Change::Ship, S::Paid) if self.reserved => Some(OrderEvent::Shipped(Shipped { at })),
            (Change::Ship, S::Shipped | S::Delivered) => None,
            (Change::Deliver, S::Shipped) => Some(OrderEvent::Delivered(Delivered { at })),
            (Change::Deliver, S::Delivered) => None,
            (Change::Cancel { reason }, S::Created | S::Paid) => {
                Some(OrderEvent::Cancelled(Cancelled { reason, at }))
            }
            (Change::Cancel { .. }, S::Cancelled) => None,
            (Change::Refund, _) if self.refunded => None,
            (Change::Refund, S::Cancelled) if self.paid => Some(OrderEvent::Refunded(Refunded { at })),
            (change, _) => return Err(self.impossible(&change)),
        })
    }

    fn impossible(&self, change: &Change) -> Error {
        let held = [(self.paid, "paid"), (self.reserved, "reserved"), (self.refunded, "refunded")];
        let held: Vec<&str> = held.into_iter().filter_map(|(is, name)| is.then_some(name)).collect();
        let facts = if held.is_empty() { String::new() } else { format!(" ({})", held.join(", ")) };
        Error::invalid(format!("the order is {}{facts} and cannot {change}", <&str>::from(self.status)))
    }
}

impl Aggregate for Order {
    const CATEGORY: &'static str = "order";
    type Command = Command;
    type Event = OrderEvent;

    /// Returns `NotFound` if the order does not exist, and `Invalid` if a change is impossible in its state.
    fn decide(&self, Command { changes, at }: Command) -> Result<Vec<OrderEvent>, Error> {
        let (mut order, mut events) = (self.clone(), Vec::new());
        for change in changes {
            if let Some(event) = order.decide_one(change, at)? {
                order.evolve(&event);
                events.push(event);
            }
        }
        Ok(events)
    }

    fn evolve(&mut self, event: &OrderEvent) {
        match event {
            OrderEvent::Placed(placed) => {
                let Placed { order_id, buyer_id, ad_id, quantity, unit_price, choreographed, at } =
                    placed.clone();
                *self = Self {
                    order_id,
                    buyer_id,
                    ad_id,
                    quantity,
                    unit_price,
                    choreographed,
                    created_at: at,
                    ..Self::default()
                };
            }
            OrderEvent::PaymentStarted(event) => self.payment_id = Some(event.payment_id.clone()),
            OrderEvent::Paid(_) => self.paid = true,
            OrderEvent::Reserved(_) => self.reserved = true,
            OrderEvent::Refunded(_) => self.refunded = true,
            OrderEvent::PaymentFailed(_)
            | OrderEvent::Shipped(_)
            | OrderEvent::Delivered(_)
            | OrderEvent::Cancelled(_) => {}
        }
        if let Some(Entered { status, reason, at }) = event.entered() {
            self.status = status;
            self.sequence += 1;
            self.reason = reason;
            self.updated_at = at;
        }
    }
}

#[cfg(test)]
mod tests;
