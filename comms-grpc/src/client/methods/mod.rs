//! What a channel keeps for each method: its metrics, its settings, and its hedge.

mod meter;

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use comms_core::{
    Error,
    clock::Clock,
    resilience::{Hedge, HedgeConfig, HedgeSnapshot, Policy},
};

pub(super) use meter::CallMeter;
use meter::MethodMeter;

/// Methods that are kept. The metrics of further methods are looked up in each call.
const MAX_KEPT: usize = 1_024;

/// A method of the peer.
pub(super) struct Method {
    meter: MethodMeter,
    /// Whether executing a call twice is harmless.
    pub(super) idempotent: bool,
    /// The policy, if it is not that of the channel.
    pub(super) policy: Option<Policy>,
    /// Hedges the calls that can be hedged.
    pub(super) hedge: Option<Hedge>,
}

/// The settings of one method.
#[derive(Debug, Clone, Default)]
pub(super) struct MethodSettings {
    pub(super) idempotent: bool,
    pub(super) policy: Option<Policy>,
    pub(super) hedge: Option<HedgeConfig>,
}

/// The methods of a channel.
pub(super) struct Methods {
    peer: Arc<str>,
    settings: HashMap<String, MethodSettings>,
    hedges: BTreeMap<String, Hedge>,
    known: RwLock<HashMap<Box<str>, Arc<Method>>>,
}

impl Methods {
    /// `policy` is that of methods without a policy of their own.
    ///
    /// # Errors
    /// Returns `Invalid`, naming the method, if a path does not begin with `/`, or a hedge is invalid or has no budget.
    pub(super) fn new(
        peer: Arc<str>,
        settings: HashMap<String, MethodSettings>,
        policy: &Policy,
    ) -> Result<Self, Error> {
        let mut hedges = BTreeMap::new();
        for (path, settings) in &settings {
            let of_method = |error: Error| error.context(format_args!("method {path}"));
            if !path.starts_with('/') {
                return Err(of_method(Error::invalid("the path of a method is /package.Service/Method")));
            }
            let Some(config) = settings.hedge.clone() else { continue };
            let policy = settings.policy.as_ref().unwrap_or(policy);
            let hedge = Hedge::for_policy(&format!("{peer}{path}"), config, policy).map_err(of_method)?;
            hedges.insert(path.clone(), hedge);
        }
        Ok(Self { peer, settings, hedges, known: RwLock::default() })
    }

    /// Returns the measurements of the hedges, in the order of the methods.
    pub(super) fn hedges(&self) -> Vec<HedgeSnapshot> {
        self.hedges.values().map(Hedge::snapshot).collect()
    }

    /// Returns the method of `path`, which is `/package.Service/Method`.
    pub(super) fn get(&self, path: &str) -> Arc<Method> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner).get(path).cloned();
        known.unwrap_or_else(|| self.add(path))
    }

    fn add(&self, path: &str) -> Arc<Method> {
        let MethodSettings { idempotent, policy, .. } = self.settings.get(path).cloned().unwrap_or_default();
        let hedge = self.hedges.get(path).cloned();
        let method = Method { meter: MethodMeter::new(path, &self.peer), idempotent, policy, hedge };
        let method = Arc::new(method);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() < MAX_KEPT {
            known.insert(path.into(), method.clone());
        }
        method
    }
}

impl fmt::Debug for Methods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Methods").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Method {
    /// Starts the measurement of a call.
    pub(super) fn start(self: &Arc<Self>, clock: &Clock) -> CallMeter {
        CallMeter::start(self.clone(), clock)
    }
}
