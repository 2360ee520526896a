//! The sending side: what is delivered, and the headers of one attempt.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use std::{sync::Arc, time::Duration};

use super::{BODY_LIMIT, ID_LIMIT, Secret, is_id, secrets};
use crate::{Error, Inject, clock::Clock, wire};

/// What is to be delivered to an endpoint: the id and the body, which all attempts share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    id: Arc<str>,
    body: Bytes,
}

impl Delivery {
    /// A delivery of `body` under `id`. The receiver knows a repetition by the id: take the id of the event,
    /// not of the attempt.
    ///
    /// # Errors
    /// `Invalid` for an id that is not 1 to [`ID_LIMIT`] characters of visible ASCII without a full stop, and
    /// for a body over [`BODY_LIMIT`].
    pub fn new(id: impl Into<Arc<str>>, body: impl Into<Bytes>) -> Result<Self, Error> {
        let (id, body) = (id.into(), body.into());
        if !is_id(id.as_bytes()) {
            let rule = format!("a webhook id is 1 to {ID_LIMIT} visible ASCII characters, no full stop");
            return Err(Error::invalid(rule));
        }
        if body.len() > BODY_LIMIT {
            let size = body.len();
            return Err(Error::invalid(format!("a webhook of {size} bytes, more than {BODY_LIMIT}")));
        }
        Ok(Self { id, body })
    }

    /// The same on every attempt.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The bytes to send, exactly as they were signed.
    #[must_use]
    pub const fn body(&self) -> &Bytes {
        &self.body
    }
}

/// Signs for one endpoint, with all of its current secrets. Clones share nothing but their clock.
#[derive(Debug, Clone)]
pub struct Signer {
    secrets: Vec<Secret>,
    clock: Clock,
}

impl Signer {
    /// A signer with `secrets`: one, or the new and the old while they rotate.
    ///
    /// # Errors
    /// `Invalid` for none, or more than [`SECRETS_LIMIT`](super::SECRETS_LIMIT).
    pub fn new(secrets: impl IntoIterator<Item = Secret>, clock: Clock) -> Result<Self, Error> {
        Ok(Self { secrets: self::secrets(secrets)?, clock })
    }

    /// The headers of one attempt at `delivery`, made now: call it again for each retry, or the retry is too
    /// old to be believed.
    #[must_use]
    pub fn attempt(&self, delivery: &Delivery) -> Attempt {
        let timestamp = self.clock.unix().as_secs();
        let (id, digits) = (delivery.id.as_bytes(), timestamp.to_string());
        let sign = |secret: &Secret| {
            let tag = secret.tag(id, digits.as_bytes(), &delivery.body);
            format!("v1,{}", STANDARD.encode(tag.into_bytes()))
        };
        let signature = self.secrets.iter().map(sign).collect::<Vec<_>>().join(" ");
        Attempt { id: delivery.id.clone(), timestamp: Duration::from_secs(timestamp), signature }
    }
}

/// One attempt at a [`Delivery`]: what goes into the headers.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attempt {
    /// `webhook-id`.
    pub id: Arc<str>,
    /// `webhook-timestamp`: whole seconds since 1970.
    pub timestamp: Duration,
    /// `webhook-signature`: one for each secret, in their order.
    pub signature: String,
}

impl Attempt {
    /// Writes the three headers into `carrier`.
    ///
    /// # Errors
    /// The carrier's; `http::HeaderMap` and [`Headers`](crate::Headers) take any attempt.
    pub fn inject(&self, carrier: &mut impl Inject) -> Result<(), Error> {
        carrier.inject(wire::WEBHOOK_ID, self.id.as_bytes())?;
        carrier.inject(wire::WEBHOOK_TIMESTAMP, self.timestamp.as_secs().to_string().as_bytes())?;
        carrier.inject(wire::WEBHOOK_SIGNATURE, self.signature.as_bytes())
    }
}
