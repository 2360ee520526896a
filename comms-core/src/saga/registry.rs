//! The definitions of an application.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    definition::Definition,
    effect::{TimerId, Transition},
    input::Input,
    instance::Instance,
    setup_error::SetupError,
};
use crate::{Error, Message};

/// The definitions of an application, by name and version, with the data of the runs as JSON.
///
/// A running instance stays on its version, and a new run begins with the newest one. Keep an old version registered
/// until its last run has ended.
///
/// ```
/// # use comms_core::{Error, event::Event, saga::{Definition, Definitions, Reply, Step}};
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # struct Ship { order: String }
/// # impl Event for Ship {
/// #     const TYPE: &'static str = "ship";
/// #     const VERSION: u32 = 1;
/// #     fn key(&self) -> String { self.order.clone() }
/// # }
/// # fn main() -> Result<(), Error> {
/// # let step = || Step::<()>::observe("shipping").reply::<Ship>(|_, _| Reply::Done)
/// #     .time_limit(std::time::Duration::from_secs(5));
/// let v1 = Definition::builder("order", 1).step(step()).build()?;
/// let v2 = Definition::builder("order", 2).step(step()).build()?;
/// let old = v1.start("7", ())?.instance;
/// let definitions = Definitions::new().register(v1)?.register(v2)?;
/// let stored = serde_json::from_value(serde_json::to_value(old).map_err(Error::internal)?).map_err(Error::internal)?;
/// let timer = comms_core::saga::TimerId::from("shipping/execute/1/limit".to_owned());
/// let transition = definitions.transition(&stored, &comms_core::saga::Input::Timer(timer))?;
/// assert_eq!((transition.instance.version, transition.instance.state.as_str()), (1, "Failed"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct Definitions(BTreeMap<String, BTreeMap<u32, Arc<dyn Stored>>>);

/// A definition without the type of its data.
trait Stored: Send + Sync {
    fn start_on(&self, message: &Message) -> Result<Option<Transition<Value>>, Error>;
    fn transition(&self, instance: &Instance<Value>, input: &Input<'_>) -> Result<Transition<Value>, Error>;
    fn timers(&self, instance: &Instance<Value>) -> Result<Vec<(TimerId, Duration)>, Error>;
    fn correlate(&self, message: &Message) -> Result<Option<String>, Error>;
    fn observes(&self, message: &Message) -> Result<bool, Error>;
    fn events(&self) -> Vec<&'static str>;
    fn mermaid(&self) -> String;
}

impl<D: Clone + Serialize + DeserializeOwned> Stored for Definition<D> {
    fn start_on(&self, message: &Message) -> Result<Option<Transition<Value>>, Error> {
        Self::start_on(self, message)?.map(to_json).transpose()
    }

    fn transition(&self, instance: &Instance<Value>, input: &Input<'_>) -> Result<Transition<Value>, Error> {
        to_json(Self::transition(self, &typed(instance)?, input)?)
    }

    fn timers(&self, instance: &Instance<Value>) -> Result<Vec<(TimerId, Duration)>, Error> {
        Self::timers(self, &typed(instance)?)
    }

    fn correlate(&self, message: &Message) -> Result<Option<String>, Error> {
        Self::correlate(self, message)
    }

    fn observes(&self, message: &Message) -> Result<bool, Error> {
        Self::observes(self, message)
    }

    fn events(&self) -> Vec<&'static str> {
        Self::events(self).collect()
    }

    fn mermaid(&self) -> String {
        Self::mermaid(self)
    }
}

fn typed<D: DeserializeOwned>(instance: &Instance<Value>) -> Result<Instance<D>, Error> {
    let Instance { saga, version, .. } = instance;
    let typed = instance.clone().try_map(serde_json::from_value::<D>);
    typed.map_err(|e| Error::misconfigured(e).context(format_args!("decode the data of {saga} v{version}")))
}

fn to_json<D: Serialize>(transition: Transition<D>) -> Result<Transition<Value>, Error> {
    let Transition { instance, effects, changed } = transition;
    let instance = instance.try_map(serde_json::to_value).map_err(Error::invalid)?;
    Ok(Transition { instance, effects, changed })
}

impl Definitions {
    /// Creates a registry without definitions.
    #[must_use]
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Adds a definition.
    ///
    /// # Errors
    /// Returns [`SetupError::DuplicateDefinition`] if a definition with the same name and version is registered.
    pub fn register<D>(mut self, definition: Definition<D>) -> Result<Self, SetupError>
    where
        D: Clone + Serialize + DeserializeOwned + 'static,
    {
        let (name, version) = (definition.name().to_owned(), definition.version());
        let versions = self.0.entry(name.clone()).or_default();
        if versions.insert(version, Arc::new(definition)).is_some() {
            return Err(SetupError::DuplicateDefinition(name, version));
        }
        Ok(self)
    }

