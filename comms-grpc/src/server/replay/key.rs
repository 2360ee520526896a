//! The key of a call, in the scope of its caller.

use comms_core::{Error, idempotency::CallKey, wire::IDEMPOTENCY_KEY};
use http::request::Parts;

use crate::peer_identity::PeerIdentity;

/// Returns the scope of the keys of a caller with a certificate: all of its names.
fn scope(identity: &PeerIdentity) -> String {
    match &identity.spiffe_id {
        Some(id) => format!("spiffe:{id}"),
        None => format!("dns:{}", identity.dns_names.join(",")),
    }
}

/// Returns the key of the call, in the scope of its caller.
pub(super) fn call_key(parts: &Parts, message: &[u8]) -> Result<CallKey, Error> {
    let key = parts.headers.get(IDEMPOTENCY_KEY).and_then(|key| key.to_str().ok()).unwrap_or_default();
    let identity = parts.extensions.get::<PeerIdentity>().map(scope).unwrap_or_default();
    #[cfg(feature = "jwt")]
    let subject = parts.extensions.get::<comms_core::jwt::Claims>();
    #[cfg(feature = "jwt")]
    let subject = subject.map(|claims| format!("{}\n{}", claims.iss, claims.sub)).unwrap_or_default();
    #[cfg(not(feature = "jwt"))]
    let subject = "";
    // A verified issuer and subject have no line feeds.
    let principal = format!("{identity}\n{subject}");
    CallKey::new(&principal, parts.uri.path(), key, message)
}
