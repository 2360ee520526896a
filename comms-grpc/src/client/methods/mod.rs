//! What a channel keeps for each method: its metrics, its settings, and its hedge.
//!
//! - `mod.rs`: the methods of a channel, and the change of their service config;
//! - `method.rs`: one method, and how its settings are derived;
//! - `meter.rs`: the measurement of a call.

mod meter;
mod method;

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use comms_core::{
    Error,
    resilience::{Hedge, HedgeSnapshot, RetryBudget},
};

use super::service_config::ServiceConfig;
pub(super) use meter::CallMeter;
use meter::MethodMeter;
use method::Settings;
pub(super) use method::{CallSettings, Defaults, Method, MethodSettings};

/// Methods that are kept and are a label of metrics, without those that a setting names. The label of further methods is
/// [`OTHER`], because a channel that forwards the calls of others can see any path.
const MAX_KEPT: usize = 1_024;
/// The label of the methods that are not kept.
const OTHER: &str = "_OTHER";

/// The methods of a channel.
pub(super) struct Methods {
    defaults: Defaults,
    /// The settings of the builder.
    explicit: HashMap<String, MethodSettings>,
    hedges: BTreeMap<String, Hedge>,
    other: Arc<MethodMeter>,
    state: RwLock<State>,
}

struct State {
    config: ServiceConfig,
    /// The budget of the config, if it has one.
    budget: Option<RetryBudget>,
    known: HashMap<Box<str>, Arc<Method>>,
}

impl Methods {
    /// # Errors
    /// Returns `Invalid`, naming the method, if a path does not begin with `/`, or a hedge is invalid or has no budget.
    pub(super) fn new(
        defaults: Defaults,
        explicit: HashMap<String, MethodSettings>,
        config: ServiceConfig,
    ) -> Result<Self, Error> {
        let mut hedges = BTreeMap::new();
        for (path, settings) in &explicit {
            let of_method = |error: Error| error.context(format_args!("method {path}"));
            if !path.starts_with('/') {
                return Err(of_method(Error::invalid("the path of a method is /package.Service/Method")));
            }
            if let Some(hedge) = settings.hedge(path, &defaults).map_err(of_method)? {
                hedges.insert(path.clone(), hedge);
            }
        }
        let other = Arc::new(MethodMeter::new(OTHER, &defaults.classify.peer));
        let budget = config.budget((&ServiceConfig::default(), None), &defaults.clock);
        let state = RwLock::new(State { config, budget, known: HashMap::new() });
        Ok(Self { defaults, explicit, hedges, other, state })
    }

    /// Returns the measurements of the hedges, in the order of the methods.
    pub(super) fn hedges(&self) -> Vec<HedgeSnapshot> {
        self.hedges.values().map(Hedge::snapshot).collect()
    }

    /// Returns the method of `path`, which is `/package.Service/Method`.
    pub(super) fn get(&self, path: &str) -> Arc<Method> {
        let known = self.state.read().unwrap_or_else(PoisonError::into_inner).known.get(path).cloned();
        known.unwrap_or_else(|| self.add(path))
    }

    fn add(&self, path: &str) -> Arc<Method> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let named = self.explicit.contains_key(path) || state.config.names(path);
        if !named && state.known.len() >= MAX_KEPT {
            return self.derive(&state, path, self.other.clone());
        }
        let meter = Arc::new(MethodMeter::new(path, &self.defaults.classify.peer));
        let method = self.derive(&state, path, meter);
        state.known.insert(path.into(), method.clone());
        method
    }

    fn derive(&self, state: &State, path: &str, meter: Arc<MethodMeter>) -> Arc<Method> {
        let settings = Settings {
            explicit: self.explicit.get(path),
            hedge: self.hedges.get(path),
            config: state.config.method(path),
            budget: state.budget.as_ref(),
        };
        Arc::new(Method::new(&self.defaults, settings, meter))
    }

    /// Replaces the service config for the calls that start afterwards.
    pub(super) fn configure(&self, config: ServiceConfig) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let budget = config.budget((&state.config, state.budget.as_ref()), &self.defaults.clock);
        let next = State { config, budget, known: HashMap::new() };
        // A method keeps its metrics, so that updates create no further labels.
        let known = state.known.drain().map(|(path, method)| {
            let method = self.derive(&next, &path, method.meter());
            (path, method)
        });
        let known = known.collect();
        *state = State { known, ..next };
    }
}

impl fmt::Debug for Methods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Methods").field("explicit", &self.explicit).finish_non_exhaustive()
    }
}
