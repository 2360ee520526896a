//! The `ce_type` header: the event and the version that a message announces.

use std::str;

use super::{Event, definition::is_version_number};
use crate::{Error, Message, wire};

/// The prefix of the media types of CloudEvents envelopes, in structured and in batched mode.
const ENVELOPE_PREFIX: &str = "application/cloudevents";

/// How a consumer treats a version of its event that is newer than every version it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum NewerVersion {
    /// Hold the delivery until a consumer that reads the version is deployed. No attempt is counted. The default.
    #[default]
    Hold,
    /// Dead-letter the delivery, for a replay after a consumer that reads the version is deployed.
    DeadLetter,
}

/// Returns the version of the event `name` that `message` announces, or `None` for another event. A number above
/// `u32::MAX` gives `u32::MAX`.
///
/// # Errors
/// Returns `Invalid` if the message announces `name` without a version or with a malformed version, and for the errors
/// of [`announced_type`].
pub(super) fn announced_version(message: &Message, name: &str) -> Result<Option<u32>, Error> {
    let Some(announced) = announced_type(message)? else { return Ok(None) };
    let malformed = || {
        let text = format!("the event type {announced:?} has no valid version: send {name}.v1, {name}.v2, …");
        Err(Error::invalid(text))
    };
    match announced.rsplit_once(".v") {
        _ if announced == name => malformed(),
        Some((base, version)) if base == name && is_version_number(version) => {
            Ok(Some(version.parse().unwrap_or(u32::MAX)))
        }
        Some((base, rest)) if base == name && !is_name_part(rest) => malformed(),
        _ => Ok(None),
    }
}

/// Returns the text of the `ce_type` header, or `None` for a message without the header, which announces no event.
///
/// # Errors
/// Returns `Invalid` if the header is not UTF-8, or if the header is missing and the payload is a CloudEvents envelope.
pub(super) fn announced_type(message: &Message) -> Result<Option<&str>, Error> {
    if let Some(header) = message.headers().get(wire::CE_TYPE) {
        return str::from_utf8(header)
            .map(Some)
            .map_err(|_| Error::invalid("the ce_type header is not UTF-8"));
    }
    match message.headers().text(wire::CONTENT_TYPE).filter(|media_type| is_envelope(media_type)) {
        Some(media_type) => Err(Error::invalid(format!(
            "the message is a CloudEvents envelope of media type {media_type:?}, which consumers do not decode: send \
             one event per message, as application/cloudevents+json"
        ))),
        None => Ok(None),
    }
}

/// Returns whether `media_type` is that of a CloudEvents envelope, in structured or batched mode and in any format.
pub(crate) fn is_envelope(media_type: &str) -> bool {
    let prefix = media_type.trim_start().get(..ENVELOPE_PREFIX.len());
    prefix.is_some_and(|prefix| prefix.eq_ignore_ascii_case(ENVELOPE_PREFIX))
}

/// Returns whether the text after `.v` continues another event's name, as `oid` in `order.placed.void` does. `X`, `01`
/// and `2beta` are malformed versions.
fn is_name_part(rest: &str) -> bool {
    rest.len() > 1
        && rest.starts_with(|c: char| c.is_ascii_lowercase())
        && rest.bytes().all(|b| b.is_ascii_lowercase() || b"._-".contains(&b) || b.is_ascii_digit())
}

/// Checks that `version` lies between `oldest` and [`Event::VERSION`], both included.
///
/// # Errors
/// Returns `Misconfigured` ([`NewerVersion::Hold`]) or `Invalid` ([`NewerVersion::DeadLetter`]) for a newer version,
/// and `Invalid` for an older one.
pub(super) fn check_supported<E: Event>(version: u32, oldest: u32, newer: NewerVersion) -> Result<(), Error> {
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
