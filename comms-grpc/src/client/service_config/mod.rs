//! The service config of gRPC: settings of a channel and of its methods as JSON, which the operator of a service
//! publishes for all clients.
//!
//! The format is that of `service_config.proto` with the rules of the gRFCs A2 (choice of the load balancing policy), A6
//! (retries, hedging, throttling), A17 (health) and A21 (errors). The files in the order of the data:
//! - `document.rs`: the JSON as it is written;
//! - `values.rs`: the types of its values;
//! - `mod.rs`: the checked config, and the settings of a method;
//! - `balancing.rs`, `outliers.rs`: the choice among the load balancing policies;
//! - `fixed.rs`: what does not change while the channel lives;
//! - `errors.rs`: the errors, with the path of a value.

mod balancing;
mod document;
mod errors;
mod fixed;
mod outliers;
mod values;

use std::{collections::HashMap, sync::Arc, time::Duration};

use comms_core::{
    Error,
    clock::Clock,
    resilience::{HedgeConfig, PolicyOverrides, RetryBudget},
};

pub(super) use balancing::Outliers;
pub(super) use fixed::Fixed;
pub(super) use values::StatusCodes;

use balancing::Balancing;
use document::{Document, HedgingPolicy, MethodEntry, Name, Throttling};
use errors::invalid;

/// The longest text of a service config.
const MAX_BYTES: usize = 1024 * 1024;

/// A checked service config.
#[derive(Debug, Default)]
pub(super) struct ServiceConfig {
    /// By `package.Service/Method`, by `package.Service`, and the default under the empty name.
    methods: HashMap<String, Arc<MethodConfig>>,
    throttling: Option<Throttling>,
    balancing: Balancing,
    /// The service whose health is watched.
    health_check: Option<String>,
}

/// The settings of the methods that an entry of `methodConfig` names.
#[derive(Debug, Clone, Default)]
pub(super) struct MethodConfig {
    pub(super) timeout: Option<Duration>,
    pub(super) wait_for_ready: Option<bool>,
    /// The longest message in bytes.
    pub(super) max_request: Option<usize>,
    pub(super) max_response: Option<usize>,
    /// The time limits and the attempts.
    pub(super) overrides: PolicyOverrides,
    /// The status codes that are retried. `None`: those that the policy retries.
    pub(super) retryable: Option<StatusCodes>,
    pub(super) hedge: Option<HedgeConfig>,
    /// The status codes after which a hedged call goes on. `None`: the kind of a failure decides.
    pub(super) non_fatal: Option<StatusCodes>,
}

impl ServiceConfig {
    /// Reads a service config. A field that is not known is ignored.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](comms_core::ErrorKind::Invalid) with the path of the value that is not valid.
    pub(super) fn parse(json: &str) -> Result<Self, Error> {
        if json.len() > MAX_BYTES {
            return Err(Error::invalid("service config: longer than 1 MiB"));
        }
        let document = Document::parse(json)?;
        let balancing = Balancing::of(&document)?;
        let mut methods = HashMap::new();
        let entries = document.method_config.unwrap_or_default();
        for (index, entry) in entries.iter().enumerate() {
            let path = format!("methodConfig[{index}]");
            let config = Arc::new(MethodConfig::of(entry, &path)?);
            for (index, name) in entry.name.iter().flatten().enumerate() {
                let path = format!("{path}.name[{index}]");
                if methods.insert(key(name, &path)?, config.clone()).is_some() {
                    return Err(invalid(&path, "another entry has the same name"));
                }
            }
        }
        let health_check = document.health_check_config.and_then(|health| health.service_name);
        Ok(Self { methods, throttling: document.retry_throttling, balancing, health_check })
    }

