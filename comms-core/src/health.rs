//! Readiness: named components, each ready or not with a reason.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

type Components = BTreeMap<String, Option<String>>;

/// The readiness of a process. Clones share it. Liveness needs no registry: a process that answers lives.
///
/// ```
/// let health = comms_core::Health::new();
/// let relay = health.component("relay");
/// assert!(!health.is_ready());
/// relay.ready();
/// assert!(health.is_ready());
/// relay.unready("database away");
/// assert_eq!(health.report(), [("relay".to_owned(), Some("database away".to_owned()))]);
/// ```
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<Mutex<Components>>);

impl Health {
    /// No components: ready.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a component, not ready ("starting") until it says so.
    #[must_use]
    pub fn component(&self, name: &str) -> Component {
        self.lock().insert(name.to_owned(), Some("starting".to_owned()));
        Component { health: self.clone(), name: name.into() }
    }

    /// Whether every component is ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.lock().values().all(Option::is_none)
    }

    /// Every component by name, with the reason where it is not ready.
    #[must_use]
    pub fn report(&self) -> Vec<(String, Option<String>)> {
        self.lock().iter().map(|(n, r)| (n.clone(), r.clone())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Components> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A component's own switch.
#[derive(Debug, Clone)]
pub struct Component {
    health: Health,
    name: Arc<str>,
}

impl Component {
    /// It can do its work.
    pub fn ready(&self) {
        self.health.lock().insert(self.name.to_string(), None);
    }

    /// It cannot, and why.
    pub fn unready(&self, reason: impl Into<String>) {
        self.health.lock().insert(self.name.to_string(), Some(reason.into()));
    }
}
