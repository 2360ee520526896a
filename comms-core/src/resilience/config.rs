//! The two forms of configuration that serde does not bring.

pub(super) mod duration;
pub(super) mod switch;
