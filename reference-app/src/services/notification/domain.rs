//! The texts of notifications, and the topic of a user's sockets. This module does no I/O.

use crate::contracts::{OrderStatus, OrderStatusChanged};

/// Returns the text of the notification for `change`.
pub(super) fn text(change: &OrderStatusChanged) -> String {
    let order = &change.order_id;
    match change.status {
        OrderStatus::Created => format!("Order {order} is accepted; the payment is in progress."),
        OrderStatus::Paid => format!("Order {order} is paid."),
        OrderStatus::PaymentFailed => {
            format!(
                "Order {order}: the payment failed ({}).",
                change.reason.as_deref().unwrap_or("no reason given")
            )
        }
        OrderStatus::Shipped => format!("Order {order} is on its way."),
        OrderStatus::Delivered => format!("Order {order} is delivered."),
        OrderStatus::Cancelled => format!("Order {order} is cancelled."),
    }
}

/// Returns the topic that the sockets of `user` receive.
pub(super) fn user_topic(user: &str) -> String {
    format!("user/{user}")
}
