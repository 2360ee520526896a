//! The versions of an event, and their upcasters.

use std::{collections::BTreeMap, fmt, sync::Arc};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    Codec, Event, EventSource, Json, NewerVersion, Schema, SetupError, Shape,
    read::{decode_with, payload_of, with_decode_context},
    type_header::{announced_version, check_supported},
};
use crate::{Error, Message};

type Upcast = Box<dyn Fn(Value) -> Result<Value, Error> + Send + Sync>;

/// Reads an event in all of its supported versions, and writes it in the newest one.
///
/// A topic keeps payloads for years after the code that wrote them was replaced. An *upcaster* is a function that
/// converts the raw form of a payload, a JSON value, into the next version (v1 to v2, v2 to v3). The result is decoded
/// once, as the newest type, so a handler has one type for all versions.
///
/// Guarantee: an event that [`decode`](Self::decode) returns passed through every upcaster from the version that its
/// message announces up to [`Event::VERSION`]. A newer version is refused and never decoded in part. Clones are cheap.
///
/// ```
/// use comms_core::{Error, Message, MessageParts, clock::Clock, event::{Event, EventSource, Versions}};
/// use serde_json::{Value, json};
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Placed { order_id: String, currency: String }
/// impl Event for Placed {
///     const TYPE: &'static str = "order.placed";
///     const VERSION: u32 = 2;
///     fn key(&self) -> String { self.order_id.clone() }
/// }
/// fn v1_had_one_currency(mut old: Value) -> Result<Value, Error> {
///     old["currency"] = json!("EUR");
///     Ok(old)
/// }
/// # fn main() -> Result<(), Error> {
/// let versions = Versions::<Placed>::json().upcast(1, v1_had_one_currency).build()?;
/// let new = Placed { order_id: "7".into(), currency: "USD".into() };
/// let message = EventSource::new("shop", Clock::system()).message(&new)?;
/// // The same message as a producer of version 1 wrote it.
/// let old = message.with_headers(|headers| headers.insert("ce_type", "order.placed.v1"));
/// let old = Message::new(MessageParts { payload: Some(br#"{"order_id":"7"}"#), ..old.parts() });
/// assert_eq!(versions.decode(&old)?.currency, "EUR");
/// # Ok(())
/// # }
/// ```
pub struct Versions<E>(Arc<Inner<E>>);

struct Inner<E> {
    codec: Box<dyn Codec<E>>,
    steps: BTreeMap<u32, Upcast>,
    shape: Option<Shape>,
    newer: NewerVersion,
}

impl<E: Event + Serialize + DeserializeOwned> Versions<E> {
    /// Returns a builder for an event with a JSON payload.
    #[must_use]
    pub fn json() -> VersionsBuilder<E> {
        Self::of(Json)
    }
}

impl<E: Event> Versions<E> {
    /// Returns a builder for an event with a payload in the encoding of `codec`.
    #[must_use]
    pub fn of(codec: impl Codec<E>) -> VersionsBuilder<E> {
        VersionsBuilder {
            codec: Box::new(codec),
            steps: Vec::new(),
            shape: None,
            newer: NewerVersion::default(),
        }
    }

    /// Returns whether `message` announces this event in any version.
    ///
    /// Also returns true if the version or the `ce_type` header cannot be read: [`read`](Self::read) and
    /// [`decode`](Self::decode) then return the error.
    #[must_use]
    pub fn matches(&self, message: &Message) -> bool {
        !matches!(announced_version(message, E::TYPE), Ok(None))
    }

