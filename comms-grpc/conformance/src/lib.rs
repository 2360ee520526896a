//! A server and a client that the conformance suite of connectrpc runs against comms-grpc.
//!
//! The runner starts a program, writes requests to its standard input, and reads responses from its standard output
//! ([`runner`]). In server mode the runner calls the [`server`] with its own clients. In client mode it starts servers
//! of its own, and the [`client`] makes the calls that the runner describes.

/// The generated code of the suite's messages and service.
// The lints do not fit to generated code.
#[allow(unreachable_pub, clippy::all)]
pub mod proto {
    tonic::include_proto!("connectrpc.conformance.v1");
}

pub mod client;
mod headers;
pub mod runner;
pub mod server;
mod statuses;

/// Installs the cryptography of the process.
pub fn install_provider() {
    // An error means that a provider is installed.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
