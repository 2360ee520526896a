//! The certificates of the authority.

use std::{fmt, time::Duration};

use comms_core::{BoxError, Error, clock::Clock};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};
use time::OffsetDateTime;
use tokio_rustls::rustls::{
    RootCertStore,
    client::verify_server_cert_signed_by_trust_anchor,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject},
    server::ParsedCertificate,
    sign::CertifiedKey,
};
use zeroize::Zeroizing;

use crate::tls::certificate::CertificateNames;

/// The lifetime of the authority: 10 years.
const AUTHORITY_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3_600);
/// How long before its creation a certificate is valid, for clocks that are late.
const SKEW: Duration = Duration::from_secs(3_600);

/// The certificate and the key of the authority.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    certificate_pem: String,
    not_after: Duration,
}

impl Authority {
    pub(super) fn create(trust_domain: &str, clock: &Clock) -> Result<Self, Error> {
        let key = KeyPair::generate().map_err(failed)?;
        let not_after = clock.unix() + AUTHORITY_LIFETIME;
        let mut params = params(trust_domain);
        params.not_before = date(clock.unix().saturating_sub(SKEW))?;
        params.not_after = date(not_after)?;
        let certificate = params.self_signed(&key).map_err(failed)?;
        let (pem, certificate) = (certificate.pem(), certificate.der().clone());
        Ok(Self { issuer: Issuer::new(params, key), certificate, certificate_pem: pem, not_after })
    }

    /// Loads the result of [`secret_pem`](Self::secret_pem).
    pub(super) fn load(pem: &str, trust_domain: &str, clock: &Clock) -> Result<Self, Error> {
        let broken =
            |_| Error::misconfigured("the authority is broken: delete its directory, and trust the new one");
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(broken)?;
        let names = CertificateNames::read(&certificate).map_err(Error::misconfigured)?;
        if let Some(reason) = names.invalid_at(clock.unix()) {
            return Err(Error::misconfigured(format!(
                "{reason}: delete the directory of the authority, and trust the new one"
            )));
        }
        if names.dns_names != [trust_domain] {
            return Err(Error::misconfigured(format!(
                "the authority is of the trust domain {names}, and not of {trust_domain}: use another directory"
            )));
        }
        let begin = pem.find("-----BEGIN PRIVATE KEY").unwrap_or(pem.len());
        let key = KeyPair::from_pem(pem.get(begin..).unwrap_or_default()).map_err(failed)?;
        let certificate_pem = pem.get(..begin).unwrap_or_default().to_owned();
        let issuer = Issuer::new(params(trust_domain), key);
        Ok(Self { issuer, certificate, certificate_pem, not_after: names.not_after })
    }

    /// Returns the certificate.
    pub(super) fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// Returns the certificate and the key.
    pub(super) fn secret_pem(&self) -> Zeroizing<String> {
        with_key(&self.certificate_pem, self.issuer.key())
    }

    /// Issues a certificate, and returns it with its key.
    pub(super) fn issue(
        &self,
        role: &str,
        id: &str,
        names: &[String],
        lifetime: Duration,
        clock: &Clock,
    ) -> Result<Zeroizing<String>, Error> {
        let invalid = |e: rcgen::Error| Error::invalid(format!("a name of {role} cannot be used: {e}"));
        let mut params = CertificateParams::new(names).map_err(invalid)?;
        params.subject_alt_names.push(SanType::URI(id.try_into().map_err(invalid)?));
        params.distinguished_name = common_name(role);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        params.not_before = date(clock.unix().saturating_sub(SKEW))?;
        params.not_after = date(self.end_of(lifetime, clock))?;
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed)?;
        Ok(with_key(&certificate.pem(), &key))
    }

    /// Returns the end of a certificate of `lifetime` that is issued now. No certificate outlives the authority.
    pub(super) fn end_of(&self, lifetime: Duration, clock: &Clock) -> Duration {
        clock.unix().saturating_add(lifetime).min(self.not_after)
    }

    /// Returns whether this authority signed the certificate in `pem`, which has these names, a fitting key, and at least a
    /// third of the time that a certificate of `lifetime` would have.
    pub(super) fn is_usable(
        &self,
        pem: &str,
        id: &str,
        names: &[String],
        lifetime: Duration,
        provider: &CryptoProvider,
        clock: &Clock,
    ) -> bool {
        let check = || -> Result<bool, BoxError> {
            let certificate = CertificateDer::from_pem_slice(pem.as_bytes())?;
            let key = PrivateKeyDer::from_pem_slice(pem.as_bytes())?;
            CertifiedKey::from_der(vec![certificate.clone()], key, provider)?;
            let mut roots = RootCertStore::empty();
            roots.add(self.certificate.clone())?;
            let now = UnixTime::since_unix_epoch(clock.unix());
            let algorithms = provider.signature_verification_algorithms.all;
            let parsed = ParsedCertificate::try_from(&certificate)?;
            verify_server_cert_signed_by_trust_anchor(&parsed, &roots, &[], now, algorithms)?;
            let found = CertificateNames::read(&certificate)?;
            let new = self.end_of(lifetime, clock).saturating_sub(clock.unix());
            let is_fresh = found.not_after.saturating_sub(clock.unix()) > new / 3;
            let wanted = CertificateParams::new(names)?.subject_alt_names;
            Ok(is_fresh && found.spiffe_id.as_deref() == Some(id) && found.has_hosts(&wanted))
        };
        check().unwrap_or(false)
    }
}

/// Prints no key.
impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

impl CertificateNames {
    /// Returns whether the certificate has exactly the DNS names and addresses of `wanted`.
    fn has_hosts(&self, wanted: &[SanType]) -> bool {
        let (mut dns_names, mut addresses) = (Vec::new(), Vec::new());
        for name in wanted {
            match name {
                SanType::DnsName(name) => dns_names.push(name.as_str()),
                SanType::IpAddress(address) => addresses.push(*address),
                _ => return false,
            }
        }
        self.dns_names == dns_names && self.addresses == addresses
    }
}

/// Returns the parameters that the authority's certificate and its issued certificates share.
fn params(trust_domain: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name(&format!("development authority of {trust_domain}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    // The trust domain is read from here when the authority is loaded.
    params.subject_alt_names = trust_domain.try_into().map(SanType::DnsName).into_iter().collect();
    params
}

/// Returns a text of `certificate` and `key` that is overwritten when it is dropped.
fn with_key(certificate: &str, key: &KeyPair) -> Zeroizing<String> {
    let key = Zeroizing::new(key.serialize_pem());
    // A text that grew would leave copies behind.
    let mut pem = Zeroizing::new(String::with_capacity(certificate.len() + key.len()));
    pem.push_str(certificate);
    pem.push_str(&key);
    pem
}

fn common_name(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

fn date(unix: Duration) -> Result<OffsetDateTime, Error> {
    let seconds = i64::try_from(unix.as_secs()).unwrap_or(i64::MAX);
    OffsetDateTime::from_unix_timestamp(seconds)
        .map_err(|_| Error::misconfigured("the clock of this host is out of the range of certificates"))
}

fn failed(error: rcgen::Error) -> Error {
    Error::misconfigured(format!("a development certificate cannot be made: {error}"))
}
