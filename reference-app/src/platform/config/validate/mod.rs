//! Validates the configuration before anything starts.
//!
//! This file checks combinations. `values` checks single values, `addresses` the addresses and URLs of listeners, `tls`
//! the certificates.

mod addresses;
mod tls;
mod values;

use comms_core::Error;

use super::{Config, Profile, errors, key_names::variable};
use crate::platform::{
    db::url,
    service::{self, Service},
};

impl Config {
    /// Validates the configuration.
    ///
    /// # Errors
    /// Returns `Invalid` for the first value or combination that cannot work, with the key and what to set instead.
    /// Returns `Internal` if the registrations of services violate a rule ([`service::check`]).
    pub(in crate::platform::config) fn validate(&self) -> Result<(), Error> {
        service::check(&self.services)?;
        self.validate_values()?;
        self.database.as_ref().map_or(Ok(()), |database| url::check(&database.url))?;
        self.validate_process()?;
        self.validate_tls()?;
        for service in &self.services {
            self.validate_url(service)?;
            (service.check)(&self.section(service.name))?;
        }
        for service in self.running() {
            self.validate_peers(service)?;
            self.validate_listener(service)?;
        }
        self.validate_ports()?;
        self.validate_policies()
    }

    /// Checks what the roles of this process require together.
    fn validate_process(&self) -> Result<(), Error> {
        let names: Vec<_> = self.services.iter().map(|service| service.name).collect();
        if let Some(role) = self.roles.iter().find(|role| !names.contains(&role.as_str())) {
            let text = format!("there is no service {role:?}; the services are {}", names.join(", "));
            return Err(self.refusal(&["roles"], &text));
        }
        let full = self.profile == Profile::Full;
        let distributed = !names.iter().all(|name| self.runs(name));
        let stores_data = self.running().any(|service| service.database.is_some());
        let events =
            self.running().any(|service| !(service.topics.is_empty() && service.subscriptions.is_empty()));
        let has_key = self.auth.public_key_file.is_some();
        let table = [
            (
                distributed && events && self.kafka.is_none(),
                "roles in separate processes need Kafka: set kafka.brokers (COMMS_KAFKA__BROKERS), \
                 or run all roles in one process",
            ),
            (
                full && stores_data && self.database.is_none(),
                "the profile full needs PostgreSQL: set database.url (COMMS_DATABASE__URL)",
            ),
            (
                full && events && self.kafka.is_none(),
                "the profile full needs Kafka: set kafka.brokers (COMMS_KAFKA__BROKERS)",
            ),
            (
                full && !has_key,
                "the profile full generates no keys: set auth.public_key_file (COMMS_AUTH__PUBLIC_KEY_FILE) \
                 to the ES256 public key of the issuer of your tokens",
            ),
            (
                distributed && !has_key,
                "roles in separate processes would each generate a key of their own, and refuse each other's tokens: \
                 set auth.public_key_file (COMMS_AUTH__PUBLIC_KEY_FILE) to the same public key in all processes",
            ),
        ];
        match table.iter().find(|(is_wrong, _)| *is_wrong) {
            Some((_, text)) => Err(Error::invalid(*text)),
            None => Ok(()),
        }
    }

    /// Checks that the URL of every service that `service` calls or refers to is known.
    fn validate_peers(&self, service: &Service) -> Result<(), Error> {
        let called = service.calls.iter().map(|call| (call.service, "calls"));
        let referred = service.refers_to.iter().map(|name| (*name, "gives its clients the URL of"));
        for (other, relation) in called.chain(referred) {
            if !self.runs(other) && self.url(other)?.is_none() {
                return Err(Error::invalid(format!(
                    "the role {} {relation} {other}, which does not run in this process: set {other}.url ({})",
                    service.name,
                    variable(&[other, "url"])
                )));
            }
        }
        Ok(())
    }

    fn validate_policies(&self) -> Result<(), Error> {
        let declared = || self.services.iter().flat_map(|service| service.calls).map(|call| call.policy);
        for (name, policy) in &self.policies {
            if !declared().any(|declared| declared == name) {
                let known: Vec<Vec<&str>> = declared().map(|policy| vec!["policies", policy]).collect();
                return Err(errors::unknown(&self.tree, &["policies", name], &known));
            }
            policy.validate().map_err(|error| error.context(self.tree.key_as_set(&["policies", name])))?;
        }
        Ok(())
    }
}
