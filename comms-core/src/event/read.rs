//! Reading an event from a message.

use serde::{Serialize, de::DeserializeOwned};

use super::{
    Codec, Event, Json, NewerVersion,
    definition::{assert_valid, split_type},
    type_header::{announced_version, check_supported},
};
use crate::{Error, Message, wire};

/// Returns whether `message` announces an `E` of exactly [`Event::VERSION`].
///
/// A consumer that skips every message for which `is` returns false loses the other versions of `E` silently. Use
/// [`read`], which reports them as errors.
#[must_use]
pub fn is<E: Event>(message: &Message) -> bool {
    const { assert_valid::<E>() }
    message.event_type().and_then(split_type) == Some((E::TYPE, E::VERSION))
}

/// Reads `message` as an `E` of [`Event::VERSION`] with a JSON payload.
///
/// Returns `None` if the message announces another event, or none. [`Versions::read`](super::Versions::read) also reads
/// older versions and other encodings.
///
/// # Errors
/// Returns [`ErrorKind::Misconfigured`](crate::ErrorKind::Misconfigured) if the message announces a newer version of
/// `E`: a consumer holds the delivery until a version that reads it is deployed.
///
/// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if
/// - the message announces an older version of `E`;
/// - the message announces `E` with a malformed version, or without one (`order.placed.v01`, `order.placed`);
/// - the `ce_type` header is not UTF-8;
/// - the message is a `CloudEvents` envelope in a format or mode that a consumer does not open;
/// - the message has no payload, or the payload does not decode.
pub fn read<E: Event + Serialize + DeserializeOwned>(message: &Message) -> Result<Option<E>, Error> {
    const { assert_valid::<E>() }
    let Some(version) = announced_version(message, E::TYPE)? else { return Ok(None) };
    check_supported::<E>(version, E::VERSION, NewerVersion::Hold)?;
    decode(message).map(Some)
}

/// Decodes the JSON payload of `message` as an `E`, without a check of the type that the message announces.
///
/// [`read`] checks the type. [`Versions::decode`](super::Versions::decode) also decodes older versions and other
/// encodings.
///
/// # Errors
/// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if the message has no payload, or the payload does not
/// decode.
pub fn decode<E: Event + Serialize + DeserializeOwned>(message: &Message) -> Result<E, Error> {
    decode_with(&Json, message)
}

pub(super) fn decode_with<E: Event>(codec: &dyn Codec<E>, message: &Message) -> Result<E, Error> {
    codec.decode(payload_of(message)?).map_err(|e| with_decode_context::<E>(e, message))
}

pub(super) fn payload_of(message: &Message) -> Result<&[u8], Error> {
    message
        .payload()
        .ok_or_else(|| Error::invalid("the message has no payload (a tombstone), so no event can be decoded"))
}

/// Adds the event's name and the content type to `error`: the usual cause of a failed decode is the wrong codec.
pub(super) fn with_decode_context<E: Event>(error: Error, message: &Message) -> Error {
    let content = message.headers().text(wire::CONTENT_TYPE).unwrap_or("no content type");
    error.context(format_args!("decode {} ({content})", E::TYPE))
}
