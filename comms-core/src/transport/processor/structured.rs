//! Decodes `CloudEvents` in structured mode (one JSON envelope as the payload) before the handler is called.
//!
//! The handler, its context and its inbox see one form, whichever mode the producer chose. The message's identity is
//! that of the envelope. A dead letter contains the delivery as it was received.

use crate::{Delivery, Error, event, wire};

/// Returns the delivery with the event of its envelope, or `None` if its payload is no envelope.
///
/// The result is boxed, because few deliveries have one.
///
/// # Errors
/// Returns `Invalid` if the envelope cannot be decoded, unless the delivery is a dead letter: that one is not decoded.
/// Returns `Misconfigured` for each envelope if the feature `cloudevents` is off.
#[inline]
pub(super) fn open(delivery: &Delivery) -> Option<Box<Result<Delivery, Error>>> {
    if delivery.message.headers().is_empty() {
        return None;
    }
    match delivery.message.headers().text(wire::CONTENT_TYPE) {
        Some(media) if event::is_envelope(media) => decode(delivery).transpose().map(Box::new),
        _ => None,
    }
}

#[cfg(feature = "cloudevents")]
fn decode(delivery: &Delivery) -> Result<Option<Delivery>, Error> {
    match crate::cloudevents::open(delivery.message.clone()) {
        Ok(message) => Ok(Some(Delivery { message, ..delivery.clone() })),
        // A reader of dead letters gets the envelope that could not be opened, instead of a dead letter of it.
        Err(_) if delivery.message.headers().get(wire::DLQ_TOPIC).is_some() => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(not(feature = "cloudevents"))]
fn decode(_: &Delivery) -> Result<Option<Delivery>, Error> {
    Err(Error::misconfigured(
        "cannot decode a CloudEvents envelope: build comms-core with the feature `cloudevents`",
    ))
}

#[cfg(all(test, not(feature = "cloudevents")))]
#[test]
fn without_the_feature_an_envelope_is_held_not_skipped() {
    let headers: crate::Headers =
        [(wire::CONTENT_TYPE, "application/cloudevents+json")].into_iter().collect();
    let message = crate::Message::new(crate::MessageParts { headers: headers.view(), ..Default::default() });
    let error = open(&Delivery::new(message, "g")).unwrap().map(drop).unwrap_err();
    assert_eq!(error.kind, crate::ErrorKind::Misconfigured);
}
