//! Which version of an event a message announces, and what becomes of a version that a reader does not read.

use std::str;

use super::Event;
use crate::{Error, Message, wire};

/// The media types of CloudEvents envelopes begin so: structured and batched mode.
const ENVELOPE: &str = "application/cloudevents";

/// What a consumer does with a version of its event that is newer than every version it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum NewerVersion {
    /// Hold the delivery, uncounted, until a consumer that reads the version is deployed. The default.
    #[default]
    Hold,
    /// Dead-letter the delivery, to be replayed after a consumer that reads the version is deployed.
    DeadLetter,
}

/// The text of the `ce_type` header; `None` for a message without one, which announces no event.
///
/// # Errors
/// Returns `Invalid` if the header is not UTF-8, or if the message is a CloudEvents envelope that is still closed.
pub(super) fn type_of(message: &Message) -> Result<Option<&str>, Error> {
    if let Some(found) = message.headers.get(wire::CE_TYPE) {
        return str::from_utf8(found)
            .map(Some)
            .map_err(|_| Error::invalid("the ce_type header is not UTF-8"));
    }
    match message.headers.text(wire::CONTENT_TYPE).filter(|media| is_envelope(media)) {
        Some(media) => Err(Error::invalid(format!(
            "a CloudEvents envelope of {media:?}: a consumer decodes one event a record, in application/cloudevents+json"
        ))),
        None => Ok(None),
    }
}

/// Whether `media` is the media type of CloudEvents in structured or batched mode, in whatever format.
pub(crate) fn is_envelope(media: &str) -> bool {
    media.trim_start().get(..ENVELOPE.len()).is_some_and(|start| start.eq_ignore_ascii_case(ENVELOPE))
}

/// The version of the event `name` that `message` announces; `None` for another event. A number beyond `u32` is
/// `u32::MAX`.
///
/// # Errors
/// Returns `Invalid` if the message announces `name` without a version, or with a version that is no number
/// from 1 without sign and leading zero: no deployment will read it.
pub(super) fn version_of(message: &Message, name: &str) -> Result<Option<u32>, Error> {
    let Some(found) = type_of(message)? else { return Ok(None) };
    let malformed = || {
        let text =
            format!("the event type {found:?} has no version that can be read: send {name}.v1, {name}.v2, …");
        Err(Error::invalid(text))
    };
    match found.rsplit_once(".v") {
        _ if found == name => malformed(),
        Some((base, version)) if base == name && is_number(version) => {
            Ok(Some(version.parse().unwrap_or(u32::MAX)))
        }
        Some((base, rest)) if base == name && !is_word(rest) => malformed(),
        _ => Ok(None),
    }
}

/// The one spelling of a version: decimal, from 1, without sign and leading zero.
pub(super) fn is_number(version: &str) -> bool {
    !version.is_empty() && version.bytes().all(|b| b.is_ascii_digit()) && !version.starts_with('0')
}

/// `oid` of `order.placed.void`: part of another event's name, where `X`, `01` or `2beta` is meant as a version.
fn is_word(rest: &str) -> bool {
    rest.len() > 1
        && rest.starts_with(|c: char| c.is_ascii_lowercase())
        && rest.bytes().all(|b| b.is_ascii_lowercase() || b"._-".contains(&b) || b.is_ascii_digit())
}

/// Refuses a `version` that is not from `oldest` to the newest of `E`.
///
/// # Errors
/// For a newer version, returns `Misconfigured` or `Invalid` as `newer` sets; for an older one, `Invalid`.
pub(super) fn known<E: Event>(version: u32, oldest: u32, newer: NewerVersion) -> Result<(), Error> {
    let (name, newest) = (E::TYPE, E::VERSION);
    if version > newest {
        let text =
            format!("{name}.v{version} is newer than v{newest}, the newest version that this consumer reads");
        return Err(match newer {
            NewerVersion::Hold => Error::misconfigured(format!("{text}: deploy a consumer that reads it")),
            NewerVersion::DeadLetter => {
                Error::invalid(format!("{text}: deploy a consumer that reads it, then replay"))
            }
        });
    }
    if version < oldest {
        let text =
            format!("{name}.v{version} is older than v{oldest}, the oldest version that this consumer reads");
        return Err(Error::invalid(format!("{text}: add its upcaster (Versions), then replay")));
    }
    Ok(())
}
