//! What services share, by the service that owns it: event types and gRPC calls. Money belongs to all of them.

mod money;
pub mod order;
pub mod payment;

pub use money::Money;
pub use order::{OrderStatus, OrderStatusChanged};
pub use payment::{PaymentStatus, PaymentStatusChanged};

use comms_core::Event;

/// Topics, with the number of partitions they have on a broker.
pub const TOPICS: [(&str, i32); 2] = [(OrderStatusChanged::TYPE, 6), (PaymentStatusChanged::TYPE, 6)];
