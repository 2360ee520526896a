//! Typed events: a name with a major version, a key, and a payload.
//!
//! An [`Event`] says only what it is. What else an application knows about it stands apart: how it is encoded
//! ([`Codec`]), how its older versions are read ([`Versions`]), what it looks like ([`Schema`]), which events
//! there are ([`Registry`]), and whether a change of one breaks somebody ([`compat`], [`Golden`]).

mod announced;
mod codec;
pub mod compat;
mod golden;
mod registry;
mod schema;
mod setup_error;
mod source;
mod versions;

pub use announced::NewerVersion;
pub(crate) use announced::is_envelope;
pub use codec::{Codec, Json};
pub use golden::Golden;
pub use registry::{AnyEvent, Decoded, Description, Registry};
pub use schema::{Field, Record, Schema, Shape};
pub use setup_error::SetupError;
pub use source::EventSource;
pub use versions::{Versions, VersionsBuilder};

use serde::{Serialize, de::DeserializeOwned};

use crate::{Error, Message, wire};

/// A fact other services may rely on. Small on purpose: the encoding and the schema stand apart.
///
/// ```
/// use comms_core::event::{self, Event};
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct OrderPlaced { order_id: String }
/// impl Event for OrderPlaced {
///     const TYPE: &'static str = "order.placed";
///     const VERSION: u32 = 1;
///     fn key(&self) -> String { self.order_id.clone() }
/// }
/// assert_eq!(event::type_name::<OrderPlaced>(), "order.placed.v1");
/// ```
pub trait Event: Send + 'static {
    /// Name without version, dot-separated, of visible ASCII: `order.status.changed`. Also the default topic.
    const TYPE: &'static str;
    /// Major version, from 1: a change that old readers cannot follow makes a new one.
    const VERSION: u32;
    /// Events of one key keep their order: the id of what the event is about.
    fn key(&self) -> String;
}

/// Whether a type name on the wire can be made of these, and be read again.
const fn is_named(name: &str, version: u32) -> bool {
    let (mut rest, mut visible) = (name.as_bytes(), !name.is_empty());
    while let [byte, tail @ ..] = rest {
        (rest, visible) = (tail, visible && byte.is_ascii_graphic());
    }
    visible && version > 0
}

/// A message that nobody would know again is refused by the compiler.
const fn check<E: Event>() {
    assert!(is_named(E::TYPE, E::VERSION), "an event's TYPE is visible ASCII, its VERSION counts from 1");
}

/// The type name on the wire: `order.status.changed.v1`. An event without a name, or of version 0, does not compile:
///
/// ```compile_fail
/// struct Placed;
/// impl comms_core::event::Event for Placed {
///     const TYPE: &'static str = "order.placed";
///     const VERSION: u32 = 0;
///     fn key(&self) -> String { String::new() }
/// }
/// comms_core::event::type_name::<Placed>();
/// ```
#[must_use]
pub fn type_name<E: Event>() -> String {
    const { check::<E>() }
    format!("{}.v{}", E::TYPE, E::VERSION)
}

/// Name and major version of a type name on the wire: `order.placed.v2` is (`order.placed`, 2). `None` for
/// a name that does not end so; the number has one spelling (no sign, no leading zero).
#[must_use]
pub fn split_type(type_name: &str) -> Option<(&str, u32)> {
    let (name, version) = type_name.rsplit_once(".v")?;
    if name.is_empty() || !announced::is_number(version) {
        return None;
    }
    Some((name, version.parse().ok()?))
}

/// Whether `message` announces an `E` of this very version. A consumer uses [`read`], which reports the other
/// versions of `E`; a consumer that skips what is not `is` loses them silently.
#[must_use]
pub fn is<E: Event>(message: &Message) -> bool {
    const { check::<E>() }
    message.event_type().and_then(split_type) == Some((E::TYPE, E::VERSION))
}

/// Reads `message` as an `E` of this version in JSON; `None` for a message that announces another event, or none.
/// [`Versions::read`] reads older versions and other encodings as well.
///
/// # Errors
/// Returns [`Misconfigured`](crate::ErrorKind::Misconfigured) if the message announces a newer version of `E`: a
/// consumer holds it until the version that reads it is deployed. Returns [`Invalid`](crate::ErrorKind::Invalid) if
/// it announces an older version, or one that is no version (`order.placed`, `order.placed.v01`), if it is a
/// CloudEvents envelope that no consumer could open, and if it has no payload or does not decode.
pub fn read<E: Event + Serialize + DeserializeOwned>(message: &Message) -> Result<Option<E>, Error> {
    const { check::<E>() }
    let Some(version) = announced::version_of(message, E::TYPE)? else { return Ok(None) };
    announced::known::<E>(version, E::VERSION, NewerVersion::Hold)?;
    decode(message).map(Some)
}

/// Decodes the JSON payload of `message` as an `E` of this version, whatever type the message announces: [`read`]
/// checks that. [`Versions::decode`] decodes older versions and other encodings as well.
///
/// # Errors
/// `Invalid` where there is no payload or it is not an `E`: it will not become one.
pub fn decode<E: Event + Serialize + DeserializeOwned>(message: &Message) -> Result<E, Error> {
    decode_with(&Json, message)
}

fn decode_with<E: Event>(codec: &dyn Codec<E>, message: &Message) -> Result<E, Error> {
    codec.decode(payload_of(message)?).map_err(|e| explain::<E>(e, message))
}

fn payload_of(message: &Message) -> Result<&[u8], Error> {
    message.payload.as_deref().ok_or_else(|| Error::invalid("a tombstone where an event is due"))
}

/// Says what was decoded, and of which content type: a wrong codec is the likeliest cause.
fn explain<E: Event>(error: Error, message: &Message) -> Error {
    let content = message.headers.text(wire::CONTENT_TYPE).unwrap_or("no content type");
    error.context(format_args!("decode {} ({content})", E::TYPE))
}

#[cfg(test)]
mod tests;
