//! Interoperability with other implementations of gRPC: clients and servers of the Python package grpcio, which is built
//! on the C core, and of the npm package @grpc/grpc-js.

#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]
#![allow(clippy::disallowed_methods, reason = "the tests run in real time")]

mod calls;
mod connections;
mod from_peers;
mod grpc_js;
mod grpcio;
mod hedges;
#[path = "../../../comms-core/tests/peer/program.rs"]
mod program;
mod programs;
mod retries;
mod server_details;
mod service;
mod to_peers;
