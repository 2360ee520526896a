//! Names and times in certificates.

use std::{fmt, net::IpAddr, time::Duration};

use comms_core::{BoxError, clock::rfc3339};
use tokio_rustls::rustls::pki_types::pem;
use x509_parser::{
    extensions::{GeneralName, ParsedExtension},
    prelude::{FromDer, X509Certificate},
};

use super::peer_name::check_spiffe_id;

/// The names of a certificate, and the times between which it is valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CertificateNames {
    /// The SPIFFE id, if the certificate has exactly one URI and the URI is a SPIFFE id (X509-SVID, section 2).
    pub(crate) spiffe_id: Option<String>,
    /// The DNS names in the order of the certificate.
    pub(crate) dns_names: Vec<String>,
    /// The IP addresses in the order of the certificate.
    pub(crate) addresses: Vec<IpAddr>,
    /// The begin of the validity, since 1970.
    pub(crate) not_before: Duration,
    /// The end of the validity, since 1970.
    pub(crate) not_after: Duration,
}

/// Returns the fault of a PEM file. The text of the error may hold a line of the file, which may be a private key.
pub(super) const fn pem_fault(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::Base64Decode(_) => "a section is not Base64",
        pem::Error::MissingSectionEnd { .. } => "a section has no END line: are line breaks lost?",
        pem::Error::IllegalSectionStart { .. } => "a BEGIN line is malformed: are line breaks lost?",
        _ => "no section can be read",
    }
}

impl CertificateNames {
    /// Reads the names of a certificate in DER.
    pub(crate) fn read(der: &[u8]) -> Result<Self, BoxError> {
        let (_, certificate) = X509Certificate::from_der(der)?;
        let names =
            certificate.extensions().iter().filter_map(|extension| match extension.parsed_extension() {
                ParsedExtension::SubjectAlternativeName(names) => Some(&names.general_names),
                _ => None,
            });
        let (mut uris, mut dns_names, mut addresses) = (Vec::new(), Vec::new(), Vec::new());
        for name in names.flatten() {
            match name {
                GeneralName::DNSName(name) if name.bytes().all(|byte| byte.is_ascii_graphic()) => {
                    dns_names.push((*name).to_owned());
                }
                GeneralName::URI(uri) => uris.push(*uri),
                GeneralName::IPAddress(bytes) => addresses.extend(address(bytes)),
                // A URI that is not text counts: a certificate with a SPIFFE id has no other URI.
                GeneralName::Invalid(tag, _) if tag.0 == 6 => uris.push(""),
                _ => {}
            }
        }
        let spiffe_id = match uris.as_slice() {
            [uri] if check_spiffe_id(uri).is_ok() => Some((*uri).to_owned()),
            _ => None,
        };
        let validity = certificate.validity();
        let time = |seconds: i64| Duration::from_secs(seconds.try_into().unwrap_or_default());
        Ok(Self {
            spiffe_id,
            dns_names,
            addresses,
            not_before: time(validity.not_before.timestamp()),
            not_after: time(validity.not_after.timestamp()),
        })
    }

    /// Returns the name for metrics: the SPIFFE id, or the first DNS name.
    pub(crate) fn label(&self) -> String {
        let name = self.spiffe_id.as_ref().or_else(|| self.dns_names.first());
        name.cloned().unwrap_or_else(|| "unnamed".to_owned())
    }

    /// Returns whether and why the certificate is not valid at `unix`, the time since 1970. The text is the same at each
    /// time.
    pub(crate) fn invalid_at(&self, unix: Duration) -> Option<String> {
        if unix < self.not_before {
            return Some(format!("the certificate is not valid before {}", rfc3339(self.not_before)));
        }
        (unix > self.not_after).then(|| format!("the certificate expired at {}", rfc3339(self.not_after)))
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        _ => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
    }
}

/// Prints the names, for the text of a refused certificate.
impl fmt::Display for CertificateNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses = self.addresses.iter().map(ToString::to_string);
        let names: Vec<_> = self.spiffe_id.iter().chain(&self.dns_names).cloned().chain(addresses).collect();
        match names.as_slice() {
            [] => f.write_str("neither a SPIFFE id nor a host"),
            names => f.write_str(&names.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;

    fn names(uris: &[&str], dns_names: &[&str]) -> CertificateNames {
        let dns_names: Vec<String> = dns_names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(dns_names).unwrap();
        let uris = uris.iter().map(|&uri| SanType::URI(uri.try_into().unwrap()));
        params.subject_alt_names.extend(uris);
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        CertificateNames::read(certificate.der()).unwrap()
    }

    #[test]
    fn an_id_counts_only_if_it_is_the_only_uri() {
        let payment = "spiffe://shop/payment";
        let found = names(&[payment], &["payment", "payment.shop"]);
        assert_eq!(found.spiffe_id.as_deref(), Some(payment));
        assert_eq!(found.dns_names, ["payment", "payment.shop"]);
        assert_eq!(found.to_string(), "spiffe://shop/payment, payment, payment.shop");
        assert_eq!(found.label(), payment);
        assert_eq!(names(&[payment, "spiffe://shop/order"], &[]).spiffe_id, None);
        assert_eq!(names(&[payment, "https://example.com"], &[]).spiffe_id, None);
        assert_eq!(names(&["https://example.com"], &["x"]).spiffe_id, None);
        assert_eq!(names(&[], &[]).to_string(), "neither a SPIFFE id nor a host");
    }

    #[test]
    fn what_is_no_certificate_is_an_error() {
        let valid = CertificateParams::new(vec!["x".to_owned()]).unwrap();
        let valid = valid.self_signed(&KeyPair::generate().unwrap()).unwrap();
        for length in 0..valid.der().len() {
            assert!(CertificateNames::read(&valid.der()[..length]).is_err(), "{length}");
        }
    }
}
