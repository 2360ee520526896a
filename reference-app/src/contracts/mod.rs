//! What services share: event types, money, topics, and the generated gRPC code. Nothing else crosses.

mod events;
mod money;

pub use events::{OrderStatus, OrderStatusChanged, PaymentStatus, PaymentStatusChanged};
pub use money::Money;

use comms_core::Event;

/// Topics, with the number of partitions they have on a broker.
pub const TOPICS: [(&str, i32); 2] = [(OrderStatusChanged::TYPE, 6), (PaymentStatusChanged::TYPE, 6)];

/// Generated from `proto/orders.proto`.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::missing_errors_doc)]
pub mod orders {
    tonic::include_proto!("comms.orders.v1");
}

/// Generated from `proto/payments.proto`.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::missing_errors_doc)]
pub mod payments {
    tonic::include_proto!("comms.payments.v1");
}
