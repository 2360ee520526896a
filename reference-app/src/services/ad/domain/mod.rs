//! Ads, and the reservations of their stock. This module does no I/O.

mod ad;
mod reservation;
#[cfg(test)]
mod tests;

pub(super) use ad::{Ad, check_id};
pub(super) use reservation::{Reservation, Wanted};
