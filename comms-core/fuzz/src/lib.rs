//! Fuzz targets, one for every parser of input from outside.
//!
//! Each target checks properties: accepted input is within the limits, and formatted values parse to the same value.
//! `cargo fuzz` runs the targets through `main.rs`. `tests/fuzz/main.rs` includes this file and runs them in every `cargo
//! test`. Both start from the seeds in `corpus/<target>/`.

mod cloudevents;
mod context;
mod signed;

/// A target: its name and its function.
pub type Target = (&'static str, fn(&[u8]));

/// All targets. Each has an entry in `bin` of Cargo.toml and seeds in `corpus/`.
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

/// Runs the target `name` on `data`.
///
/// # Panics
/// Panics if a property is violated, or if no target has this name.
pub fn run(name: &str, data: &[u8]) {
    let (_, target) = TARGETS.iter().find(|(other, _)| *other == name).expect("a target with this name");
    target(data);
}
