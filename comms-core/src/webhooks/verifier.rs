//! The receiver: verification of a request's signature.

use base64::{Engine, engine::general_purpose::STANDARD};
use std::{sync::Arc, time::Duration};

use super::{
    BODY_LIMIT, ID_LIMIT, Secret, WebhookError,
    WebhookError::{BodyTooLarge, MalformedHeader, MissingHeader, SignatureMismatch, TooNew, TooOld},
    collect_secrets, is_id,
    secret::Tag,
};
use crate::{Error, Extract, clock::Clock, wire};

/// The default tolerance, by the specification.
const TOLERANCE: Duration = Duration::from_secs(5 * 60);
/// The maximum tolerance. With more than a day the timestamp would give no protection against replays.
const TOLERANCE_LIMIT: Duration = Duration::from_secs(24 * 60 * 60);
/// The maximum length of a timestamp: the digits of the largest 64-bit number.
const TIMESTAMP_LIMIT: usize = 20;
/// The maximum length of the signature header, in bytes: enough for 16 signatures of any version.
const HEADER_LIMIT: usize = 2_048;
/// The maximum number of signatures in the header, of all versions together.
const SIGNATURES_LIMIT: usize = 16;

/// A webhook whose signature was verified.
///
/// **Claim the id before you act on the webhook.** An observer can replay a request as long as its
/// [`timestamp`](Self::timestamp) is within the tolerance. The timestamp may be in the future, so this is up to twice
/// the tolerance after the first arrival: store the id for at least that long. A sender may retry with the same id for
/// days. An inbox stores ids for long enough for both. An id is unique only for its sender, so name the sender in the
/// claim, and claim in the transaction of the effect.
///
/// ```
/// # use comms_core::{Delivery, Error, Message, clock::Clock, http::HeaderMap, webhooks};
/// # fn main() -> Result<(), Error> {
/// # let (secret, clock) = (webhooks::Secret::generate()?, Clock::system());
/// # let (mut headers, body) = (HeaderMap::new(), "{}");
/// # let sent = webhooks::Delivery::new("msg_1", body)?;
/// # webhooks::Signer::new([secret.clone()], clock.clone())?.sign(&sent).inject(&mut headers)?;
/// # let verifier = webhooks::Verifier::new([secret], clock)?;
/// use comms_core::{Claim, idempotency::CallKey};
/// let verified = verifier.verify(&headers, body.as_bytes())?;
///
/// // For an inbox, which detects a repetition.
/// let (subscriber, handler, source) = ("billing".into(), "webhook".into(), "webhook/shop".into());
/// let claim = Claim { subscriber, handler, source, id: verified.id.clone() };
/// # assert_eq!(&*claim.id, "msg_1");
/// # #[cfg(feature = "fingerprint")] {
/// // For stored replies, if a repetition must get the same response.
/// let key = CallKey::new("webhook/shop", "order.paid", &verified.id, body.as_bytes())?;
/// # assert_eq!(&*key.key, "msg_1");
/// # }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verified {
    /// The header `webhook-id`, the same in every attempt: 1 to 255 visible ASCII characters.
    pub id: Arc<str>,
    /// The time at which this attempt was signed, since 1970.
    pub timestamp: Duration,
}

/// Verifies the webhooks of one sender.
///
/// A verified request can still be a repetition: claim [`Verified::id`] before you act on the webhook. Defaults: a
/// tolerance of 5 minutes, and bodies of at most [`BODY_LIMIT`] bytes. Clones share the clock. The [module](super) has
/// an example.
#[derive(Debug, Clone)]
pub struct Verifier {
    secrets: Vec<Secret>,
    tolerance: Duration,
    body_limit: usize,
    clock: Clock,
}

impl Verifier {
    /// Creates a verifier that accepts signatures under any of `secrets`, timestamps up to 5 minutes in the past or the
    /// future, and bodies of at most [`BODY_LIMIT`] bytes.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for no secret and for more than
    /// [`SECRETS_LIMIT`](super::SECRETS_LIMIT).
    pub fn new(secrets: impl IntoIterator<Item = Secret>, clock: Clock) -> Result<Self, Error> {
        Ok(Self { secrets: collect_secrets(secrets)?, tolerance: TOLERANCE, body_limit: BODY_LIMIT, clock })
    }

    /// Sets the tolerance: the maximum difference between the timestamp and the clock, in the past and in the future.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for less than 1 s, which is the unit of timestamps,
    /// and for more than 24 h.
    pub fn with_tolerance(self, tolerance: Duration) -> Result<Self, Error> {
        if !(Duration::from_secs(1)..=TOLERANCE_LIMIT).contains(&tolerance) {
            return Err(Error::invalid("the tolerance of a webhook verifier must be 1 s to 24 h"));
        }
        Ok(Self { tolerance, ..self })
    }

