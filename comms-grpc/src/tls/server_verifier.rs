//! The check of a server's certificate: its authority, its validity, and its name.

use std::sync::Arc;

use tokio_rustls::rustls::{
    DigitallySignedStruct, Error as TlsError, RootCertStore, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor, verify_server_name,
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};

use super::{
    certificate::CertificateNames,
    failure::WrongName,
    peer_name::{Name, PeerName},
};

/// Verifies the certificates of servers. The authority, the validity and the purpose are always checked.
#[derive(Debug)]
pub(super) struct ServerVerifier {
    pub(super) roots: Arc<RootCertStore>,
    pub(super) provider: Arc<CryptoProvider>,
    /// The expected name. `None` is the name of the host that the client connects to.
    pub(super) expected: Option<PeerName>,
}

impl ServerVerifier {
    fn verify_name(
        &self,
        certificate: &ParsedCertificate<'_>,
        der: &[u8],
        host: &ServerName<'_>,
    ) -> Result<(), TlsError> {
        let host = match self.expected.as_ref().map(|expected| &expected.0) {
            Some(Name::Spiffe(id)) => {
                let names = CertificateNames::read(der).ok();
                let matches = names.as_ref().is_some_and(|names| names.spiffe_id.as_ref() == Some(id));
                return if matches { Ok(()) } else { Err(wrong_name(id, names)) };
            }
            Some(Name::Host(expected)) => expected,
            None => host,
        };
        verify_server_name(certificate, host)
            .map_err(|_| wrong_name(&host.to_str(), CertificateNames::read(der).ok()))
    }
}

fn wrong_name(expected: &str, names: Option<CertificateNames>) -> TlsError {
    let names = names.map_or_else(|| "names that cannot be read".to_owned(), |names| names.to_string());
    WrongName(format!("expected {expected}, and the certificate has {names}")).into()
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&certificate, &self.roots, intermediates, now, algorithms)?;
        self.verify_name(&certificate, end_entity, server_name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
