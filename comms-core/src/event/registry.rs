//! The registry of an application's events.

use std::{any::Any, collections::BTreeMap, fmt, sync::Arc};

use serde::Serialize;

use super::{Event, SetupError, Shape, Versions, type_header::announced_type};
use crate::{Error, Message};

type Decode = dyn Fn(&Message) -> Result<Option<Box<dyn Any + Send>>, Error> + Send + Sync;

/// The events of an application: decodes the messages of all registered events, and lists the events for documentation.
///
/// ```
/// use comms_core::{Error, Message, clock::Clock, event::{Decoded, Event, EventSource, Registry, Versions}};
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # struct Placed { order_id: String }
/// # impl Event for Placed {
/// #     const TYPE: &'static str = "order.placed";
/// #     const VERSION: u32 = 1;
/// #     fn key(&self) -> String { self.order_id.clone() }
/// # }
/// # fn main() -> Result<(), Error> {
/// let registry = Registry::new().register(Versions::<Placed>::json().build()?)?;
/// let message = EventSource::new("shop", Clock::system()).message(&Placed { order_id: "7".into() })?;
/// match registry.decode(&message) {
///     Decoded::Event(event) if event.is::<Placed>() => println!("placed"),
///     Decoded::Event(event) => println!("another: {}", event.type_name()),
///     Decoded::Unknown => println!("not registered: pass it on"),
///     Decoded::Undecodable(error) => return Err(error),
/// }
/// assert_eq!(registry.describe().next().map(|d| d.name), Some("order.placed"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct Registry(BTreeMap<&'static str, Entry>);

#[derive(Clone)]
struct Entry {
    description: Description,
    decode: Arc<Decode>,
    versions: Arc<dyn Any + Send + Sync>,
}

/// A registered event: name, versions, encoding and schema. Implements [`Serialize`] for a page of documentation or an
/// AsyncAPI message.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Description {
    /// The event's name, [`Event::TYPE`].
    pub name: &'static str,
    /// The newest version, which is the one that is written: [`Event::VERSION`].
    pub version: u32,
    /// The oldest version that can be read.
    pub oldest: u32,
    /// The media type of the payload.
    pub content_type: &'static str,
    /// The schema of the newest version (serialized as JSON Schema), if the event has one.
    pub schema: Option<Shape>,
}

/// The result of [`Registry::decode`]. The message itself is not changed, so the raw form remains available.
#[derive(Debug)]
pub enum Decoded {
    /// The message announces a registered event. The event was decoded as its newest version.
    Event(AnyEvent),
    /// The message announces no event, or an event that is not registered.
    Unknown,
    /// The version or the payload of a registered event, or the message's type, cannot be read, for the reason in the
    /// error.
    Undecodable(Error),
}

/// A decoded event of any registered type, for [`downcast`](Self::downcast).
pub struct AnyEvent {
    type_name: &'static str,
    event: Box<dyn Any + Send>,
}

impl AnyEvent {
    /// Returns the event's name, [`Event::TYPE`], without a version.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        self.type_name
    }

    /// Returns whether the event is an `E`.
    #[must_use]
    pub fn is<E: Event>(&self) -> bool {
        self.event.is::<E>()
    }

    /// Returns the event as an `E`.
    ///
    /// # Errors
    /// Returns `self` unchanged if the event is not an `E`.
    pub fn downcast<E: Event>(self) -> Result<E, Self> {
        let type_name = self.type_name;
        self.event.downcast().map(|event| *event).map_err(|event| Self { type_name, event })
    }
}

impl fmt::Debug for AnyEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AnyEvent({})", self.type_name)
    }
}

impl Registry {
    /// Creates a registry without events.
    #[must_use]
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Adds the event of `versions` to the registry.
    ///
    /// # Errors
    /// Returns [`SetupError::DuplicateEvent`] if an event with the same [`Event::TYPE`] is registered already.
    pub fn register<E: Event>(mut self, versions: Versions<E>) -> Result<Self, SetupError> {
        if self.0.contains_key(E::TYPE) {
            return Err(SetupError::DuplicateEvent { event: E::TYPE });
        }
        let description = Description {
            name: E::TYPE,
            version: E::VERSION,
            oldest: versions.oldest(),
            content_type: versions.codec().content_type(),
            schema: versions.shape().cloned(),
        };
        let reader = versions.clone();
        let decode = move |message: &Message| -> Result<Option<Box<dyn Any + Send>>, Error> {
            Ok(reader.read(message)?.map(|event| Box::new(event) as Box<dyn Any + Send>))
        };
        let entry = Entry { description, decode: Arc::new(decode), versions: Arc::new(versions) };
        self.0.insert(E::TYPE, entry);
        Ok(self)
    }

    /// Decodes `message` as the registered event that it announces.
    #[must_use]
    pub fn decode(&self, message: &Message) -> Decoded {
        let name = match announced_type(message) {
            Ok(name) => name.unwrap_or_default(),
            Err(error) => return Decoded::Undecodable(error),
        };
        // Cut off the version, including a malformed one: `Versions::read` then reports it.
        let base = name.rsplit_once(".v").map_or(name, |(base, _)| base);
        let Some(entry) = self.0.get(base).or_else(|| self.0.get(name)) else { return Decoded::Unknown };
        match (entry.decode)(message) {
            Ok(Some(event)) => Decoded::Event(AnyEvent { type_name: entry.description.name, event }),
            Ok(None) => Decoded::Unknown,
            Err(error) => Decoded::Undecodable(error),
        }
    }

    /// Returns the registered versions of `E`, for [`transactional_versions`](crate::transactional_versions). Returns
    /// `None` if `E` is not registered.
    #[must_use]
    pub fn versions<E: Event>(&self) -> Option<Versions<E>> {
        self.0.get(E::TYPE)?.versions.downcast_ref::<Versions<E>>().cloned()
    }

    /// Returns the registered events, ordered by name.
    pub fn describe(&self) -> impl Iterator<Item = &Description> {
        self.0.values().map(|entry| &entry.description)
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}
