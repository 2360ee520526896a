//! The versions of an event, and how each becomes the newest.
//!
//! The problem: a topic keeps for years what was written by code that is gone. The answer: an old payload is
//! lifted step by step (v1 to v2, v2 to v3) in its raw form, and decoded once, as the newest type. Handlers know
//! one type only.

use std::{collections::BTreeMap, fmt, sync::Arc};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    Codec, Event, EventSource, Json, NewerVersion, Schema, SetupError, Shape, announced, decode_with,
    explain, payload_of,
};
use crate::{Error, Message};

type Upcast = Box<dyn Fn(Value) -> Result<Value, Error> + Send + Sync>;

/// Reads an event in every version an application knows, and writes the newest. Cheap to clone.
///
/// The guarantee: what [`decode`](Self::decode) returns was whole in the version it was written in, and went
/// through every step up to [`Event::VERSION`]. A version newer than that is refused, never half read.
///
/// ```
/// use comms_core::{Error, Message, clock::Clock, event::{Event, EventSource, Versions}};
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
/// let mut message = EventSource::new("shop", Clock::system()).message(&new)?;
/// message.headers.insert("ce_type", "order.placed.v1");
/// message.payload = Some(r#"{"order_id":"7"}"#.into());
/// assert_eq!(versions.decode(&message)?.currency, "EUR");
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
    /// Begins the versions of a JSON event.
    #[must_use]
    pub fn json() -> VersionsBuilder<E> {
        Self::of(Json)
    }
}

impl<E: Event> Versions<E> {
    /// Begins the versions of an event in the encoding of `codec`.
    #[must_use]
    pub fn of(codec: impl Codec<E>) -> VersionsBuilder<E> {
        VersionsBuilder {
            codec: Box::new(codec),
            steps: Vec::new(),
            shape: None,
            newer: NewerVersion::default(),
        }
    }

    /// Whether `message` announces this event, in whatever version, also one that cannot be read: [`read`](Self::read)
    /// and [`decode`](Self::decode) return the error then.
    #[must_use]
    pub fn matches(&self, message: &Message) -> bool {
        !matches!(announced::version_of(message, E::TYPE), Ok(None))
    }

    /// Reads `message` as the newest version; `None` for a message that announces another event, or none.
    ///
    /// # Errors
    /// Returns `Misconfigured` or `Invalid` for a newer version, as [`VersionsBuilder::newer`] sets. Returns `Invalid`
    /// for a version older than [`oldest`](Self::oldest), a version that is no number, a CloudEvents envelope that no
    /// consumer could open, a missing payload and one that does not decode. Returns what an upcaster returns.
    pub fn read(&self, message: &Message) -> Result<Option<E>, Error> {
        let Some(version) = announced::version_of(message, E::TYPE)? else { return Ok(None) };
        if version == E::VERSION {
            return decode_with(&*self.0.codec, message).map(Some);
        }
        self.known(version)?;
        self.lift(version, payload_of(message)?).map_err(|e| explain::<E>(e, message)).map(Some)
    }

    /// The event of `message`, which may be of any version from [`oldest`](Self::oldest) on.
    ///
    /// # Errors
    /// As [`read`](Self::read); returns `Invalid` if the message announces another event.
    pub fn decode(&self, message: &Message) -> Result<E, Error> {
        self.read(message)?.ok_or_else(|| {
            let text = format!("{:?} where {} is due", message.event_type().unwrap_or(""), E::TYPE);
            Error::invalid(text)
        })
    }

    /// Lifts a raw payload of `version` to the newest.
    ///
    /// # Errors
    /// As [`read`](Self::read) for a version that is not read; what an upcaster returns.
    pub fn upcast(&self, version: u32, value: Value) -> Result<Value, Error> {
        self.known(version)?;
        let mut value = value;
        for (from, step) in self.0.steps.range(version..) {
            value = step(value).map_err(|e| e.context(format_args!("upcast v{from} to v{}", from + 1)))?;
        }
        Ok(value)
    }

    /// The message that announces `event`, in this encoding.
    ///
    /// # Errors
    /// `Invalid` where the event cannot be encoded.
    pub fn message(&self, source: &EventSource, event: &E) -> Result<Message, Error> {
        source.encode(event, &*self.0.codec)
    }

    /// The oldest version that is read.
    #[must_use]
    pub fn oldest(&self) -> u32 {
        self.0.steps.keys().next().copied().unwrap_or(E::VERSION)
    }

    /// What the newest version looks like, where it was said.
    #[must_use]
    pub fn shape(&self) -> Option<&Shape> {
        self.0.shape.as_ref()
    }

    /// The encoding.
    #[must_use]
    pub fn codec(&self) -> &dyn Codec<E> {
        &*self.0.codec
    }

    /// The event of a payload of `version`, by the raw form.
    pub(super) fn lift(&self, version: u32, payload: &[u8]) -> Result<E, Error> {
        let value = self.0.codec.raw(payload)?;
        self.0.codec.decode_raw(self.upcast(version, value)?)
    }

    fn known(&self, version: u32) -> Result<(), Error> {
        announced::known::<E>(version, self.oldest(), self.0.newer)
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

/// Collects what [`Versions`] are made of; the order of the calls does not matter.
pub struct VersionsBuilder<E> {
    codec: Box<dyn Codec<E>>,
    steps: Vec<(u32, Upcast)>,
    shape: Option<Shape>,
    newer: NewerVersion,
}

impl<E: Event> VersionsBuilder<E> {
    /// Adds the step that makes version `from + 1` of a raw payload of version `from`. It must be a pure
    /// function: a redelivery runs it again. An error of its own is best `Invalid`.
    #[must_use]
    pub fn upcast(
        mut self,
        from: u32,
        step: impl Fn(Value) -> Result<Value, Error> + Send + Sync + 'static,
    ) -> Self {
        self.steps.push((from, Box::new(step)));
        self
    }

    /// Sets what a consumer does with a version newer than [`Event::VERSION`]. Default [`NewerVersion::Hold`].
    #[must_use]
    pub fn newer(self, newer: NewerVersion) -> Self {
        Self { newer, ..self }
    }

    /// Takes the schema that the event gives of itself.
    #[must_use]
    pub fn described(mut self) -> Self
    where
        E: Schema,
    {
        self.shape = Some(E::shape());
        self
    }

    /// Checks that the steps lead from the oldest version to [`Event::VERSION`] without gap.
    ///
    /// # Errors
    /// [`SetupError`] where they do not.
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
