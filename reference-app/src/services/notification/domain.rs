//! Which changes a person is told of, and in what words. Pure.

use crate::contracts::{OrderStatus, OrderStatusChanged};

/// The text of a notification.
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

/// The topic on which `user` hears of what is theirs.
pub(super) fn user_topic(user: &str) -> String {
    format!("user/{user}")
}