    /// Sets the maximum size of a body, in bytes.
    #[must_use]
    pub fn with_body_limit(self, body_limit: usize) -> Self {
        Self { body_limit, ..self }
    }

    /// Verifies the signature of a request. `body` must be the bytes as they were received.
    ///
    /// Of a repeated header, the value that `headers` extracts counts: the first one in HTTP, the last one in a
    /// message. Signatures of versions other than `v1` are ignored.
    ///
    /// # Errors
    /// Returns
    /// - [`WebhookError::MissingHeader`] if one of the three headers is missing;
    /// - [`WebhookError::MalformedHeader`] if a header is too long or has an invalid value;
    /// - [`WebhookError::BodyTooLarge`] if the body is over the limit;
    /// - [`WebhookError::TooOld`] or [`WebhookError::TooNew`] if the timestamp is outside the tolerance;
    /// - [`WebhookError::SignatureMismatch`] if no signature matches.
    pub fn verify<C>(&self, headers: &C, body: &[u8]) -> Result<Verified, WebhookError>
    where
        C: Extract + ?Sized,
    {
        let id = header(headers, wire::WEBHOOK_ID, ID_LIMIT)?;
        let digits = header(headers, wire::WEBHOOK_TIMESTAMP, TIMESTAMP_LIMIT)?;
        let signatures = header(headers, wire::WEBHOOK_SIGNATURE, HEADER_LIMIT)?;
        let timestamp = parse_seconds(digits).ok_or(MalformedHeader(wire::WEBHOOK_TIMESTAMP))?;
        let candidates = parse_signatures(signatures)?;
        if !is_id(id.as_bytes()) {
            return Err(MalformedHeader(wire::WEBHOOK_ID));
        }
        if body.len() > self.body_limit {
            return Err(BodyTooLarge { size: body.len(), limit: self.body_limit });
        }
        self.check_time(timestamp)?;
        let tag = |secret: &Secret| secret.tag(id.as_bytes(), digits.as_bytes(), body);
        let expected: Vec<Tag> = self.secrets.iter().map(tag).collect();
        if !any_of_all(&expected, &candidates, Tag::eq) {
            return Err(SignatureMismatch);
        }
        Ok(Verified { id: id.into(), timestamp })
    }

    fn check_time(&self, timestamp: Duration) -> Result<(), WebhookError> {
        let (now, tolerance) = (self.clock.unix(), self.tolerance);
        let (age, ahead) = (now.saturating_sub(timestamp), timestamp.saturating_sub(now));
        if age > tolerance {
            return Err(TooOld { age, tolerance });
        }
        if ahead > tolerance {
            return Err(TooNew { ahead, tolerance });
        }
        Ok(())
    }
}

/// Returns the header `name`, which must be ASCII text of 1 to `limit` bytes.
fn header<'a, C>(headers: &'a C, name: &'static str, limit: usize) -> Result<&'a str, WebhookError>
where
    C: Extract + ?Sized,
{
    let value = headers.extract(name).ok_or(MissingHeader(name))?;
    let fits = (1..=limit).contains(&value.len()) && value.is_ascii();
    std::str::from_utf8(value).ok().filter(|_| fits).ok_or(MalformedHeader(name))
}

/// Parses a timestamp of digits alone: the specification allows no other form of a number.
fn parse_seconds(digits: &str) -> Option<Duration> {
    let plain = digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse().ok().filter(|_| plain).map(Duration::from_secs)
}

/// Returns the well-formed `v1` signatures of the header.
fn parse_signatures(signatures: &str) -> Result<Vec<Tag>, WebhookError> {
    if signatures.split(' ').count() > SIGNATURES_LIMIT {
        return Err(MalformedHeader(wire::WEBHOOK_SIGNATURE));
    }
    Ok(signatures.split(' ').filter_map(parse_signature).collect())
}

fn parse_signature(signature: &str) -> Option<Tag> {
    let bytes = STANDARD.decode(signature.strip_prefix("v1,")?).ok()?;
    let tag: [u8; 32] = bytes.try_into().ok()?;
    Some(Tag::new(tag.into()))
}

/// Returns whether any candidate equals any expected value. Compares all pairs, so that the time does not depend on
/// which pair matches.
pub(super) fn any_of_all<T>(expected: &[T], candidates: &[T], equal: impl Fn(&T, &T) -> bool) -> bool {
    let mut found = false;
    for candidate in candidates {
        for tag in expected {
            found |= equal(tag, candidate);
        }
    }
    found
}
