//! The public description of one hold, and the key under which the list stores it.

use std::{sync::Arc, time::SystemTime};

use bytes::Bytes;

use crate::{Delivery, ErrorKind};

/// A delivery that a consumer holds, with the reason.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Hold {
    /// The consumer group.
    pub group: Arc<str>,
    /// The topic, exchange or queue.
    pub topic: Arc<str>,
    /// The key of the message. Later messages of the same key wait behind this delivery.
    pub key: Option<Bytes>,
    /// The time at which the hold began.
    pub since: SystemTime,
    /// The kind of the last error that shows the cause. A refusal by a guard of this process, such as a breaker that
    /// opened because of the cause, does not replace an earlier error.
    pub kind: ErrorKind,
    /// The text of that error and of its causes.
    pub reason: String,
    /// The number of attempts that failed during this hold. None of them counts towards
    /// [`AttemptConfig::max_attempts`](crate::transport::AttemptConfig::max_attempts).
    pub attempts: u32,
}

/// Identifies a delivery in the list. A message on two topics, or in two groups, is two deliveries.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct DeliveryId {
    pub(super) group: Arc<str>,
    pub(super) topic: Arc<str>,
    source: Arc<str>,
    id: Arc<str>,
}

impl DeliveryId {
    pub(super) fn of(delivery: &Delivery) -> Self {
        let message = &delivery.message;
        Self {
            group: delivery.group.clone(),
            topic: message.topic().into(),
            source: message.source().into(),
            id: message.id().into(),
        }
    }
}
