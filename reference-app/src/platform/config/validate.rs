//! Combinations that cannot work, seen before anything starts.

use comms_core::Error;

use super::{Config, Profile, names::variable};
use crate::platform::{
    db::url,
    service::{self, Service},
};

impl Config {
    /// # Errors
    /// Returns `Invalid`, with the way out.
    pub(super) fn validate(&self) -> Result<(), Error> {
        service::check(&self.services)?;
        self.validate_values()?;
        self.database.as_ref().map_or(Ok(()), |database| url::check(&database.url))?;
        self.validate_process()?;
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

    /// What the roles of this process need together.
    fn validate_process(&self) -> Result<(), Error> {
        let names: Vec<_> = self.services.iter().map(|service| service.name).collect();
        if let Some(role) = self.roles.iter().find(|role| !names.contains(&role.as_str())) {
            return Err(
                self.refusal(&["roles"], &format!("there is no service {role:?}; there are {names:?}"))
            );
        }
        let full = self.profile == Profile::Full;
        let apart = !names.iter().all(|name| self.runs(name));
        let stored = self.running().any(|service| service.database.is_some());
        let events =
            self.running().any(|service| !(service.topics.is_empty() && service.subscriptions.is_empty()));
        let key = self.auth.public_key_file.is_some();
        let table = [
            (
                apart && events && self.kafka.is_none(),
                "roles in separate processes need Kafka: set kafka.brokers (COMMS_KAFKA__BROKERS), \
                 or run all roles in one process",
            ),
            (
                full && stored && self.database.is_none(),
                "profile full needs PostgreSQL: set database.url (COMMS_DATABASE__URL)",
            ),
            (
                full && events && self.kafka.is_none(),
                "profile full needs Kafka: set kafka.brokers (COMMS_KAFKA__BROKERS)",
            ),
            (
                full && !key,
                "profile full makes no keys: set auth.public_key_file (COMMS_AUTH__PUBLIC_KEY_FILE) \
                 to the ES256 public key of the issuer of your tokens",
            ),
            (
                apart && !key,
                "roles in separate processes would each make a key of their own, and refuse the tokens of the others: \
                 set auth.public_key_file (COMMS_AUTH__PUBLIC_KEY_FILE) to the same public key for all",
            ),
        ];
        match table.iter().find(|(wrong, _)| *wrong) {
            Some((_, text)) => Err(Error::invalid(*text)),
            None => Ok(()),
        }
    }

    /// Every service that `service` calls, or refers to, can be found.
    fn validate_peers(&self, service: &Service) -> Result<(), Error> {
        let called = service.calls.iter().map(|call| (call.service, "calls"));
        let referred = service.refers_to.iter().map(|name| (*name, "tells its clients the address of"));
        for (other, relation) in called.chain(referred) {
            if !self.runs(other) && self.url(other)?.is_none() {
                return Err(Error::invalid(format!(
                    "the role {} {relation} {other}, which is not in this process: set {other}.url ({})",
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
                return Err(super::explain::unknown(&self.tree, &["policies", name], &known));
            }
            policy.validate().map_err(|error| error.context(self.tree.written(&["policies", name])))?;
        }
        Ok(())
    }

    pub(super) fn refusal(&self, key: &[&str], text: &str) -> Error {
        Error::invalid(format!("{}: {text}", self.tree.written(key)))
    }
}