    /// Reads `message` as an event of the newest version. Returns `None` if the message announces another event, or
    /// none.
    ///
    /// # Errors
    /// For a version newer than [`Event::VERSION`], returns
    /// [`ErrorKind::Misconfigured`](crate::ErrorKind::Misconfigured) by default, or
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) with [`NewerVersion::DeadLetter`].
    ///
    /// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if
    /// - the message announces a version older than [`oldest`](Self::oldest);
    /// - the message announces the event with a malformed version, or without one;
    /// - the `ce_type` header is not UTF-8;
    /// - the message is a `CloudEvents` envelope in a format or mode that a consumer does not open;
    /// - the message has no payload, or the payload does not decode.
    ///
    /// Returns the error of an upcaster with its kind unchanged.
    pub fn read(&self, message: &Message) -> Result<Option<E>, Error> {
        let Some(version) = announced_version(message, E::TYPE)? else { return Ok(None) };
        if version == E::VERSION {
            return decode_with(&*self.0.codec, message).map(Some);
        }
        self.check_supported(version)?;
        let event = self.decode_version(version, payload_of(message)?);
        event.map_err(|e| with_decode_context::<E>(e, message)).map(Some)
    }

    /// Decodes `message` as an event of the newest version. The message may announce any version from
    /// [`oldest`](Self::oldest) to [`Event::VERSION`].
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if the message announces another event or none, and
    /// the errors of [`read`](Self::read).
    pub fn decode(&self, message: &Message) -> Result<E, Error> {
        self.read(message)?.ok_or_else(|| {
            let announced = message.event_type().unwrap_or("");
            Error::invalid(format!("the message announces {announced:?}, not {}", E::TYPE))
        })
    }

    /// Converts the raw form of a payload of `version` into that of the newest version.
    ///
    /// # Errors
    /// For a version newer than [`Event::VERSION`], returns
    /// [`ErrorKind::Misconfigured`](crate::ErrorKind::Misconfigured) by default, or
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) with [`NewerVersion::DeadLetter`]. Returns
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a version older than [`oldest`](Self::oldest). Returns the
    /// error of an upcaster with its kind unchanged.
    pub fn upcast(&self, version: u32, value: Value) -> Result<Value, Error> {
        self.check_supported(version)?;
        let mut value = value;
        for (from, step) in self.0.steps.range(version..) {
            value = step(value).map_err(|e| e.context(format_args!("upcast v{from} to v{}", from + 1)))?;
        }
        Ok(value)
    }

    /// Returns the message that announces `event`, with a payload in the encoding of [`codec`](Self::codec).
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if the event cannot be encoded.
    pub fn message(&self, source: &EventSource, event: &E) -> Result<Message, Error> {
        source.encode(event, &*self.0.codec)
    }

    /// Returns the oldest version that can be read.
    #[must_use]
    pub fn oldest(&self) -> u32 {
        self.0.steps.keys().next().copied().unwrap_or(E::VERSION)
    }

    /// Returns the schema of the newest version, if [`VersionsBuilder::with_schema`] was called.
    #[must_use]
    pub fn shape(&self) -> Option<&Shape> {
        self.0.shape.as_ref()
    }

    /// Returns the codec of the payload.
    #[must_use]
    pub fn codec(&self) -> &dyn Codec<E> {
        &*self.0.codec
    }

    /// Decodes a payload of `version` through its raw form and the upcasters.
    pub(super) fn decode_version(&self, version: u32, payload: &[u8]) -> Result<E, Error> {
        let value = self.0.codec.raw(payload)?;
        self.0.codec.decode_raw(self.upcast(version, value)?)
    }

    fn check_supported(&self, version: u32) -> Result<(), Error> {
        check_supported::<E>(version, self.oldest(), self.0.newer)
    }
}

impl<E> Clone for Versions<E> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<E: Event> fmt::Debug for Versions<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Versions({} v{} to v{})", E::TYPE, self.oldest(), E::VERSION)
    }
}

/// Builds [`Versions`] from upcasters, a schema and the treatment of newer versions. The order of the calls does not
/// matter.
pub struct VersionsBuilder<E> {
    codec: Box<dyn Codec<E>>,
    steps: Vec<(u32, Upcast)>,
    shape: Option<Shape>,
    newer: NewerVersion,
}

impl<E: Event> VersionsBuilder<E> {
    /// Adds the upcaster that converts the raw form of version `from` into that of version `from + 1`.
    ///
    /// `step` must be a pure function, because a redelivery runs it again. It should return
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a payload that it cannot convert.
    #[must_use]
    pub fn upcast(
        mut self,
        from: u32,
        step: impl Fn(Value) -> Result<Value, Error> + Send + Sync + 'static,
    ) -> Self {
        self.steps.push((from, Box::new(step)));
        self
    }

    /// Sets how a consumer treats a version newer than [`Event::VERSION`]. Default: [`NewerVersion::Hold`].
    #[must_use]
    pub fn newer_version(self, newer: NewerVersion) -> Self {
        Self { newer, ..self }
    }

    /// Adds the schema of the newest version, [`Schema::shape`].
    #[must_use]
    pub fn with_schema(mut self) -> Self
    where
        E: Schema,
    {
        self.shape = Some(E::shape());
        self
    }

    /// Checks that the upcasters lead from the oldest version to [`Event::VERSION`] without a gap, and builds the
    /// versions.
    ///
    /// # Errors
    /// Returns
    /// - [`SetupError::BeyondNewest`] if an upcaster starts at [`Event::VERSION`] or above;
    /// - [`SetupError::DuplicateStep`] if two upcasters start at the same version;
    /// - [`SetupError::VersionZero`] if an upcaster starts at version 0;
    /// - [`SetupError::Gap`] if a version between the oldest and the newest has no upcaster.
    pub fn build(self) -> Result<Versions<E>, SetupError> {
        let (event, newest) = (E::TYPE, E::VERSION);
        let mut steps = BTreeMap::new();
        for (from, step) in self.steps {
            if from >= newest {
                return Err(SetupError::BeyondNewest { event, from, newest });
            }
            if steps.insert(from, step).is_some() {
                return Err(SetupError::DuplicateStep { event, from });
            }
        }
        let oldest = steps.keys().next().copied().unwrap_or(newest);
        if oldest == 0 {
            return Err(SetupError::VersionZero { event });
        }
        match (oldest..newest).find(|from| !steps.contains_key(from)) {
            Some(from) => Err(SetupError::Gap { event, from }),
            None => Ok(Versions(Arc::new(Inner {
                codec: self.codec,
                steps,
                shape: self.shape,
                newer: self.newer,
            }))),
        }
    }
}

impl<E: Event> fmt::Debug for VersionsBuilder<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let from: Vec<u32> = self.steps.iter().map(|(from, _)| *from).collect();
        write!(f, "VersionsBuilder({} v{}, upcasters from {from:?})", E::TYPE, E::VERSION)
    }
}
