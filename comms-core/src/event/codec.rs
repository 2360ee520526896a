//! How an event becomes bytes.

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::Error;

/// Encodes and decodes events of one type, or of many ([`Json`] does every serde type). Dyn-compatible.
///
/// Implement it for Protobuf, Avro or what you have; the two methods of the raw form are needed only where an
/// event in this encoding has upcasters.
///
/// ```
/// use comms_core::{Error, bytes::Bytes, event::Codec};
/// struct Ping(u32);
/// struct BigEndian;
/// impl Codec<Ping> for BigEndian {
///     fn content_type(&self) -> &'static str { "application/octet-stream" }
///     fn encode(&self, event: &Ping) -> Result<Bytes, Error> {
///         Ok(Bytes::copy_from_slice(&event.0.to_be_bytes()))
///     }
///     fn decode(&self, payload: &[u8]) -> Result<Ping, Error> {
///         payload.try_into().map(|b| Ping(u32::from_be_bytes(b))).map_err(Error::invalid)
///     }
/// }
/// # fn main() -> Result<(), Error> {
/// let bytes = BigEndian.encode(&Ping(7))?;
/// assert_eq!(BigEndian.decode(&bytes)?.0, 7);
/// # Ok(())
/// # }
/// ```
pub trait Codec<E>: Send + Sync + 'static {
    /// The media type of the payload, for the `content-type` header.
    fn content_type(&self) -> &'static str;

    /// The payload of `event`.
    ///
    /// # Errors
    /// `Invalid` where it cannot be encoded.
    fn encode(&self, event: &E) -> Result<Bytes, Error>;

    /// The event of `payload`.
    ///
    /// # Errors
    /// `Invalid` where it is not one.
    fn decode(&self, payload: &[u8]) -> Result<E, Error>;

    /// The raw form of a payload of any version, which upcasters work on. By default it is JSON.
    ///
    /// # Errors
    /// `Invalid` where it cannot be read.
    fn raw(&self, payload: &[u8]) -> Result<Value, Error> {
        serde_json::from_slice(payload).map_err(Error::invalid)
    }

    /// The event of a raw form of the newest version.
    ///
    /// # Errors
    /// `Invalid` where it is not one; by default always.
    fn decode_raw(&self, _value: Value) -> Result<E, Error> {
        let content_type = self.content_type();
        let text = format!("upcasters need Codec::decode_raw, which the codec of {content_type} has not");
        Err(Error::invalid(text))
    }
}

/// The JSON encoding (RFC 8259) of every serde type; the encoding of [`EventSource::message`](super::EventSource::message).
#[derive(Debug, Clone, Copy, Default)]
pub struct Json;

impl<E: Serialize + DeserializeOwned> Codec<E> for Json {
    fn content_type(&self) -> &'static str {
        "application/json"
    }

    fn encode(&self, event: &E) -> Result<Bytes, Error> {
        serde_json::to_vec(event).map(Bytes::from).map_err(Error::invalid)
    }

    fn decode(&self, payload: &[u8]) -> Result<E, Error> {
        serde_json::from_slice(payload).map_err(Error::invalid)
    }

    fn decode_raw(&self, value: Value) -> Result<E, Error> {
        serde_json::from_value(value).map_err(Error::invalid)
    }
}
