//! The receiving side: whether a request may be believed.

use base64::{Engine, engine::general_purpose::STANDARD};
use std::{sync::Arc, time::Duration};

use super::{
    BODY_LIMIT, ID_LIMIT, Secret, WebhookError,
    WebhookError::{BodyTooLarge, Malformed, Missing, NoMatch, TooNew, TooOld},
    is_id,
    secret::Tag,
    secrets,
};
use crate::{Error, Extract, clock::Clock, wire};

/// The specification's tolerance.
const TOLERANCE: Duration = Duration::from_secs(5 * 60);
/// Beyond a day the timestamp protects from nothing.
const TOLERANCE_LIMIT: Duration = Duration::from_secs(24 * 60 * 60);
/// Digits of the largest 64-bit number.
const TIMESTAMP_LIMIT: usize = 20;
/// Bytes of the signature header: room for 16 signatures of any version.
const HEADER_LIMIT: usize = 2_048;
/// Signatures in the header, of all versions together.
const SIGNATURES_LIMIT: usize = 16;

/// A request that was believed.
///
/// **Claim its id before you act on it.** The signature of a request that somebody saw stays good until
/// [`timestamp`](Self::timestamp) and the tolerance are over: at most twice the tolerance after it first came,
/// as the timestamp may lie ahead. An id that is remembered for less can be replayed. A sender that retries uses
/// the same id, for days; so an inbox, which remembers for long, serves both. The id is unique for its sender
/// alone: name the sender in the claim, and claim in the transaction of the effect.
///
/// ```
/// # use comms_core::{Delivery, Error, Message, clock::Clock, http::HeaderMap, webhooks};
/// # fn main() -> Result<(), Error> {
/// # let (secret, clock) = (webhooks::Secret::generate()?, Clock::system());
/// # let (mut headers, body) = (HeaderMap::new(), "{}");
/// # let sent = webhooks::Delivery::new("msg_1", body)?;
/// # webhooks::Signer::new([secret.clone()], clock.clone())?.attempt(&sent).inject(&mut headers)?;
/// # let verifier = webhooks::Verifier::new([secret], clock)?;
/// use comms_core::{Claim, idempotency::CallKey};
/// let verified = verifier.verify(&headers, body.as_bytes())?;
///
/// // An inbox: done, or done before.
/// let (subscriber, handler, source) = ("billing".into(), "webhook".into(), "webhook/shop".into());
/// let claim = Claim { subscriber, handler, source, id: verified.id.clone() };
/// // Or stored replies, where a repetition should get the same answer.
/// let key = CallKey::new("webhook/shop", "order.paid", &verified.id, body.as_bytes())?;
/// # assert_eq!((&*claim.id, &*key.key), ("msg_1", "msg_1"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verified {
    /// `webhook-id`: the same on every attempt; 1 to 255 visible ASCII characters.
    pub id: Arc<str>,
    /// When this attempt was signed, since 1970.
    pub timestamp: Duration,
}

/// Verifies the webhooks of one sender. Clones share nothing but their clock.
#[derive(Debug, Clone)]
pub struct Verifier {
    secrets: Vec<Secret>,
    tolerance: Duration,
    body_limit: usize,
    clock: Clock,
}

impl Verifier {
    /// Believes what was signed with any of `secrets` at most 5 minutes ago or ahead, with a body of at most
    /// [`BODY_LIMIT`].
    ///
    /// # Errors
    /// `Invalid` for no secret, or more than [`SECRETS_LIMIT`](super::SECRETS_LIMIT).
    pub fn new(secrets: impl IntoIterator<Item = Secret>, clock: Clock) -> Result<Self, Error> {
        Ok(Self { secrets: self::secrets(secrets)?, tolerance: TOLERANCE, body_limit: BODY_LIMIT, clock })
    }

    /// The same with another tolerance, for both directions of time.
    ///
    /// # Errors
    /// `Invalid` for less than a second, in which timestamps are counted, or more than a day.
    pub fn with_tolerance(self, tolerance: Duration) -> Result<Self, Error> {
        if !(Duration::from_secs(1)..=TOLERANCE_LIMIT).contains(&tolerance) {
            return Err(Error::invalid("the tolerance of webhooks is 1 s to 24 h"));
        }
        Ok(Self { tolerance, ..self })
    }

    /// The same with another limit of the body, in bytes.
    #[must_use]
    pub fn with_body_limit(self, body_limit: usize) -> Self {
        Self { body_limit, ..self }
    }

    /// Verifies a request: its headers, and its body byte by byte as it came. Of a header that is there more
    /// than once the carrier's one counts: the first in HTTP, the last in a message. Signatures of versions
    /// other than `v1` are ignored.
    ///
    /// # Errors
    /// [`WebhookError`] says what is wrong. Nothing of the request may then be believed.
    pub fn verify<C>(&self, headers: &C, body: &[u8]) -> Result<Verified, WebhookError>
    where
        C: Extract + ?Sized,
    {
        let id = header(headers, wire::WEBHOOK_ID, ID_LIMIT)?;
        let digits = header(headers, wire::WEBHOOK_TIMESTAMP, TIMESTAMP_LIMIT)?;
        let signatures = header(headers, wire::WEBHOOK_SIGNATURE, HEADER_LIMIT)?;
        let timestamp = seconds(digits).ok_or(Malformed(wire::WEBHOOK_TIMESTAMP))?;
        let candidates = candidates(signatures)?;
        if !is_id(id.as_bytes()) {
            return Err(Malformed(wire::WEBHOOK_ID));
        }
        if body.len() > self.body_limit {
            return Err(BodyTooLarge { size: body.len(), limit: self.body_limit });
        }
        self.check_time(timestamp)?;
        let tag = |secret: &Secret| secret.tag(id.as_bytes(), digits.as_bytes(), body);
        let expected: Vec<Tag> = self.secrets.iter().map(tag).collect();
        if !any_of_all(&expected, &candidates, Tag::eq) {
            return Err(NoMatch);
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

/// The header `name`: ASCII text of 1 to `limit` bytes.
fn header<'a, C>(headers: &'a C, name: &'static str, limit: usize) -> Result<&'a str, WebhookError>
where
    C: Extract + ?Sized,
{
    let value = headers.extract(name).ok_or(Missing(name))?;
    let fits = (1..=limit).contains(&value.len()) && value.is_ascii();
    std::str::from_utf8(value).ok().filter(|_| fits).ok_or(Malformed(name))
}

/// Digits alone: what else reads as a number was not signed by this specification.
fn seconds(digits: &str) -> Option<Duration> {
    let plain = digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse().ok().filter(|_| plain).map(Duration::from_secs)
}

/// The well-formed `v1` signatures of the header.
fn candidates(signatures: &str) -> Result<Vec<Tag>, WebhookError> {
    if signatures.split(' ').count() > SIGNATURES_LIMIT {
        return Err(Malformed(wire::WEBHOOK_SIGNATURE));
    }
    Ok(signatures.split(' ').filter_map(candidate).collect())
}

fn candidate(signature: &str) -> Option<Tag> {
    let bytes = STANDARD.decode(signature.strip_prefix("v1,")?).ok()?;
    let tag: [u8; 32] = bytes.try_into().ok()?;
    Some(Tag::new(tag.into()))
}

/// Whether any candidate equals any of what is expected. All pairs are compared, whichever fits: the time it
/// takes tells nothing.
pub(super) fn any_of_all<T>(expected: &[T], candidates: &[T], equal: impl Fn(&T, &T) -> bool) -> bool {
    let mut found = false;
    for candidate in candidates {
        for tag in expected {
            found |= equal(tag, candidate);
        }
    }
    found
}
