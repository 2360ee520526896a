//! The name that a client expects in the certificate of its server.

use std::fmt;

use comms_core::Error;
use tokio_rustls::rustls::pki_types::ServerName;

/// The maximum length of a SPIFFE id, in bytes.
const MAX_SPIFFE_ID: usize = 2_048;
/// The maximum length of the trust domain of a SPIFFE id, in bytes.
const MAX_TRUST_DOMAIN: usize = 255;

/// The name that the certificate of a server must have, for [`ClientTls::expect`](super::ClientTls::expect).
///
/// ```
/// use comms_grpc::tls::PeerName;
///
/// let payment = PeerName::spiffe("spiffe://shop.example/payment")?;
/// assert_eq!(payment.to_string(), "spiffe://shop.example/payment");
/// assert!(PeerName::spiffe("spiffe://shop.example/../payment").is_err());
/// # Ok::<(), comms_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerName(pub(super) Name);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Name {
    /// A DNS name or an IP address.
    Host(ServerName<'static>),
    Spiffe(String),
}

impl PeerName {
    /// Creates the name of a host, a DNS name or an IP address. A certificate for `*.example.com` is valid for
    /// `a.example.com`.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](comms_core::ErrorKind::Invalid) if `name` is neither.
    pub fn dns(name: impl Into<String>) -> Result<Self, Error> {
        let name = name.into();
        let text = format!("{name:?} is neither a DNS name nor an IP address");
        ServerName::try_from(name).map(|name| Self(Name::Host(name))).map_err(|_| Error::invalid(text))
    }

    /// Creates the name of a workload, `spiffe://<trust domain>/<path>`. The id in the certificate must be the same
    /// text.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](comms_core::ErrorKind::Invalid) if `id` is no SPIFFE id with a path. The error
    /// names the violated rule of the standard
    /// (<https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE-ID.md>).
    pub fn spiffe(id: impl Into<String>) -> Result<Self, Error> {
        let id = id.into();
        check_spiffe_id(&id).map_err(|rule| Error::invalid(format!("{id:?} is no SPIFFE id: {rule}")))?;
        Ok(Self(Name::Spiffe(id)))
    }
}

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Name::Host(host) => f.write_str(&host.to_str()),
            Name::Spiffe(id) => f.write_str(id),
        }
    }
}

/// Checks `id`, and returns the violated rule.
pub(super) fn check_spiffe_id(id: &str) -> Result<(), &'static str> {
    if id.len() > MAX_SPIFFE_ID {
        return Err("it is longer than 2,048 bytes");
    }
    let rest = id.strip_prefix("spiffe://").ok_or("it must begin with spiffe://")?;
    let (domain, path) = rest.split_once('/').ok_or("it must have a path")?;
    check_trust_domain(domain)?;
    for segment in path.split('/') {
        if segment.is_empty() || segment == "." || segment == ".." {
            return Err("no segment of the path may be empty, '.' or '..'");
        }
        if !segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)) {
            return Err("the path may have letters, digits, '.', '-' and '_'");
        }
    }
    Ok(())
}

/// Checks a trust domain, and returns the violated rule.
pub(super) fn check_trust_domain(domain: &str) -> Result<(), &'static str> {
    let valid = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
    match domain {
        "" => Err("the trust domain is empty"),
        _ if domain.len() > MAX_TRUST_DOMAIN => Err("the trust domain is longer than 255 bytes"),
        _ if !domain.bytes().all(valid) => {
            Err("the trust domain may have lowercase letters, digits, '.', '-' and '_'")
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_spiffe_ids_with_a_path_are_accepted() {
        for id in ["spiffe://shop/payment", "spiffe://a.b-c_d.9/ns/default/sa/Payment_1.x-y"] {
            assert_eq!(check_spiffe_id(id), Ok(()), "{id}");
        }
        let long = format!("spiffe://shop/{}", "x".repeat(MAX_SPIFFE_ID));
        let domain = format!("spiffe://{}/x", "d".repeat(MAX_TRUST_DOMAIN + 1));
        for id in [
            "",
            "https://shop/payment",
            "SPIFFE://shop/payment",
            "spiffe:///payment",
            "spiffe://shop",
            "spiffe://shop/",
            "spiffe://shop/payment/",
            "spiffe://shop//payment",
            "spiffe://shop/../payment",
            "spiffe://shop/./payment",
            "spiffe://Shop/payment",
            "spiffe://shop:443/payment",
            "spiffe://user@shop/payment",
            "spiffe://shop/payment?x",
            "spiffe://shop/payment#x",
            "spiffe://shop/pay%6dent",
            "spiffe://shop/pay ment",
            "spiffe://shop/paym\u{435}nt",
            &long,
            &domain,
        ] {
            assert!(check_spiffe_id(id).is_err(), "{id}");
        }
    }

    #[test]
    fn hosts_are_names_or_addresses() {
        for name in ["payment", "payment.example.com", "10.0.0.1", "::1"] {
            assert_eq!(PeerName::dns(name).unwrap().to_string(), name);
        }
        for name in ["", "a b", "payment:443", "http://payment"] {
            assert!(PeerName::dns(name).is_err(), "{name}");
        }
    }
}
