//! The load balancing policies of a service config. A channel takes the first one that it supports (gRFC A2).

use comms_core::Error;
use serde_json::{Map, Value};

use super::{document::Document, invalid};
use crate::client::balance::Balance;

const FIELD: &str = "loadBalancingConfig";

/// The policies in their order.
#[derive(Debug, Default)]
pub(in crate::client) struct Balancing(Vec<Policy>);

#[derive(Debug)]
enum Policy {
    RoundRobin,
    /// The endpoint with fewer calls in flight of two.
    LeastRequest,
    /// One connection. A channel with one endpoint does that.
    PickFirst,
    Unknown(String),
}

impl Balancing {
    /// Reads the policies.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](comms_core::ErrorKind::Invalid) if an item does not have exactly one policy, or the
    /// settings of a policy are not valid.
    pub(super) fn of(document: &Document) -> Result<Self, Error> {
        let Some(items) = &document.load_balancing_config else {
            let older = document.load_balancing_policy.as_deref().filter(|name| !name.is_empty());
            let older = older.map(|name| {
                Policy::of(&name.to_lowercase(), &Value::Object(Map::new()), "loadBalancingPolicy")
            });
            return Ok(Self(older.transpose()?.into_iter().collect()));
        };
        let policies = items.iter().enumerate().map(|(index, item)| {
            let path = format!("{FIELD}[{index}]");
            let mut fields = item.iter();
            match (fields.next(), fields.next()) {
                (Some((name, config)), None) => Policy::of(name, config, &format!("{path}.{name}")),
                _ => Err(invalid(&path, "must have exactly one field, the name of a policy")),
            }
        });
        Ok(Self(policies.collect::<Result<_, _>>()?))
    }

    /// Returns how a channel with one endpoint, or with `several`, chooses its endpoints. `None` if the config does not
    /// name a policy.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](comms_core::ErrorKind::Invalid) if the channel supports none of the policies.
    fn choose(&self, several: bool) -> Result<Option<Balance>, Error> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let choice = self.0.iter().find_map(|policy| match policy {
            Policy::RoundRobin => Some(Balance::RoundRobin),
            Policy::LeastRequest => Some(Balance::LeastLoaded),
            Policy::PickFirst => (!several).then_some(Balance::RoundRobin),
            Policy::Unknown(_) => None,
        });
        choice.map(Some).ok_or_else(|| {
            let names: Vec<_> = self.0.iter().map(Policy::name).collect();
            let text = "the channel supports round_robin, least_request_experimental, and with one endpoint pick_first";
            invalid(FIELD, &format!("none of {} is supported: {text}", names.join(", ")))
        })
    }
}

/// How a channel chooses its endpoints, which does not change while the channel lives.
#[derive(Debug, Clone, Copy)]
pub(in crate::client) struct BalanceChoice {
    pub(in crate::client) balance: Balance,
    /// Whether the builder set it, whatever a service config says.
    is_explicit: bool,
    several: bool,
}

impl BalanceChoice {
    /// Returns the choice of a channel with one endpoint, or with `several`.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](comms_core::ErrorKind::Invalid) if the channel supports none of the policies.
    pub(in crate::client) fn new(
        explicit: Option<Balance>,
        balancing: &Balancing,
        several: bool,
    ) -> Result<Self, Error> {
        let chosen = balancing.choose(several)?;
        let balance = explicit.or(chosen).unwrap_or_default();
        Ok(Self { balance, is_explicit: explicit.is_some(), several })
    }

    /// Checks that a later service config chooses the same.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](comms_core::ErrorKind::Invalid) if it chooses another one, or the channel supports
    /// none of its policies.
    pub(in crate::client) fn check(&self, balancing: &Balancing) -> Result<(), Error> {
        let chosen = balancing.choose(self.several)?.unwrap_or_default();
        if self.is_explicit || chosen == self.balance {
            return Ok(());
        }
        Err(invalid(FIELD, "cannot change while the channel lives: build a new channel"))
    }
}

impl Policy {
    fn of(name: &str, config: &Value, path: &str) -> Result<Self, Error> {
        let policy = match name {
            "round_robin" => Self::RoundRobin,
            "pick_first" => Self::PickFirst,
            "least_request_experimental" => Self::LeastRequest,
            unknown => return Ok(Self::Unknown(unknown.to_owned())),
        };
        let Value::Object(config) = config else { return Err(invalid(path, "must be an object")) };
        let choices = config.get("choiceCount").filter(|_| matches!(policy, Self::LeastRequest));
        match choices.map(Value::as_u64) {
            None | Some(Some(2)) => Ok(policy),
            _ => {
                Err(invalid(&format!("{path}.choiceCount"), "must be 2: the channel compares two endpoints"))
            }
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::LeastRequest => "least_request_experimental",
            Self::PickFirst => "pick_first",
            Self::Unknown(name) => name,
        }
    }
}
