//! The hedges of the methods of a channel.

use std::collections::{BTreeMap, HashMap};

use comms_core::{
    Error,
    resilience::{Hedge, RetryBudget},
};

use super::{Defaults, MethodSettings, method::overrides};
use crate::client::service_config::ServiceConfig;

/// Hedges by the name of their methods.
pub(super) type Hedges = BTreeMap<String, Hedge>;

/// Returns the hedges that the builder sets, by path.
///
/// # Errors
/// Returns `Invalid`, naming the method, if a path does not begin with `/`, or a hedge is invalid or has no budget.
pub(super) fn of_builder(
    defaults: &Defaults,
    explicit: &HashMap<String, MethodSettings>,
) -> Result<Hedges, Error> {
    let mut hedges = Hedges::new();
    for (path, settings) in explicit {
        let of_method = |error: Error| error.context(format_args!("method {path}"));
        if !path.starts_with('/') {
            return Err(of_method(Error::invalid("the path of a method is /package.Service/Method")));
        }
        if let Some(hedge) = settings.hedge(path, defaults).map_err(of_method)? {
            hedges.insert(path.clone(), hedge);
        }
    }
    Ok(hedges)
}

/// Returns the hedges of `config`, by the name of its entries. None if the policy of the channel has its retries off
/// (gRFC A6, disabling retries).
///
/// # Errors
/// Returns `Invalid` if neither the policy nor the config has a budget.
pub(super) fn of_config(
    defaults: &Defaults,
    config: &ServiceConfig,
    budget: Option<&RetryBudget>,
) -> Result<Hedges, Error> {
    if defaults.policy.snapshot().config.retry.is_none() {
        return Ok(Hedges::new());
    }
    let peer = &defaults.classify.peer;
    let overrides = overrides(None, budget).unwrap_or_default();
    let hedges = config.hedges().map(|(name, hedge)| {
        let created =
            Hedge::for_overrides(&format!("{peer}/{name}"), hedge.clone(), &defaults.policy, &overrides);
        Ok((name.to_owned(), created?))
    });
    hedges.collect()
}
