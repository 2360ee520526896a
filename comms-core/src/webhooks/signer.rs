//! The sender: deliveries, and the signed headers of each attempt.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use std::{sync::Arc, time::Duration};

use super::{BODY_LIMIT, ID_LIMIT, Secret, collect_secrets, is_id};
use crate::{Error, Inject, clock::Clock, wire};

/// A webhook to deliver to an endpoint: the id and the body, which are the same in all attempts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    id: Arc<str>,
    body: Bytes,
}

impl Delivery {
    /// Creates a delivery of `body` with the id `id`.
    ///
    /// The receiver detects repetitions by the id, so use the id of the event and not of the attempt.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if the id is not 1 to [`ID_LIMIT`] bytes of visible
    /// ASCII without a full stop, or if the body is over [`BODY_LIMIT`] bytes.
    pub fn new(id: impl Into<Arc<str>>, body: impl Into<Bytes>) -> Result<Self, Error> {
        let (id, body) = (id.into(), body.into());
        if !is_id(id.as_bytes()) {
            let rule =
                format!("a webhook id must be 1 to {ID_LIMIT} visible ASCII characters without a full stop");
            return Err(Error::invalid(rule));
        }
        if body.len() > BODY_LIMIT {
            let size = body.len();
            return Err(Error::invalid(format!(
                "the webhook body has {size} bytes, but the limit is {BODY_LIMIT}"
            )));
        }
        Ok(Self { id, body })
    }

    /// Returns the id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the body. Send exactly these bytes: they are signed.
    #[must_use]
    pub const fn body(&self) -> &Bytes {
        &self.body
    }
}

/// Signs webhooks for one endpoint, with all of its current secrets. Clones share the clock.
#[derive(Debug, Clone)]
pub struct Signer {
    secrets: Vec<Secret>,
    clock: Clock,
}

impl Signer {
    /// Creates a signer with `secrets`: usually one, or the old and the new one during a rotation.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for no secret and for more than
    /// [`SECRETS_LIMIT`](super::SECRETS_LIMIT).
    pub fn new(secrets: impl IntoIterator<Item = Secret>, clock: Clock) -> Result<Self, Error> {
        Ok(Self { secrets: collect_secrets(secrets)?, clock })
    }

    /// Signs one attempt of `delivery` with the current time.
    ///
    /// Sign again for each retry: the receiver refuses an old timestamp.
    #[must_use]
    pub fn sign(&self, delivery: &Delivery) -> Attempt {
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

/// The signed header values of one attempt of a [`Delivery`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attempt {
    /// The header `webhook-id`.
    pub id: Arc<str>,
    /// The header `webhook-timestamp`: the time since 1970, in whole seconds.
    pub timestamp: Duration,
    /// The header `webhook-signature`: a signature for each secret, in the order of the secrets, separated by spaces.
    pub signature: String,
}

impl Attempt {
    /// Writes the three headers into `carrier`.
    ///
    /// # Errors
    /// Returns the error of `carrier` if it refuses a header. `http::HeaderMap` and [`Headers`](crate::Headers) accept
    /// the headers of every attempt.
    pub fn inject(&self, carrier: &mut impl Inject) -> Result<(), Error> {
        carrier.inject(wire::WEBHOOK_ID, self.id.as_bytes())?;
        carrier.inject(wire::WEBHOOK_TIMESTAMP, self.timestamp.as_secs().to_string().as_bytes())?;
        carrier.inject(wire::WEBHOOK_SIGNATURE, self.signature.as_bytes())
    }
}
