//! The texts of notifications, and the topics of sessions. This module does no I/O.

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

/// The beginning of the topics of orders: their changes of status.
const ORDER: &str = "order/";
/// The beginning of the topics of deliveries: the changes of the shipment of an order.
const DELIVERY: &str = "delivery/";

/// Returns the topic of everything that concerns `user`.
pub(super) fn user_topic(user: &str) -> String {
    format!("user/{user}")
}

/// Returns the topic of the order `order_id`.
pub(super) fn order_topic(order_id: &str) -> String {
    format!("{ORDER}{order_id}")
}

/// Returns the topic of the delivery of the order `order_id`.
pub(super) fn delivery_topic(order_id: &str) -> String {
    format!("{DELIVERY}{order_id}")
}

/// Returns the id of the order whose buyer may read `topic`, or `None` if `topic` belongs to no order.
pub(super) fn order_of(topic: &str) -> Option<&str> {
    topic.strip_prefix(ORDER).or_else(|| topic.strip_prefix(DELIVERY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_topics_of_an_order_name_it() {
        assert_eq!(order_of(&order_topic("7")), Some("7"));
        assert_eq!(order_of(&delivery_topic("7")), Some("7"));
        for other in [user_topic("7").as_str(), "orders/7", "7", ""] {
            assert_eq!(order_of(other), None, "{other}");
        }
    }
}
