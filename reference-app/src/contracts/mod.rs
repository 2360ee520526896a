//! The contracts between services: event types and gRPC calls, in a module for the service that owns them. [`Money`] is
//! common to all.

pub mod ad;
pub mod analytics;
pub mod delivery;
mod money;
pub mod order;
pub mod payment;

/// The largest request of a call between services: 128 KiB. That is above what the gateway's body limit admits (64 KiB
/// by default). With tonic's default of 4 MiB, the streams of one connection could make a service hold 1 GiB.
pub const MAX_REQUEST: usize = 128 * 1024;

/// The methods that a caller may repeat without an idempotency key, as paths such as `/comms.ads.v1.Ads/GetAd`: those with
/// an `idempotency_level` in their `.proto` file.
pub const IDEMPOTENT_METHODS: &[&str] = include!(concat!(env!("OUT_DIR"), "/idempotent_methods.rs"));

pub use ad::{ReservationChanged, ReservationStatus};
pub use delivery::{DeliveryStatus, DeliveryStatusChanged};
pub use money::Money;
pub use order::{OrderItem, OrderStatus, OrderStatusChanged};
pub use payment::{PaymentStatus, PaymentStatusChanged};
