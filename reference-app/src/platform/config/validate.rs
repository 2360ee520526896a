//! Combinations that cannot work, seen before anything starts.

use std::time::Duration;

use axum::http::Uri;
use comms_core::Error;

use super::{Config, Profile, tree::variable};
use crate::platform::{
    db::url,
    service::{self, Protocol, Service},
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
            (service.check)(&self.section(service.name))?;
            self.validate_url(service)?;
        }
        for service in self.running() {
            self.validate_peers(service)?;
            self.validate_listener(service)?;
        }
        self.validate_policies()
    }

    fn validate_values(&self) -> Result<(), Error> {
        let owner = self.relay.owner.as_ref();
        let seconds = Duration::from_secs;
        let table: [(bool, &[&str], &str); 14] = [
            (self.roles.is_empty(), &["roles"], "no role to run: leave it out, or name some"),
            (self.listeners.head_timeout.is_zero(), &["listeners", "head_timeout"], "must be more than 0s"),
            (self.listeners.idle_timeout.is_zero(), &["listeners", "idle_timeout"], "must be more than 0s"),
            (
                self.listeners.progress_timeout.is_zero(),
                &["listeners", "progress_timeout"],
                "must be more than 0s",
            ),
            (
                self.listeners.max_connections == Some(0),
                &["listeners", "max_connections"],
                "must be at least 1",
            ),
            (
                self.listeners.max_connections_per_address == Some(0),
                &["listeners", "max_connections_per_address"],
                "must be at least 1",
            ),
            (self.auth.clock_skew > seconds(300), &["auth", "clock_skew"], "must be at most 5m"),
            (self.consumer.attempts == 0, &["consumer", "attempts"], "must be at least 1"),
            (
                owner.is_some_and(|owner| owner.is_empty() || owner.len() > 200),
                &["relay", "owner"],
                "must have 1 to 200 bytes: leave it out for a random one",
            ),
            (self.relay.lease < Duration::from_millis(300), &["relay", "lease"], "must be at least 300ms"),
            (
                self.health.silence < seconds(60) || self.health.silence <= self.relay.lease,
                &["health", "silence"],
                "must be at least 1m, and more than relay.lease: a loop that waits for its database is not stuck",
            ),
            (
                !(seconds(1)..=seconds(3_600)).contains(&self.shutdown.limit),
                &["shutdown", "limit"],
                "must be between 1s and 1h",
            ),
            (self.shutdown.accepting > seconds(600), &["shutdown", "accepting"], "must be at most 10m"),
            (
                self.database.as_ref().is_some_and(|database| database.max_connections == 0),
                &["database", "max_connections"],
                "must be at least 1",
            ),
        ];
        match table.iter().find(|(wrong, ..)| *wrong) {
            Some((_, key, text)) => Err(self.refusal(key, text)),
            None => Ok(()),
        }
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

    /// An empty variable is a URL, too: what cannot be one is refused, and not handed to clients.
    fn validate_url(&self, service: &Service) -> Result<(), Error> {
        let (Some(url), Some(protocol)) = (self.url(service.name)?, service.protocol) else { return Ok(()) };
        let (scheme, secure) = match protocol {
            Protocol::Sockets => ("ws", "wss"),
            Protocol::Http | Protocol::Grpc => ("http", "https"),
        };
        let uri = url.parse::<Uri>().ok().filter(|uri| uri.authority().is_some() && uri.query().is_none());
        match uri.as_ref().and_then(Uri::scheme_str) {
            Some(given) if given == scheme || given == secure => Ok(()),
            _ => {
                let text = format!("must be a URL such as {scheme}://host:port or {secure}://host");
                Err(self.refusal(&[service.name, "url"], &text))
            }
        }
    }

    /// A listener for clients that can be reached from elsewhere needs a configured key, and a URL that clients can use.
    fn validate_listener(&self, service: &Service) -> Result<(), Error> {
        let name = service.name;
        let Some(Protocol::Http | Protocol::Sockets) = service.protocol else { return Ok(()) };
        let listen = self.listen(name)?;
        // `::ffff:0.0.0.0` is the wildcard of IPv4.
        let address = listen.ip().to_canonical();
        if self.auth.public_key_file.is_none() && !address.is_loopback() {
            let text = "can be reached from elsewhere, and without auth.public_key_file anybody gets a token for any user: \
                        configure the key, or listen on 127.0.0.1";
            return Err(self.refusal(&[name, "listen"], text));
        }
        if address.is_unspecified() && self.url(name)?.is_none() {
            let text = format!(
                "listens on all addresses, and clients cannot connect to {}: set {name}.url ({}) to the URL under which they \
                 reach it",
                address,
                variable(&[name, "url"])
            );
            return Err(self.refusal(&[name, "listen"], &text));
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

    fn refusal(&self, key: &[&str], text: &str) -> Error {
        Error::invalid(format!("{}: {text}", self.tree.written(key)))
    }
}
