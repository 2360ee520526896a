//! The test vector of the specification, time, sizes and ids, and the fixtures of the webhook tests.

mod headers;
mod properties;
mod secrets;

use std::{cell::Cell, time::Duration};

use super::{
    BODY_LIMIT, Delivery, ID_LIMIT, SECRETS_LIMIT, Secret, Signer, Verifier, WebhookError,
    verifier::any_of_all,
};
use crate::{Error, ErrorKind, Extract, Headers, Inject, clock::Clock, http::HeaderMap, wire};

/// The test vector of the specification's libraries.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
const SENT: u64 = 1_614_265_330;
const BODY: &[u8] = br#"{"test": 2432232314}"#;
const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
/// A well-formed signature that matches no request.
const OTHER: &str = "v1,Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc=";

fn secret() -> Secret {
    SECRET.parse().unwrap()
}

fn clock() -> Clock {
    Clock::manual(Duration::from_secs(SENT))
}

fn verifier() -> Verifier {
    Verifier::new([secret()], clock()).unwrap()
}

fn headers() -> Headers {
    let sent = SENT.to_string();
    [(wire::WEBHOOK_ID, ID), (wire::WEBHOOK_TIMESTAMP, &sent), (wire::WEBHOOK_SIGNATURE, SIGNATURE)]
        .into_iter()
        .map(|(name, value)| (name, value.to_owned()))
        .collect()
}

fn with(name: &'static str, value: impl AsRef<[u8]>) -> Headers {
    let mut headers = headers();
    headers.inject(name, value.as_ref()).unwrap();
    headers
}

#[test]
fn signs_and_verifies_the_vector_of_the_specification() {
    let delivery = Delivery::new(ID, BODY).unwrap();
    let attempt = Signer::new([secret()], clock()).unwrap().sign(&delivery);
    assert_eq!(attempt.signature, SIGNATURE);
    let mut written = Headers::new();
    attempt.inject(&mut written).unwrap();
    assert_eq!(written, headers());

    let verified = verifier().verify(&headers(), BODY).unwrap();
    assert_eq!((&*verified.id, verified.timestamp), (ID, Duration::from_secs(SENT)));
}

#[test]
fn the_tolerance_includes_its_bounds() {
    let (tolerance, nano) = (Duration::from_secs(300), Duration::from_nanos(1));
    let sent = Duration::from_secs(SENT);
    let at = |now: Duration| Verifier::new([secret()], Clock::manual(now)).unwrap().verify(&headers(), BODY);
    assert!(at(sent + tolerance).is_ok());
    let age = tolerance + nano;
    assert_eq!(at(sent + age), Err(WebhookError::TooOld { age, tolerance }));
    assert!(at(sent - tolerance).is_ok());
    assert_eq!(at(sent - age), Err(WebhookError::TooNew { ahead: age, tolerance }));
    for extreme in [Duration::ZERO, Duration::from_secs(u64::MAX / 2)] {
        assert!(at(extreme).is_err());
    }

    let narrow = Duration::from_secs(1);
    let set = |tolerance| verifier().with_tolerance(tolerance);
    let narrowed = Verifier::new([secret()], Clock::manual(sent + narrow + nano)).unwrap();
    let refused = narrowed.with_tolerance(narrow).unwrap().verify(&headers(), BODY);
    assert_eq!(refused, Err(WebhookError::TooOld { age: narrow + nano, tolerance: narrow }));
    assert!(set(narrow - nano).is_err() && set(Duration::from_secs(86_401)).is_err());
}

#[test]
fn a_retry_has_the_same_id_and_a_new_timestamp() {
    let (clock, delivery) = (clock(), Delivery::new(ID, BODY).unwrap());
    let signer = Signer::new([secret()], clock.clone()).unwrap();
    let verifier = Verifier::new([secret()], clock.clone()).unwrap();
    let first = signer.sign(&delivery);
    clock.advance(Duration::from_secs(301));
    let second = signer.sign(&delivery);
    assert_eq!((&first.id, second.timestamp), (&second.id, first.timestamp + Duration::from_secs(301)));
    assert_ne!(first.signature, second.signature);
    let mut headers = Headers::new();
    first.inject(&mut headers).unwrap();
    assert!(matches!(verifier.verify(&headers, BODY), Err(WebhookError::TooOld { .. })));
    second.inject(&mut headers).unwrap();
    assert_eq!(&*verifier.verify(&headers, BODY).unwrap().id, ID);
}

#[test]
fn every_pair_of_signatures_is_compared() {
    for matching in [(0, 0), (2, 1), (9, 9)] {
        let compared = Cell::new(0);
        let equal = |a: &i32, b: &i32| {
            compared.set(compared.get() + 1);
            (*a, *b) == matching
        };
        assert_eq!(any_of_all(&[0, 1, 2], &[0, 1], equal), matching != (9, 9));
        assert_eq!(compared.get(), 6);
    }
}

#[test]
fn signer_and_verifier_limit_the_body() {
    let limited = verifier().with_body_limit(BODY.len() - 1);
    let (size, limit) = (BODY.len(), BODY.len() - 1);
    assert_eq!(limited.verify(&headers(), BODY), Err(WebhookError::BodyTooLarge { size, limit }));
    assert!(verifier().with_body_limit(BODY.len()).verify(&headers(), BODY).is_ok());
    assert!(Delivery::new(ID, vec![0; BODY_LIMIT]).is_ok());
    assert_eq!(Delivery::new(ID, vec![0; BODY_LIMIT + 1]).unwrap_err().kind, ErrorKind::Invalid);
    for id in ["", "a.b", "a b", "ä", &"x".repeat(ID_LIMIT + 1)] {
        assert_eq!(Delivery::new(id, BODY).unwrap_err().kind, ErrorKind::Invalid, "{id:?}");
    }
}

#[test]
fn the_parts_of_the_signed_text_cannot_be_shifted() {
    // The same signed bytes, with the timestamp moved from the body into the id.
    let body = format!("{SENT}.rest");
    let delivery = Delivery::new("evt", body.clone()).unwrap();
    let mut signed = Headers::new();
    Signer::new([secret()], clock()).unwrap().sign(&delivery).inject(&mut signed).unwrap();
    assert!(verifier().verify(&signed, body.as_bytes()).is_ok());
    signed.insert(wire::WEBHOOK_ID, format!("evt.{SENT}"));
    assert_eq!(verifier().verify(&signed, b"rest"), Err(WebhookError::MalformedHeader(wire::WEBHOOK_ID)));
}

#[test]
fn a_webhook_error_converts_into_an_invalid_error() {
    let error: Error = WebhookError::MissingHeader(wire::WEBHOOK_ID).into();
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert_eq!(error.to_string(), "invalid: the header webhook-id is missing");
}
