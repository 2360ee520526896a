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

impl PeerIdentity {
    /// Returns the name of the peer: the SPIFFE id, else the first DNS name.
    pub(super) fn name(&self) -> Option<&str> {
        self.spiffe_id.as_deref().or_else(|| self.dns_names.first().map(|name| &**name))
    }
}

/// Prints the name of the peer, or `unnamed` for a certificate without one.
impl fmt::Display for PeerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name().unwrap_or("unnamed"))
    }
}