    /// Returns the settings of the method at `path`, which is `/package.Service/Method`, and the name of their entry: that
    /// of the method, of its service, or the empty name of all methods.
    pub(super) fn entry(&self, path: &str) -> Option<(&str, &MethodConfig)> {
        let method = path.strip_prefix('/').unwrap_or(path);
        let service = method.split_once('/').map_or(method, |(service, _)| service);
        let found = [method, service, ""].into_iter().find_map(|name| self.methods.get_key_value(name));
        found.map(|(name, config)| (name.as_str(), &**config))
    }

    /// Returns the hedges, by the name of their entries.
    pub(super) fn hedges(&self) -> impl Iterator<Item = (&str, &HedgeConfig)> {
        self.methods.iter().filter_map(|(name, config)| Some((name.as_str(), config.hedge.as_ref()?)))
    }

    /// Returns whether an entry names the method at `path`.
    pub(super) fn names(&self, path: &str) -> bool {
        path.strip_prefix('/').is_some_and(|method| method.contains('/') && self.methods.contains_key(method))
    }

    /// Returns the budget of `retryThrottling`. It is that of `previous`, with its tokens, if the settings are the same.
    pub(super) fn budget(
        &self,
        previous: Option<(&Self, Option<&RetryBudget>)>,
        clock: &Clock,
    ) -> Option<RetryBudget> {
        let Throttling { max_tokens, token_ratio } = self.throttling?;
        let unchanged = previous.filter(|(previous, _)| previous.throttling == self.throttling);
        let kept = unchanged.and_then(|(_, budget)| budget.cloned());
        // The values were checked when they were read.
        kept.or_else(|| RetryBudget::throttle(max_tokens.0, token_ratio.0, clock.clone()).ok())
    }
}

impl MethodConfig {
    fn of(entry: &MethodEntry, path: &str) -> Result<Self, Error> {
        let timeout = entry.timeout.map(|timeout| timeout.0);
        let mut overrides = PolicyOverrides::default();
        if let Some(timeout) = timeout {
            overrides = overrides.timeout(timeout)?;
        }
        if let (Some(_), Some(_)) = (&entry.retry_policy, &entry.hedging_policy) {
            return Err(invalid(path, "`retryPolicy` and `hedgingPolicy` exclude each other"));
        }
        if let Some(policy) = &entry.retry_policy {
            let backoff = policy
                .backoff()
                .map_err(|error| invalid(&format!("{path}.retryPolicy"), &error.to_string()))?;
            overrides = overrides.attempts(policy.max_attempts.0, backoff)?;
            if let Some(timeout) = policy.per_attempt_recv_timeout {
                overrides = overrides.attempt_timeout(timeout.0)?;
            }
        }
        let bytes = |size: u32| usize::try_from(size).unwrap_or(usize::MAX);
        Ok(Self {
            timeout,
            wait_for_ready: entry.wait_for_ready,
            max_request: entry.max_request_message_bytes.map(|size| bytes(size.0)),
            max_response: entry.max_response_message_bytes.map(|size| bytes(size.0)),
            overrides,
            hedge: entry.hedging_policy.as_ref().map(HedgingPolicy::config),
            non_fatal: entry.hedging_policy.as_ref().and_then(HedgingPolicy::non_fatal),
            retryable: entry.retry_policy.as_ref().map(|policy| policy.retryable_status_codes),
        })
    }
}

/// Returns the key of `name` in the methods of a config.
fn key(name: &Name, path: &str) -> Result<String, Error> {
    let (service, method) =
        (name.service.as_deref().unwrap_or_default(), name.method.as_deref().unwrap_or_default());
    if service.contains('/') || method.contains('/') {
        return Err(invalid(path, "`service` is package.Service and `method` a name, both without `/`"));
    }
    match (service, method) {
        ("", "") => Ok(String::new()),
        ("", _) => Err(invalid(path, "`method` needs a `service`")),
        (service, "") => Ok(service.to_owned()),
        (service, method) => Ok(format!("{service}/{method}")),
    }
}

#[cfg(test)]
mod tests;
