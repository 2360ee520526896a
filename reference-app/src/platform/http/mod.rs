//! HTTP services: the listener, the layers around a service's routes, and the types that handlers take and return.
//!
//! A service creates its routes and wraps them with [`edge`](edge()). Its handlers take [`Principal`] and [`Json`], and
//! return [`Problem`] for every refusal.
//!
//! - `edge`: the layers around the routes. `context` (trace, deadline, log line, metric) and `head_checks` (limits of
//!   a request's head) are two of them.
//! - `listener`: serves the routes. `draining` closes connections before the listener stops.
//! - `json`: request bodies. `problem`: error responses. `principal`: the caller of a request.
//! - `hosts`: protection from DNS rebinding and cross-site requests. `authority`: hosts with ports.

mod authority;
mod context;
mod draining;
mod edge;
mod head_checks;
mod hosts;
mod json;
mod listener;
mod principal;
mod problem;

pub use authority::is_host_and_port;
pub use draining::Draining;
pub use edge::{Edge, Guarded, checked, edge};
pub use head_checks::{FIELDS_LIMIT, HEADERS_LIMIT, URI_LIMIT};
pub use hosts::Hosts;
pub use json::Json;
pub use listener::serve;
pub use principal::{ADMIN_SCOPE, Admin, Bearer, Principal, unauthenticated, verified};
pub use problem::{FieldError, Problem};
