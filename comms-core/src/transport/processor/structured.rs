//! Decodes `CloudEvents` in structured mode (one JSON envelope as the payload) before the handler is called.
//!
//! The handler, its context and its inbox see one form, whichever mode the producer chose. The message's identity is
//! that of the envelope. A dead letter contains the delivery as it was received.

use crate::{Delivery, Error, event, wire};

/// Returns the delivery with the event of its envelope, or the delivery unchanged if its payload is no envelope.
///
/// # Errors
/// Returns `Invalid` if the envelope cannot be decoded, unless the delivery is a dead letter: that one is returned
/// unchanged. Returns `Misconfigured` for each envelope if the feature `cloudevents` is off.
pub(super) fn open(delivery: Delivery) -> Result<Delivery, Error> {
    let media = delivery.message.headers().text(wire::CONTENT_TYPE).unwrap_or_default();
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
        Err(_) if delivery.message.headers().get(wire::DLQ_TOPIC).is_some() => Ok(delivery),
        Err(error) => Err(error),
    }
}

#[cfg(not(feature = "cloudevents"))]
fn decode(_: Delivery) -> Result<Delivery, Error> {
    Err(Error::misconfigured(
        "cannot decode a CloudEvents envelope: build comms-core with the feature `cloudevents`",
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
