//! HTTP services: the listener, the layers around a service's routes, and what its handlers take and return.
//!
//! A service makes its routes, and puts [`edge`] around them; its handlers take [`Principal`] and [`Json`], and return
//! [`Problem`] for every refusal.

mod authority;
mod checks;
mod context;
mod edge;
mod hosts;
mod json;
mod leaving;
mod listener;
mod principal;
mod problem;

pub use authority::is_host_and_port;
pub use checks::{FIELDS_LIMIT, HEADERS_LIMIT, URI_LIMIT};
pub use edge::{Edge, Guarded, checked, edge};
pub use hosts::Hosts;
pub use json::Json;
pub use leaving::Leaving;
pub use listener::serve;
pub use principal::{Principal, unauthenticated, verified};
pub use problem::{FieldError, Problem};
