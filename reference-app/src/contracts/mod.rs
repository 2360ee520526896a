//! What services share, by the service that owns it: event types and gRPC calls. Money belongs to all of them.

mod money;
pub mod order;
pub mod payment;

pub use money::Money;
pub use order::{OrderStatus, OrderStatusChanged};
pub use payment::{PaymentStatus, PaymentStatusChanged};
