//! The events of an application, in one place.

use std::{any::Any, collections::BTreeMap, fmt, sync::Arc};

use serde::Serialize;

use super::{Event, SetupError, Shape, Versions, announced::type_of};
use crate::{Error, Message};

type Decode = dyn Fn(&Message) -> Result<Option<Box<dyn Any + Send>>, Error> + Send + Sync;

/// Knows the events of an application: reads any message of theirs, and lists them for documentation.
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

/// What a registry says of one event. Serialises to what a page of documentation or an AsyncAPI message needs.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Description {
    /// [`Event::TYPE`].
    pub name: &'static str,
    /// The version that is written.
    pub version: u32,
    /// The oldest version that is still read.
    pub oldest: u32,
    /// Media type of the payload.
    pub content_type: &'static str,
    /// The newest version as JSON Schema, where the event describes itself.
    pub schema: Option<Shape>,
}

/// What a message turned out to be. In every case the message itself is the raw form, byte for byte.
#[derive(Debug)]
pub enum Decoded {
    /// A registered event, as the newest version of its type.
    Event(AnyEvent),
    /// No type name, or one that is not registered: an event of another reader.
    Unknown,
    /// A registered type whose payload or version cannot be read; the error says why.
    Undecodable(Error),
}

/// A decoded event of a registered type.
pub struct AnyEvent {
    type_name: &'static str,
    event: Box<dyn Any + Send>,
}

impl AnyEvent {
    /// [`Event::TYPE`].
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        self.type_name
    }

    /// Whether it is an `E`.
    #[must_use]
    pub fn is<E: Event>(&self) -> bool {
        self.event.is::<E>()
    }

    /// The event as an `E`, or itself again.
    ///
    /// # Errors
    /// Itself, where it is another type.
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
    /// A registry without events.
    #[must_use]
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// The registry with the event of `versions` added.
    ///
    /// # Errors
    /// [`SetupError::DuplicateEvent`] where the type is there already.
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

    /// Decodes `message` as the registered event it announces.
    #[must_use]
    pub fn decode(&self, message: &Message) -> Decoded {
        let name = match type_of(message) {
            Ok(name) => name.unwrap_or_default(),
            Err(error) => return Decoded::Undecodable(error),
        };
        // Without the version, also where the version is no number.
        let base = name.rsplit_once(".v").map_or(name, |(base, _)| base);
        let Some(entry) = self.0.get(base).or_else(|| self.0.get(name)) else { return Decoded::Unknown };
        match (entry.decode)(message) {
            Ok(Some(event)) => Decoded::Event(AnyEvent { type_name: entry.description.name, event }),
            Ok(None) => Decoded::Unknown,
            Err(error) => Decoded::Undecodable(error),
        }
    }

    /// The versions of `E` as they were registered, for [`transactional_versions`](crate::transactional_versions).
    #[must_use]
    pub fn versions<E: Event>(&self) -> Option<Versions<E>> {
        self.0.get(E::TYPE)?.versions.downcast_ref::<Versions<E>>().cloned()
    }

    /// The registered events, by name.
    pub fn describe(&self) -> impl Iterator<Item = &Description> {
        self.0.values().map(|entry| &entry.description)
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}
