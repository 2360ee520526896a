//! The services of the marketplace: one folder and one line each.

pub mod gateway;
pub mod notification;
pub mod order;
pub mod payment;

use crate::platform::service::Service;

/// Every service, in the order in which they are shown.
pub static ALL: &[&Service] =
    &[&gateway::SERVICE, &order::SERVICE, &payment::SERVICE, &notification::SERVICE];
