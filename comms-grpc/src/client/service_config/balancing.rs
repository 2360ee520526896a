//! The load balancing policies of a service config. A channel takes the first one that it supports (gRFC A2).

use comms_core::{Error, resilience::OutlierConfig};
use serde_json::{Map, Value};

use super::{
    document::{Document, read},
    errors::invalid,
    outliers::OutlierDetection,
};
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
    /// Ejects outliers, and chooses among the others by one of the policies. `None`: ejects nothing.
    Outliers(Option<OutlierConfig>, Balancing),
    Unknown(String),
}

/// How a channel chooses its endpoints.
#[derive(Debug, Clone, Default, PartialEq)]
pub(in crate::client) struct Choice {
    pub(in crate::client) balance: Balance,
    /// What the config states about outliers.
    pub(in crate::client) outliers: Outliers,
}

/// What a service config, or the builder, states about the ejection of outliers.
#[derive(Debug, Clone, Default, PartialEq)]
pub(in crate::client) enum Outliers {
    #[default]
    Unstated,
    Off,
    On(OutlierConfig),
}

impl Outliers {
    /// Returns this statement, or `other` if nothing is stated.
    pub(in crate::client) fn or(self, other: Self) -> Self {
        if self == Self::Unstated { other } else { self }
    }

    /// Returns the settings of the ejection, which are `default` if nothing is stated.
    pub(in crate::client) fn config(&self, default: OutlierConfig) -> Option<OutlierConfig> {
        match self {
            Self::Unstated => Some(default),
            Self::Off => None,
            Self::On(config) => Some(config.clone()),
        }
    }
}

impl From<Option<OutlierConfig>> for Outliers {
    fn from(config: Option<OutlierConfig>) -> Self {
        config.map_or(Self::Off, Self::On)
    }
}

impl Balancing {
    /// Reads the policies.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](comms_core::ErrorKind::Invalid) if an item does not have exactly one policy, or the
    /// settings of a policy are not valid.
    pub(super) fn of(document: &Document) -> Result<Self, Error> {
        if let Some(items) = &document.load_balancing_config {
            return Self::of_items(items, FIELD);
        }
        let older = document.load_balancing_policy.as_deref().filter(|name| !name.is_empty());
        let older = older.map(|name| {
            let config = Value::Object(Map::new());
            Policy::of(&name.to_lowercase(), &config, "loadBalancingPolicy")
        });
        Ok(Self(older.transpose()?.into_iter().collect()))
    }

    fn of_items(items: &[Map<String, Value>], field: &str) -> Result<Self, Error> {
        let policies = items.iter().enumerate().map(|(index, item)| {
            let path = format!("{field}[{index}]");
            let mut fields = item.iter();
            match (fields.next(), fields.next()) {
                (Some((name, config)), None) => Policy::of(name, config, &format!("{path}.{name}")),
                _ => Err(invalid(&path, "must have exactly one field, the name of a policy")),
            }
        });
        Ok(Self(policies.collect::<Result<_, _>>()?))
    }

    /// Returns the choice of a channel with one endpoint, or with `several`. `None` if the config names no policy.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](comms_core::ErrorKind::Invalid) if the channel supports none of the policies.
    pub(in crate::client) fn choose(&self, several: bool) -> Result<Option<Choice>, Error> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let choice = self.first_supported(several);
        choice.map(Some).ok_or_else(|| {
            let names: Vec<_> = self.0.iter().map(Policy::name).collect();
            let text = "the channel supports round_robin, least_request_experimental, outlier_detection_experimental \
                        around one of them, and with one endpoint pick_first";
            invalid(FIELD, &format!("none of {} is supported: {text}", names.join(", ")))
        })
    }

    fn first_supported(&self, several: bool) -> Option<Choice> {
        self.0.iter().find_map(|policy| {
            let balance = match policy {
                Policy::RoundRobin => Balance::RoundRobin,
                Policy::LeastRequest => Balance::LeastLoaded,
                Policy::PickFirst if !several => Balance::RoundRobin,
                Policy::PickFirst | Policy::Unknown(_) => return None,
                Policy::Outliers(config, child) => {
                    let outliers = Outliers::from(config.clone());
                    return child.first_supported(several).map(|child| Choice { outliers, ..child });
                }
            };
            Some(Choice { balance, outliers: Outliers::Unstated })
        })
    }
}

impl Policy {
    fn of(name: &str, config: &Value, path: &str) -> Result<Self, Error> {
        let policy = match name {
            "round_robin" => Self::RoundRobin,
            "pick_first" => Self::PickFirst,
            "least_request_experimental" => Self::LeastRequest,
            "outlier_detection_experimental" => {
                let detection: OutlierDetection = read(config, path)?;
                let outliers = detection.config().map_err(|error| invalid(path, &error.to_string()))?;
                let child = Balancing::of_items(&detection.child_policy, &format!("{path}.childPolicy"))?;
                return Ok(Self::Outliers(outliers, child));
            }
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
            Self::Outliers(..) => "outlier_detection_experimental",
            Self::Unknown(name) => name,
        }
    }
}
