//! What a channel keeps for each method: its metrics, its settings, and its hedge.
//!
//! - `mod.rs`: the methods of a channel, and the change of their service config;
//! - `method.rs`: one method, and how its settings are derived;
//! - `hedges.rs`: the hedges, from the builder and from the service config;
//! - `meter.rs`: the measurement of a call.

mod hedges;
mod meter;
mod method;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use comms_core::{
    Error,
    resilience::{HedgeSnapshot, RetryBudget},
    telemetry,
};

use crate::method_meter::MethodMeter;

use super::service_config::ServiceConfig;
use hedges::Hedges;
pub(super) use meter::CallMeter;
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
    other: Arc<MethodMeter>,
    state: RwLock<State>,
}

struct State {
    config: ServiceConfig,
    /// The budget of the config, if it has one.
    budget: Option<RetryBudget>,
    hedges: Hedges,
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
        let other = Arc::new(meter_of(&defaults, OTHER));
        let state = RwLock::new(State::new(&defaults, &explicit, config, None)?);
        Ok(Self { defaults, explicit, other, state })
    }

    /// Returns the measurements of the hedges: those of the builder, and those of the service config.
    pub(super) fn hedges(&self) -> Vec<HedgeSnapshot> {
        self.state.read().unwrap_or_else(PoisonError::into_inner).hedges.snapshots()
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
        let meter = Arc::new(meter_of(&self.defaults, path));
        let method = self.derive(&state, path, meter);
        state.known.insert(path.into(), method.clone());
        method
    }

    fn derive(&self, state: &State, path: &str, meter: Arc<MethodMeter>) -> Arc<Method> {
        let (name, config) = state.config.entry(path).unzip();
        let explicit = self.explicit.get(path);
        let entry = name.filter(|_| explicit.is_none_or(|settings| settings.policy.is_none()));
        let hedge = state.hedges.get(path, entry);
        let settings = Settings { explicit, hedge, config, budget: state.budget.as_ref() };
        Arc::new(Method::new(&self.defaults, settings, meter))
    }

    /// Replaces the service config for the calls that start afterwards. A hedge whose settings stay keeps its measurements.
    ///
    /// # Errors
    /// Returns `Invalid` if a hedge has no budget. The config before stays.
    pub(super) fn configure(&self, config: ServiceConfig) -> Result<(), Error> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let mut next = State::new(&self.defaults, &self.explicit, config, Some(&*state))?;
        // A method keeps its metrics, so that updates create no further labels.
        let known = state.known.drain().map(|(path, method)| {
            let method = self.derive(&next, &path, method.meter());
            (path, method)
        });
        next.known = known.collect();
        *state = next;
        Ok(())
    }
}

impl State {
    /// Returns the state with `config`, in which no method is known.
    fn new(
        defaults: &Defaults,
        explicit: &HashMap<String, MethodSettings>,
        config: ServiceConfig,
        previous: Option<&Self>,
    ) -> Result<Self, Error> {
        let budget =
            config.budget(previous.map(|state| (&state.config, state.budget.as_ref())), &defaults.clock);
        let (none, previous) = (Hedges::default(), previous.map(|state| &state.hedges));
        let hedges = Hedges::new(defaults, explicit, &config, budget.as_ref(), previous.unwrap_or(&none))?;
        Ok(Self { config, budget, hedges, known: HashMap::new() })
    }
}

fn meter_of(defaults: &Defaults, path: &str) -> MethodMeter {
    MethodMeter::new(telemetry::RPC_CLIENT_DURATION, path, Some(defaults.classify.peer.clone()))
}

impl fmt::Debug for Methods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Methods").field("explicit", &self.explicit).finish_non_exhaustive()
    }
}
