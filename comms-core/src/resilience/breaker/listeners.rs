//! Reports the transitions of a breaker to the log, the metrics and the listeners.

use super::BreakerTransition;
use crate::{
    sync::{Mutex, PoisonError},
    telemetry,
};

type Listener = std::sync::Arc<dyn Fn(BreakerTransition) + Send + Sync>;

#[derive(Default)]
pub(super) struct Listeners(Mutex<Vec<Listener>>);

impl Listeners {
    pub(super) fn add(&self, listener: impl Fn(BreakerTransition) + Send + Sync + 'static) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(std::sync::Arc::new(listener));
    }

    /// Reports a transition of the breaker `name`. Called outside of the locks, so that a listener may call the breaker.
    pub(super) fn notify(&self, name: &'static str, transition: BreakerTransition) {
        let (from, to) = (transition.from.as_str(), transition.to.as_str());
        tracing::warn!(breaker = name, from, to, "circuit breaker changed state");
        metrics::counter!(telemetry::BREAKER_TRANSITIONS, "name" => name, "state" => to).increment(1);
        let listeners = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        listeners.iter().for_each(|listener| listener(transition));
    }
}
