//! One target for every parser of outside bytes. Each checks laws: what is accepted keeps the limits, and what is
//! printed is read the same again.
//!
//! `cargo fuzz` drives them through `main.rs`; `tests/fuzz.rs` includes this file and drives them in every
//! `cargo test`, from the same seeds in `corpus/<target>/`.

mod cloudevents;
mod context;
mod signed;

/// A target by its name.
pub type Target = (&'static str, fn(&[u8]));

/// Every target; each has a `[[bin]]` of its name in Cargo.toml and seeds in `corpus/`.
pub const TARGETS: &[Target] = &[
    ("cloudevents_headers", cloudevents::cloudevents_headers),
    ("cloudevents_json", cloudevents::cloudevents_json),
    ("grpc_timeout", context::grpc_timeout),
    ("jwt", signed::jwt),
    ("message_context", context::message_context),
    ("request_context", context::request_context),
    ("request_timeout", context::request_timeout),
    ("traceparent", context::traceparent),
    ("tracestate", context::tracestate),
    ("webhook_headers", signed::webhook_headers),
];

/// Feeds `data` to the target of this name.
///
/// # Panics
/// Where a law is broken, and where there is no such target.
pub fn run(name: &str, data: &[u8]) {
    let (_, target) = TARGETS.iter().find(|(known, _)| *known == name).expect("a target of this name");
    target(data);
}
