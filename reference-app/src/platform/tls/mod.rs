//! Mutual TLS between services: the certificate of each service, and the services that may call it.
//!
//! Service `x` has the SPIFFE id `spiffe://<tls.trust_domain>/x`, with `-` for each `_`. A caller expects the id of the called
//! service, and its server admits the ids of the services that registered the call.

use std::{collections::BTreeMap, sync::Arc};

use comms_core::{Error, clock::Clock, shutdown::ShutdownSignal};
use comms_grpc::{
    Access, Caller,
    tls::{ClientTls, DevelopmentAuthority, Identity, PeerName, ServerTls, Trust},
};

use super::config::{Config, TlsMode};

/// The names of the listeners in development certificates, for clients that check the host and not the SPIFFE id.
const HOSTS: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// The certificates of the services of this process. Clones share them.
#[derive(Clone)]
pub struct Tls(Option<Arc<Certificates>>);

struct Certificates {
    trust_domain: String,
    trust: Trust,
    identities: BTreeMap<&'static str, Identity>,
    /// The issuer of the identities in development.
    authority: Option<DevelopmentAuthority>,
}

/// Renews the certificates of the development authority.
pub struct Renewal(Arc<Certificates>);

impl Tls {
    /// Loads the certificates of the running services that serve or call gRPC, or has the development authority issue
    /// them. A development certificate that has expired is replaced.
    ///
    /// # Errors
    /// Returns `Misconfigured` if a file of the development authority cannot be used. The files of the mode `files` are read
    /// when the listeners and channels are created.
    pub async fn load(config: &Config, clock: &Clock) -> Result<Self, Error> {
        // An error means that a provider is installed.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let certificates = match config.tls.mode {
            TlsMode::Development => {
                let issued = Certificates::issue(config, clock).await;
                issued.map_err(|error| error.context("tls.directory"))?
            }
            TlsMode::Files => Certificates::of_files(config)?,
            TlsMode::Off => {
                tracing::warn!(
                    "tls.mode is off: each process that reaches a gRPC listener may call it, and read and change the calls \
                     of others"
                );
                return Ok(Self(None));
            }
        };
        Ok(Self(Some(Arc::new(certificates))))
    }

    /// Returns the task that renews development certificates. `None`: another program renews them, or there are none.
    #[must_use]
    pub fn renewal(&self) -> Option<Renewal> {
        self.0.clone().filter(|certificates| certificates.authority.is_some()).map(Renewal)
    }

    /// Returns TLS of the gRPC listener of `service`, which requires a certificate of each client. `None` for plain text.
    ///
    /// # Errors
    /// Returns `Internal` if `service` has no certificate in this process.
    pub fn server(&self, service: &str) -> Result<Option<ServerTls>, Error> {
        let Some(certificates) = &self.0 else { return Ok(None) };
        let identity = certificates.identity(service)?;
        Ok(Some(ServerTls::new(identity).client_trust(certificates.trust.clone())))
    }

    /// Returns TLS of the calls from `caller` to `called`. `None` for plain text.
    ///
    /// # Errors
    /// Returns `Internal` if `caller` has no certificate in this process.
    pub fn client(&self, caller: &str, called: &str) -> Result<Option<ClientTls>, Error> {
        let Some(certificates) = &self.0 else { return Ok(None) };
        let identity = certificates.identity(caller)?;
        let expected = PeerName::spiffe(certificates.id(called))?;
        Ok(Some(ClientTls::new(certificates.trust.clone()).identity(identity).expect(expected)))
    }

    /// Returns the rules of access to the gRPC service `grpc_name`, which `service` serves: the services `callers` may call
    /// every method, and no other identity may call any. `None` without TLS, because callers then have no identity.
    ///
    /// # Errors
    /// Returns `Invalid` if a SPIFFE id or `grpc_name` is not valid.
    pub fn access<'a>(
        &self,
        service: &'a str,
        grpc_name: &str,
        callers: impl Iterator<Item = &'a str>,
    ) -> Result<Option<Access>, Error> {
        let Some(certificates) = &self.0 else { return Ok(None) };
        let caller = |caller| Caller::spiffe_id(certificates.id(caller));
        let mut admitted: Vec<_> = callers.map(caller).collect();
        if admitted.is_empty() {
            // A rule needs a caller. Without a rule the service would be open to all.
            admitted.push(caller(service));
        }
        Access::builder().allow(format!("/{grpc_name}/*"), admitted).build().map(Some)
    }
}

impl Certificates {
    /// Has the development authority issue the certificates.
    async fn issue(config: &Config, clock: &Clock) -> Result<Self, Error> {
        let (directory, trust_domain) =
            (config.tls.directory(&config.data_dir), config.tls.trust_domain.clone());
        let authority = DevelopmentAuthority::open(directory, &*trust_domain, clock.clone()).await?;
        let mut identities = BTreeMap::new();
        for service in config.with_certificates() {
            identities.insert(service.name, authority.identity(&role(service.name), &HOSTS).await?);
        }
        let (trust, authority) = (authority.trust(), Some(authority));
        Ok(Self { trust_domain, trust, identities, authority })
    }

    /// Names the files, which are read later.
    fn of_files(config: &Config) -> Result<Self, Error> {
        let missing = |key: &str| Error::invalid(format!("the mode files needs {key}"));
        let authority = config.tls.authority.as_ref().ok_or_else(|| missing("tls.authority"))?;
        let mut identities = BTreeMap::new();
        for service in config.with_certificates() {
            let files =
                config.tls.files(service.name).ok_or_else(|| missing("tls.certificate and tls.key"))?;
            identities.insert(service.name, Identity::from_pem_files(files.certificate, files.key));
        }
        let (trust_domain, trust) = (config.tls.trust_domain.clone(), Trust::from_pem_file(authority));
        Ok(Self { trust_domain, trust, identities, authority: None })
    }

    fn identity(&self, service: &str) -> Result<Identity, Error> {
        let identity = self.identities.get(service).cloned();
        identity.ok_or_else(|| Error::internal(format!("the service {service} has no certificate")))
    }

    /// Returns the SPIFFE id of `service`.
    fn id(&self, service: &str) -> String {
        format!("spiffe://{}/{}", self.trust_domain, role(service))
    }
}

impl Renewal {
    /// Renews each certificate when a third of its lifetime is left, until the shutdown signal fires. New connections use
    /// the new certificate.
    ///
    /// # Errors
    /// Returns no error: a renewal that fails is logged and repeated.
    pub async fn run(self, shutdown: ShutdownSignal) -> Result<(), Error> {
        if let Some(authority) = &self.0.authority {
            authority.run(shutdown.wait()).await;
        }
        Ok(())
    }
}

/// Returns the name of `service` in certificates. It is unique, because the name of a service has no `-`.
fn role(service: &str) -> String {
    service.replace('_', "-")
}

#[cfg(test)]
mod tests;
