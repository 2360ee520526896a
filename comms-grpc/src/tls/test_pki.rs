//! Authorities and certificates for tests, right and wrong ones.

use std::time::SystemTime;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use time::{Duration, OffsetDateTime};

use super::{Identity, Trust};

/// Installs the provider of the process.
pub(crate) fn install_provider() {
    let _ = tokio_rustls::rustls::crypto::aws_lc_rs::default_provider().install_default();
}

pub(crate) fn now() -> OffsetDateTime {
    #[allow(clippy::disallowed_methods, reason = "the tests run in real time")]
    SystemTime::now().into()
}

/// A certificate chain and its key, in PEM.
#[derive(Clone)]
pub(crate) struct Leaf {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Leaf {
    pub(crate) fn identity(&self) -> Identity {
        Identity::from_pem(self.certificate.clone(), self.key.clone())
    }
}

/// An authority.
pub(crate) struct Pki {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
}

impl Pki {
    pub(crate) fn new(name: &str) -> Self {
        install_provider();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    pub(crate) fn trust(&self) -> Trust {
        Trust::from_pem(self.pem.clone())
    }

    /// Issues a certificate of a role, for `localhost`.
    pub(crate) fn leaf(&self, role: &str) -> Leaf {
        self.leaf_with(role, |_| {})
    }

    /// Issues a certificate that `change` makes wrong.
    pub(crate) fn leaf_with(&self, role: &str, change: impl FnOnce(&mut CertificateParams)) -> Leaf {
        let mut params = params(role);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Leaf { certificate: certificate.pem(), key: key.serialize_pem() }
    }
}

/// Returns a certificate that no authority signed.
pub(crate) fn self_signed(role: &str) -> Leaf {
    let key = KeyPair::generate().unwrap();
    Leaf { certificate: params(role).self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
}

fn params(role: &str) -> CertificateParams {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let id = format!("spiffe://shop.test/{role}");
    params.subject_alt_names.push(SanType::URI(id.as_str().try_into().unwrap()));
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    (params.not_before, params.not_after) = (now() - Duration::hours(1), now() + Duration::hours(1));
    params
}
