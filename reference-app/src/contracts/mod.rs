//! What services share, by the service that owns it: event types and gRPC calls. Money belongs to all of them.

mod money;
pub mod order;
pub mod payment;

/// The largest request of a call between services, in bytes: far above what the body limit of the gateway admits. With
/// tonic's 4 MiB, one connection could make a service hold 1 GiB.
pub const MAX_REQUEST: usize = 128 * 1024;

pub use money::Money;
pub use order::{OrderStatus, OrderStatusChanged};
pub use payment::{PaymentStatus, PaymentStatusChanged};
