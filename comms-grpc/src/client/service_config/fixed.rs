//! What a service config sets for the life of a channel.

use comms_core::Error;

use super::{ServiceConfig, balancing::Choice, errors::invalid};

/// The parts of a service config that do not change while the channel lives: the choice of endpoints and the health check.
#[derive(Debug, Clone)]
pub(in crate::client) struct Fixed {
    pub(in crate::client) choice: Choice,
    pub(in crate::client) health_check: Option<String>,
    several: bool,
}

impl Fixed {
    /// Returns the parts of `config`, for a channel with one endpoint or with `several`.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](comms_core::ErrorKind::Invalid) if the channel supports none of the load balancing
    /// policies.
    pub(in crate::client) fn of(config: &ServiceConfig, several: bool) -> Result<Self, Error> {
        let choice = config.balancing.choose(several)?.unwrap_or_default();
        Ok(Self { choice, health_check: config.health_check.clone(), several })
    }

    /// Checks that a later config has the same parts.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](comms_core::ErrorKind::Invalid) if a part differs, or the channel supports none of
    /// the load balancing policies.
    pub(in crate::client) fn check(&self, config: &ServiceConfig) -> Result<(), Error> {
        let other = Self::of(config, self.several)?;
        let changes = [
            ("loadBalancingConfig", other.choice != self.choice),
            ("healthCheckConfig", other.health_check != self.health_check),
        ];
        match changes.iter().find(|(_, changed)| *changed) {
            Some((field, _)) => {
                Err(invalid(field, "cannot change while the channel lives: build a new channel"))
            }
            None => Ok(()),
        }
    }
}
