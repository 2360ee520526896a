//! What is known about the peer of a connection.

use std::net::SocketAddr;

use crate::peer_identity::PeerIdentity;

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
