//! CloudEvents in structured mode (one JSON envelope as the payload) become binary mode before a handler sees them.
//!
//! So a handler, its context and its inbox see one form, whatever mode the producer chose, and the identity is that
//! of the envelope. A dead letter is made of the delivery as it came.

use crate::{Delivery, Error, event, wire};

/// The delivery of the event that the payload of `delivery` envelops, or `delivery` itself.
///
/// # Errors
/// Returns `Invalid` if the envelope cannot be decoded; that of a dead letter is left closed instead. Without the feature `cloudevents`, returns `Misconfigured` for
/// each envelope.
pub(super) fn open(delivery: Delivery) -> Result<Delivery, Error> {
    let media = delivery.message.headers.text(wire::CONTENT_TYPE).unwrap_or_default();
    match event::is_envelope(media) {
        true => decode(delivery),
        false => Ok(delivery),
    }
}

#[cfg(feature = "cloudevents")]
fn decode(delivery: Delivery) -> Result<Delivery, Error> {
    match crate::cloudevents::open(delivery.message.clone()) {
        Ok(message) => Ok(Delivery { message, ..delivery }),
        // A reader of dead letters gets the envelope that could not be opened, instead of a dead letter of it.
        Err(_) if delivery.message.headers.get(wire::DLQ_TOPIC).is_some() => Ok(delivery),
        Err(error) => Err(error),
    }
}

#[cfg(not(feature = "cloudevents"))]
fn decode(_: Delivery) -> Result<Delivery, Error> {
    Err(Error::misconfigured(
        "a CloudEvents envelope: build comms-core with the feature cloudevents to decode it",
    ))
}

#[cfg(all(test, not(feature = "cloudevents")))]
#[test]
fn without_the_feature_an_envelope_is_held_not_skipped() {
    let headers = [(wire::CONTENT_TYPE, "application/cloudevents+json")].into_iter().collect();
    let (source, id, topic) = ("s".into(), "1".into(), "t".into());
    let message = crate::Message { source, id, topic, key: None, headers, payload: Some("{}".into()) };
    let error = open(Delivery::new(message, "g", "t/0@1")).map(drop).unwrap_err();
    assert_eq!(error.kind, crate::ErrorKind::Misconfigured);
}