    /// Returns the runs that `message` belongs to or starts: the name of the definition and the id, without duplicates.
    ///
    /// A version that cannot read the message, for example because the message announces a newer version of the event, does
    /// not hide the runs of another version of the same name that can.
    ///
    /// # Errors
    /// Returns the first error of [`Definition::correlate`] of a name of which no version can read the message. The message
    /// is then lost for no run: it is handled again when a version that can read it is registered.
    pub fn correlate(&self, message: &Message) -> Result<BTreeSet<(&str, String)>, Error> {
        let mut runs = BTreeSet::new();
        for (name, versions) in &self.0 {
            let (mut is_read, mut unread) = (false, None);
            for definition in versions.values() {
                match definition.correlate(message) {
                    Ok(Some(id)) => {
                        is_read = true;
                        runs.insert((name.as_str(), id));
                    }
                    Ok(None) => {}
                    Err(error) => unread = unread.or(Some(error)),
                }
            }
            if let Some(error) = unread.filter(|_| !is_read) {
                return Err(error.context(format_args!("saga {name}")));
            }
        }
        Ok(runs)
    }

    /// Starts a run of the newest version of the definition named `name` if the message starts one.
    ///
    /// # Errors
    /// Returns the errors of [`Definition::start_on`].
    pub fn start_on(&self, name: &str, message: &Message) -> Result<Option<Transition<Value>>, Error> {
        self.newest(name).map_or(Ok(None), |definition| definition.start_on(message))
    }

    /// Starts a run of `definition` with the id `id`.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Misconfigured`](crate::ErrorKind::Misconfigured) if no definition of this name and version is
    /// registered, so that no input would reach the run. Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if the
    /// data or a command cannot be encoded.
    pub fn start<D: Clone + Serialize>(
        &self,
        definition: &Definition<D>,
        id: impl Into<String>,
        data: D,
    ) -> Result<Transition<Value>, Error> {
        if !self.contains(definition.name(), definition.version()) {
            let (name, version) = (definition.name(), definition.version());
            let text = format!("cannot start a run of {name} v{version}: register the definition");
            return Err(Error::misconfigured(text));
        }
        to_json(definition.start(id, data)?)
    }

    /// Returns whether `message` can belong to a run of the newest definition named `name` that has not started yet, see
    /// [`Definition::observes`].
    ///
    /// # Errors
    /// Returns the errors of [`Definition::observes`].
    pub fn observes(&self, name: &str, message: &Message) -> Result<bool, Error> {
        self.newest(name).map_or(Ok(false), |definition| definition.observes(message))
    }

    /// Returns the next state of `instance` after `input`, by the definition of its name and version.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Misconfigured`](crate::ErrorKind::Misconfigured) if the definition is not registered or the
    /// data cannot be decoded, and the errors of [`Definition::transition`].
    pub fn transition(
        &self,
        instance: &Instance<Value>,
        input: &Input<'_>,
    ) -> Result<Transition<Value>, Error> {
        self.of(instance)?.transition(instance, input)
    }

    /// Returns the timers that `instance` must have, by the definition of its name and version.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Misconfigured`](crate::ErrorKind::Misconfigured) if the definition is not registered or the
    /// data cannot be decoded, and the errors of [`Definition::timers`].
    pub fn timers(&self, instance: &Instance<Value>) -> Result<Vec<(TimerId, Duration)>, Error> {
        self.of(instance)?.timers(instance)
    }

    /// Returns whether a definition with this name and version is registered.
    #[must_use]
    pub fn contains(&self, name: &str, version: u32) -> bool {
        self.0.get(name).is_some_and(|versions| versions.contains_key(&version))
    }

    /// Returns the names of the registered definitions, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Returns the diagram of each registered version of the definition named `name`, see [`Definition::mermaid`]. The map
    /// is empty if no version is registered.
    #[must_use]
    pub fn diagrams(&self, name: &str) -> BTreeMap<u32, String> {
        let versions = self.0.get(name).into_iter().flatten();
        versions.map(|(version, definition)| (*version, definition.mermaid())).collect()
    }

    fn of(&self, instance: &Instance<Value>) -> Result<&dyn Stored, Error> {
        let Instance { saga, version, id, .. } = instance;
        let definition = self.0.get(saga).and_then(|versions| versions.get(version));
        let missing =
            || Error::misconfigured(format!("no definition {saga} v{version} for the run {id}: register it"));
        definition.map(|definition| &**definition).ok_or_else(missing)
    }

    fn newest(&self, name: &str) -> Option<&Arc<dyn Stored>> {
        self.0.get(name).and_then(|versions| versions.values().next_back())
    }

    /// Returns the names of all events that start a run or are replies, without versions.
    #[must_use]
    pub fn events(&self) -> BTreeSet<&'static str> {
        self.0.values().flat_map(BTreeMap::values).flat_map(|definition| definition.events()).collect()
    }
}

impl fmt::Debug for Definitions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let versions = |(name, versions): (&String, &BTreeMap<u32, _>)| {
            (name.clone(), versions.keys().copied().collect())
        };
        f.debug_map().entries(self.0.iter().map(|entry| -> (String, Vec<u32>) { versions(entry) })).finish()
    }
}
