//! The services of the marketplace. Each service is one folder here and one line in [`ALL`].
//!
//! An order goes through them in this order: [`gateway`] receives the HTTP request and calls [`order`] over gRPC,
//! [`order`] publishes the order's event and calls [`payment`], [`payment`] publishes the result of the payment,
//! [`order`] applies it, and [`notification`] pushes each change to the buyer's sockets. [`ad`] keeps the ads that are
//! ordered, and reserves their stock. [`analytics`] counts the changes of orders.

pub mod ad;
pub mod analytics;
pub mod gateway;
pub mod notification;
pub mod order;
pub mod payment;

use crate::platform::service::Service;

/// The registrations of all services. Help texts and the list of listeners show them in this order.
pub static ALL: &[&Service] = &[
    &gateway::SERVICE,
    &order::SERVICE,
    &payment::SERVICE,
    &notification::SERVICE,
    &ad::SERVICE,
    &analytics::SERVICE,
];
