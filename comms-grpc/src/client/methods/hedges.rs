//! The hedges of the methods of a channel.

use std::collections::{BTreeMap, HashMap};

use comms_core::{
    Error,
    resilience::{Hedge, HedgeConfig, HedgeSnapshot, Policy, PolicyOverrides, RetryBudget},
};

use super::{Defaults, MethodSettings, method::overrides};
use crate::client::service_config::ServiceConfig;

/// The hedges of a channel.
#[derive(Default)]
pub(super) struct Hedges {
    /// Those of the builder, by path.
    of_builder: BTreeMap<String, Hedge>,
    /// Those of the service config, by the name of its entries.
    of_config: BTreeMap<String, Hedge>,
}

impl Hedges {
    /// Returns the hedges of the builder and of `config`. Those whose settings are the same in `previous` keep their
    /// measurements.
    ///
    /// The policy of a method pays for its hedges. `budget`, that of the service config, replaces the budget of the policy of
    /// the channel. If the retries of that policy are off, the service config has no effect (gRFC A6, disabling retries).
    ///
    /// # Errors
    /// Returns `Invalid`, naming the method, if a path does not begin with `/`, or a hedge is invalid or has no budget.
    pub(super) fn new(
        defaults: &Defaults,
        explicit: &HashMap<String, MethodSettings>,
        config: &ServiceConfig,
        budget: Option<&RetryBudget>,
        previous: &Self,
    ) -> Result<Self, Error> {
        let peer = &defaults.classify.peer;
        let retries = defaults.policy.snapshot().config.retry.is_some();
        let of_channel = overrides(None, budget.filter(|_| retries)).unwrap_or_default();
        let mut hedges = Self::default();
        for (path, settings) in explicit {
            let of_method = |error: Error| error.context(format_args!("method {path}"));
            if !path.starts_with('/') {
                return Err(of_method(Error::invalid("the path of a method is /package.Service/Method")));
            }
            let Some(config) = &settings.hedge else { continue };
            let (policy, overrides) = match &settings.policy {
                Some(policy) => (policy, &PolicyOverrides::default()),
                None => (&defaults.policy, &of_channel),
            };
            let previous = previous.of_builder.get(path);
            let hedge = hedge(previous, &format!("{peer}{path}"), config, policy, overrides);
            hedges.of_builder.insert(path.clone(), hedge.map_err(of_method)?);
        }
        for (entry, config) in config.hedges().filter(|_| retries) {
            let (name, previous) = (format!("{peer}/{entry}"), previous.of_config.get(entry));
            let hedge = hedge(previous, &name, config, &defaults.policy, &of_channel)?;
            hedges.of_config.insert(entry.to_owned(), hedge);
        }
        Ok(hedges)
    }

    /// Returns the hedge of the method at `path`: that of the builder, or that of the `entry` of the service config.
    pub(super) fn get(&self, path: &str, entry: Option<&str>) -> Option<&Hedge> {
        self.of_builder.get(path).or_else(|| self.of_config.get(entry?))
    }

    pub(super) fn snapshots(&self) -> Vec<HedgeSnapshot> {
        self.of_builder.values().chain(self.of_config.values()).map(Hedge::snapshot).collect()
    }
}

/// Returns the hedge with `config`. It has the measurements of `previous` if the settings are the same.
fn hedge(
    previous: Option<&Hedge>,
    name: &str,
    config: &HedgeConfig,
    policy: &Policy,
    overrides: &PolicyOverrides,
) -> Result<Hedge, Error> {
    match previous.filter(|previous| previous.config() == *config) {
        Some(previous) => previous.with_overrides(policy, overrides),
        None => Hedge::for_overrides(name, config.clone(), policy, overrides),
    }
}
