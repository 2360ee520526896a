//! What is known about the peer of a connection.

use std::{net::SocketAddr, sync::Arc};

/// The addresses of an accepted connection, and the identity of its peer.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Peer {
    /// The address of the peer.
    pub remote: SocketAddr,
    /// The address that the peer connected to, if the operating system reports it.
    pub local: Option<SocketAddr>,
    /// The identity of a peer that presented a certificate which the listener verified. `None` on a connection without
    /// mutual TLS.
    pub identity: Option<PeerIdentity>,
}

/// The names in the certificate of a client, which the listener has verified.
///
/// [`serve`](crate::serve) puts it into the extensions of each request, so that a handler reads it with
/// `request.extensions().get::<PeerIdentity>()`. Clones share the names.
///
/// ```
/// use comms_grpc::PeerIdentity;
///
/// let caller = PeerIdentity::new(Some("spiffe://shop.example/order".to_owned()), vec!["order".to_owned()]);
/// assert_eq!(caller.spiffe_id(), Some("spiffe://shop.example/order"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PeerIdentity(Arc<Names>);

#[derive(Debug, PartialEq, Eq, Hash)]
struct Names {
    spiffe_id: Option<String>,
    dns_names: Vec<String>,
}

impl PeerIdentity {
    /// Creates an identity, for tests of rules about access. Only the listener creates the identity of a real peer.
    #[must_use]
    pub fn new(spiffe_id: Option<String>, dns_names: Vec<String>) -> Self {
        Self(Arc::new(Names { spiffe_id, dns_names }))
    }

    /// Returns the SPIFFE id, `spiffe://<trust domain>/<path>`. `None` if the certificate has no URI, more than one URI,
    /// or one that is no SPIFFE id.
    #[must_use]
    pub fn spiffe_id(&self) -> Option<&str> {
        self.0.spiffe_id.as_deref()
    }

    /// Returns the DNS names, in the order of the certificate.
    #[must_use]
    pub fn dns_names(&self) -> &[String] {
        &self.0.dns_names
    }
}
