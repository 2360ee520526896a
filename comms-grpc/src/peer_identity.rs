//! The verified identity of a peer.

use std::{fmt, sync::Arc};

/// The identity in the verified client certificate of a connection. Each request of the connection has it in its
/// extensions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PeerIdentity {
    /// The SPIFFE id, such as `spiffe://shop.example/order`.
    pub spiffe_id: Option<Arc<str>>,
    /// The DNS names.
    pub dns_names: Vec<Arc<str>>,
}

/// Prints the SPIFFE id, else the first DNS name, or `unnamed` for a certificate without one.
impl fmt::Display for PeerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.spiffe_id.as_deref().or_else(|| self.dns_names.first().map(|name| &**name));
        f.write_str(name.unwrap_or("unnamed"))
    }
}
