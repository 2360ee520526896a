//! Typed events: a name with a major version, a key, and a payload.

use serde::{Serialize, de::DeserializeOwned};

use crate::{Error, Message};

/// A fact other services may rely on. Small on purpose: the encoding and the schema stand apart.
///
/// ```
/// use comms_core::{Event, event};
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct OrderPlaced { order_id: String }
/// impl Event for OrderPlaced {
///     const TYPE: &'static str = "order.placed";
///     const VERSION: u32 = 1;
///     fn key(&self) -> String { self.order_id.clone() }
/// }
/// assert_eq!(event::type_name::<OrderPlaced>(), "order.placed.v1");
/// ```
pub trait Event: Serialize + DeserializeOwned + Send + 'static {
    /// Name without version, dot-separated: `order.status.changed`. Also the default destination.
    const TYPE: &'static str;
    /// Major version: a change that old readers cannot follow makes a new one.
    const VERSION: u32;
    /// Events of one key keep their order: the id of what the event is about.
    fn key(&self) -> String;
}

/// The type name on the wire: `order.status.changed.v1`.
#[must_use]
pub fn type_name<E: Event>() -> String {
    format!("{}.v{}", E::TYPE, E::VERSION)
}

/// Whether `message` announces an `E` of this version.
#[must_use]
pub fn is<E: Event>(message: &Message) -> bool {
    message
        .event_type()
        .and_then(|t| t.strip_prefix(E::TYPE))
        .and_then(|t| t.strip_prefix(".v"))
        .is_some_and(|v| v.parse() == Ok(E::VERSION))
}

/// Decodes the payload of `message`.
///
/// # Errors
/// `Invalid` where there is no payload or it is not an `E`: it will not become one.
pub fn decode<E: Event>(message: &Message) -> Result<E, Error> {
    let payload =
        message.payload.as_ref().ok_or_else(|| Error::invalid("a tombstone where an event is due"))?;
    serde_json::from_slice(payload).map_err(|e| Error::invalid(e).context(format_args!("decode {}", E::TYPE)))
}
