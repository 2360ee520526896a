//! TLS and mutual TLS: certificates that are reloaded, and names of peers that are checked in the handshake.
//!
//! The guide `docs/guides/mtls.md` has the promise, the settings and the rotation.
//!
//! | file | contents |
//! |---|---|
//! | `client.rs`, `server_verifier.rs`, `client_stream.rs` | the handshake of a client, the check of the server's name, and the errors of the open connection |
//! | `server.rs` | the handshake of a server |
//! | `failure.rs` | the reason and the text of a failed handshake |
//! | `identity.rs`, `trust.rs` | what is loaded: a certificate with its key, and the authorities |
//! | `reload/` | the task that reads the files again |
//! | `certificate.rs`, `peer_name.rs` | names and times in certificates |
//! | `provider.rs` | the cryptography of the process, and the time |
//! | `authority/` (feature `development-authority`) | an authority for development and tests |

#[cfg(feature = "development-authority")]
mod authority;
mod certificate;
mod client;
mod client_stream;
mod failure;
mod identity;
mod peer_name;
mod provider;
mod reload;
#[cfg(feature = "server")]
mod server;
mod server_verifier;
#[cfg(test)]
mod test_pki;
#[cfg(test)]
#[cfg(feature = "server")]
mod tests;
mod trust;

#[cfg(feature = "development-authority")]
pub use authority::DevelopmentAuthority;
pub use client::ClientTls;
#[cfg(feature = "server")]
pub(crate) use failure::HandshakeFailure;
pub use identity::Identity;
pub use peer_name::PeerName;
#[cfg(feature = "server")]
pub(crate) use server::ServerHandshake;
#[cfg(feature = "server")]
pub use server::ServerTls;
pub use tokio_rustls::rustls;
pub use trust::Trust;
pub(crate) use {client::ClientHandshake, client_stream::ClientStream};
