//! The reason of a failed handshake, and its text for the operator of the side that can act.

use std::{error::Error as StdError, fmt, io};

#[cfg(feature = "server")]
use tokio_rustls::rustls::InvalidMessage;
use tokio_rustls::rustls::{AlertDescription as Alert, CertificateError, Error as TlsError, OtherError};

/// A failed handshake.
#[derive(Debug, Clone)]
pub(crate) struct HandshakeFailure {
    /// The label `reason` of the metric of a listener.
    #[cfg_attr(not(feature = "server"), allow(dead_code, reason = "only a listener counts failures"))]
    pub(crate) reason: &'static str,
    /// What failed, and what repairs it.
    pub(crate) text: String,
}

impl fmt::Display for HandshakeFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl StdError for HandshakeFailure {}

impl HandshakeFailure {
    pub(crate) fn new(reason: &'static str, text: impl Into<String>) -> Self {
        Self { reason, text: text.into() }
    }

    /// Returns the failure of a handshake that this process made as a server.
    #[cfg(feature = "server")]
    pub(crate) fn of_server(error: &io::Error) -> Self {
        let Some(tls) = find::<TlsError>(error) else {
            return Self::new(
                "closed",
                format!("the client closed the connection in the handshake: {error}"),
            );
        };
        let (reason, text) = match tls {
            TlsError::NoCertificatesPresented => {
                ("no_certificate", "the client sent no certificate, and the listener requires one")
            }
            TlsError::InvalidCertificate(error) => client_certificate(error),
            TlsError::NoApplicationProtocol => {
                ("alpn", "the client offers no protocol of the listener (ALPN)")
            }
            TlsError::PeerIncompatible(_) => (
                "incompatible",
                "the client shares no TLS version (1.2, 1.3) or cipher suite with the listener",
            ),
            TlsError::AlertReceived(_) => {
                ("refused_by_peer", "the client refused the certificate of the listener")
            }
            TlsError::InvalidMessage(InvalidMessage::InvalidContentType) => {
                ("plain_text", "the client does not use TLS: its URI must be https")
            }
            _ => ("protocol", "the client violated the protocol"),
        };
        Self::new(reason, format!("{text} ({tls})"))
    }

    /// Returns the failure of a connection that this process made as a client. `None` if `error` is not of TLS.
    pub(crate) fn of_client(error: &(dyn StdError + 'static)) -> Option<Self> {
        if let Some(failure) = find::<Self>(error) {
            return Some(failure.clone());
        }
        let tls = find::<TlsError>(error)?;
        let (reason, text) = match tls {
            TlsError::InvalidCertificate(error) => server_certificate(error),
            TlsError::AlertReceived(alert) => alert_of_server(*alert),
            TlsError::NoApplicationProtocol => ("alpn", "the server does not speak HTTP/2 (ALPN h2)"),
            TlsError::PeerIncompatible(_) => (
                "incompatible",
                "the server shares no TLS version (1.2, 1.3) or cipher suite with this process",
            ),
            TlsError::InvalidMessage(_) => ("plain_text", "the server does not use TLS on this port"),
            _ => ("protocol", "the server violated the protocol"),
        };
        Some(Self::new(reason, format!("{text} ({tls})")))
    }
}

#[cfg(feature = "server")]
fn client_certificate(error: &CertificateError) -> (&'static str, &'static str) {
    match error {
        CertificateError::UnknownIssuer => {
            ("unknown_authority", "no trusted authority signed the certificate of the client")
        }
        CertificateError::BadSignature => (
            "bad_signature",
            "the key of the client does not fit its certificate, or that of the authority does not",
        ),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            ("expired", "the certificate of the client has expired")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            ("not_yet_valid", "the certificate of the client is not valid yet: compare the clocks")
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => (
            "wrong_purpose",
            "the certificate of the client is not for clients (extended key usage clientAuth)",
        ),
        _ => ("bad_certificate", "the certificate of the client is refused"),
    }
}

fn server_certificate(error: &CertificateError) -> (&'static str, &'static str) {
    match error {
        CertificateError::UnknownIssuer => {
            ("unknown_authority", "no trusted authority signed the certificate of the server")
        }
        CertificateError::BadSignature => (
            "bad_signature",
            "the key of the server does not fit its certificate, or that of the authority does not",
        ),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            ("expired", "the certificate of the server has expired")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            ("not_yet_valid", "the certificate of the server is not valid yet: compare the clocks")
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => (
            "wrong_purpose",
            "the certificate of the server is not for servers (extended key usage serverAuth)",
        ),
        CertificateError::Other(_) => ("wrong_name", "the server is not the expected one"),
        _ => ("bad_certificate", "the certificate of the server is refused"),
    }
}

fn alert_of_server(alert: Alert) -> (&'static str, &'static str) {
    match alert {
        Alert::CertificateRequired => {
            ("no_certificate", "the server requires a certificate of this process: set ClientTls::identity")
        }
        Alert::UnknownCA => (
            "unknown_authority",
            "the server does not trust the authority of the certificate of this process",
        ),
        Alert::DecryptError => ("bad_signature", "the key of this process does not fit its certificate"),
        Alert::CertificateExpired => {
            ("expired", "the certificate of this process has expired, or is not valid yet, for the server")
        }
        Alert::BadCertificate
        | Alert::CertificateUnknown
        | Alert::UnsupportedCertificate
        | Alert::CertificateRevoked => {
            ("bad_certificate", "the server refuses the certificate of this process")
        }
        Alert::NoApplicationProtocol => ("alpn", "the server does not speak HTTP/2 (ALPN h2)"),
        Alert::ProtocolVersion | Alert::HandshakeFailure | Alert::InsufficientSecurity => (
            "incompatible",
            "the server accepts no TLS version or cipher suite of this process, or requires a certificate",
        ),
        _ => ("refused_by_peer", "the server refused the connection"),
    }
}

/// Returns the first error of type `E` in the chain of `error`.
fn find<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        // The source of an `io::Error` is that of the error in it, which is left out.
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

/// A certificate that has not the expected name.
#[derive(Debug)]
pub(super) struct WrongName(pub(super) String);

impl fmt::Display for WrongName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl StdError for WrongName {}

impl From<WrongName> for TlsError {
    fn from(wrong: WrongName) -> Self {
        Self::InvalidCertificate(CertificateError::Other(OtherError(std::sync::Arc::new(wrong))))
    }
}
