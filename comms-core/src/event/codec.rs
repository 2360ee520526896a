//! Encoding and decoding of event payloads.

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::Error;

/// Encodes and decodes events of type `E`.
///
/// A codec may serve one event type or many; [`Json`] serves every serde type. Implement the trait for Protobuf, Avro
/// or another encoding. The methods [`raw`](Self::raw) and [`decode_raw`](Self::decode_raw) are needed only for events
/// with upcasters. The trait is dyn-compatible.
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
    /// Returns the media type of the payload, for the `content-type` header.
    fn content_type(&self) -> &'static str;

    /// Encodes `event` as a payload.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if the event cannot be encoded.
    fn encode(&self, event: &E) -> Result<Bytes, Error>;

    /// Decodes a payload of the newest version.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if the payload does not encode an `E`.
    fn decode(&self, payload: &[u8]) -> Result<E, Error>;

    /// Decodes a payload of any version into the raw form, on which upcasters work. The default reads JSON.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if the payload has no raw form. The default returns it
    /// for a payload that is not JSON.
    fn raw(&self, payload: &[u8]) -> Result<Value, Error> {
        serde_json::from_slice(payload).map_err(Error::invalid)
    }

    /// Decodes an event from the raw form of the newest version. The default always fails.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if the raw form does not represent an `E`. The default
    /// returns it for every value.
    fn decode_raw(&self, _value: Value) -> Result<E, Error> {
        let content_type = self.content_type();
        let text = format!(
            "the codec of {content_type} does not implement Codec::decode_raw, which events with upcasters need"
        );
        Err(Error::invalid(text))
    }
}

/// The JSON codec (RFC 8259) for every serde type; [`EventSource::message`](super::EventSource::message) uses it.
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
