//! What a channel keeps for each method: its metrics, and its settings.

mod meter;

use std::{collections::HashMap, fmt, sync::Arc};

use comms_core::{clock::Clock, resilience::Policy, telemetry};

use crate::{method_cache::MethodCache, method_meter::MethodMeter};

pub(super) use meter::CallMeter;

/// A method of the peer.
pub(super) struct Method {
    meter: MethodMeter,
    /// Whether executing a call twice is harmless.
    pub(super) idempotent: bool,
    /// The policy, if it is not that of the channel.
    pub(super) policy: Option<Policy>,
}

/// The settings of one method.
#[derive(Debug, Clone, Default)]
pub(super) struct MethodSettings {
    pub(super) idempotent: bool,
    pub(super) policy: Option<Policy>,
}

/// The methods of a channel.
pub(super) struct Methods {
    peer: Arc<str>,
    settings: HashMap<String, MethodSettings>,
    known: MethodCache<Method>,
}

impl Methods {
    pub(super) fn new(peer: Arc<str>, settings: HashMap<String, MethodSettings>) -> Self {
        Self { peer, settings, known: MethodCache::default() }
    }

    /// Returns the method of `path`, which is `/package.Service/Method`.
    pub(super) fn get(&self, path: &str) -> Arc<Method> {
        self.known.get(path).unwrap_or_else(|| self.add(path))
    }

    fn add(&self, path: &str) -> Arc<Method> {
        let MethodSettings { idempotent, policy } = self.settings.get(path).cloned().unwrap_or_default();
        let meter = MethodMeter::new(telemetry::RPC_CLIENT_DURATION, path, Some(self.peer.clone()));
        self.known.add(path, Method { meter, idempotent, policy })
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
