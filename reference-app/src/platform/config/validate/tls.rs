//! Validates the section `[tls]`.

use std::path::Path;

use comms_core::Error;
use comms_grpc::tls::PeerName;

use crate::platform::{
    config::{Config, TlsMode, errors, key_names::variable},
    service::{Protocol, Service},
};

impl Config {
    /// Checks the values of the section, and that each running service with gRPC has a certificate.
    ///
    /// # Errors
    /// Returns `Invalid`, naming the key and what to set, for a value or a combination that cannot work.
    pub(super) fn validate_tls(&self) -> Result<(), Error> {
        let tls = &self.tls;
        if PeerName::spiffe(format!("spiffe://{}/x", tls.trust_domain)).is_err() {
            let text = "must have 1 to 255 lowercase letters, digits, '.', '-' and '_'";
            return Err(self.refusal(&["tls", "trust_domain"], text));
        }
        let named = [("directory", &tls.directory), ("authority", &tls.authority)];
        let named = named.into_iter().chain([("certificate", &tls.certificate), ("key", &tls.key)]);
        for (key, path) in named.filter_map(|(key, path)| Some((key, path.as_deref()?))) {
            self.check_path(&["tls", key], path)?;
        }
        for (service, files) in &tls.services {
            if !self.services.iter().any(|known| known.name == service) {
                let known: Vec<_> =
                    self.services.iter().map(|known| vec!["tls", "services", known.name]).collect();
                return Err(errors::unknown(&self.tree, &["tls", "services", service], &known));
            }
            self.check_path(&["tls", "services", service, "certificate"], &files.certificate)?;
            self.check_path(&["tls", "services", service, "key"], &files.key)?;
        }
        match tls.mode {
            TlsMode::Development => self.validate_development(),
            TlsMode::Files => self.validate_files(),
            TlsMode::Off => Ok(()),
        }
    }

    /// Returns the running services that have a certificate: those that serve or call gRPC.
    pub fn with_certificates(&self) -> impl Iterator<Item = &'static Service> {
        let speaks_grpc = |service: &&'static Service| {
            service.protocol == Some(Protocol::Grpc) || !service.calls.is_empty()
        };
        self.running().filter(speaks_grpc)
    }

    /// Checks that processes with different roles share one authority.
    fn validate_development(&self) -> Result<(), Error> {
        let is_distributed = !self.services.iter().all(|service| self.runs(service.name));
        let has_peers = self.with_certificates().next().is_some();
        if is_distributed && has_peers && self.tls.directory.is_none() {
            return Err(Error::invalid(
                "roles in separate processes would each create an authority of their own, and refuse each other's \
                 certificates: set tls.directory (COMMS_TLS__DIRECTORY) to the same directory in all processes, or set \
                 tls.mode = \"files\" (COMMS_TLS__MODE)",
            ));
        }
        Ok(())
    }

    fn validate_files(&self) -> Result<(), Error> {
        let tls = &self.tls;
        if tls.certificate.is_some() != tls.key.is_some() {
            return Err(Error::invalid("set both tls.certificate and tls.key, or none of them"));
        }
        let with_certificates: Vec<_> = self.with_certificates().map(|service| service.name).collect();
        if !with_certificates.is_empty() && tls.authority.is_none() {
            return Err(Error::invalid(
                "the mode files needs the trusted authorities: set tls.authority (COMMS_TLS__AUTHORITY) to a PEM file",
            ));
        }
        let missing = with_certificates.iter().find(|service| tls.files(service).is_none());
        if let Some(service) = missing {
            let (certificate, key) =
                (["tls", "services", service, "certificate"], ["tls", "services", service, "key"]);
            return Err(Error::invalid(format!(
                "the mode files needs a certificate of the service {service}: set tls.services.{service}.certificate \
                 ({}) and tls.services.{service}.key ({})",
                variable(&certificate),
                variable(&key)
            )));
        }
        let shared: Vec<_> =
            with_certificates.iter().filter(|service| !tls.services.contains_key(**service)).collect();
        if let [one, other, ..] = shared[..] {
            return Err(Error::invalid(format!(
                "tls.certificate is the identity of one service, and {one} and {other} would share it: set \
                 tls.services.{other}.certificate and .key"
            )));
        }
        Ok(())
    }

    /// Refuses a certificate or a key in the place of its path, which would be printed.
    fn check_path(&self, key: &[&str], path: &Path) -> Result<(), Error> {
        match path.to_string_lossy().contains("-----") {
            true => Err(self.refusal(key, "must be a path, and not the content of the file")),
            false => Ok(()),
        }
    }
}
