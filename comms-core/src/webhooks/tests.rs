//! The specification's vector, and everything that must be refused.

use proptest::prelude::*;
use std::{cell::Cell, time::Duration};

use super::{
    BODY_LIMIT, Delivery, ID_LIMIT, SECRETS_LIMIT, Secret, Signer, Verifier, WebhookError,
    verifier::any_of_all,
};
use crate::{Error, ErrorKind, Extract, Headers, Inject, clock::Clock, http::HeaderMap, wire};

/// The vector that the specification's own libraries test themselves with.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
const SENT: u64 = 1_614_265_330;
const BODY: &[u8] = br#"{"test": 2432232314}"#;
const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
/// Well-formed, of nothing.
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
    let attempt = Signer::new([secret()], clock()).unwrap().attempt(&delivery);
    assert_eq!(attempt.signature, SIGNATURE);
    let mut written = Headers::new();
    attempt.inject(&mut written).unwrap();
    assert_eq!(written, headers());

    let verified = verifier().verify(&headers(), BODY).unwrap();
    assert_eq!((&*verified.id, verified.timestamp), (ID, Duration::from_secs(SENT)));
}

#[test]
fn the_order_of_headers_and_the_carrier_do_not_matter() {
    let backwards: Headers = headers().iter().collect::<Vec<_>>().into_iter().rev().map(owned).collect();
    assert!(verifier().verify(&backwards, BODY).is_ok());
    let mut http = HeaderMap::new();
    Signer::new([secret()], clock())
        .unwrap()
        .attempt(&Delivery::new(ID, BODY).unwrap())
        .inject(&mut http)
        .unwrap();
    assert!(verifier().verify(&http, BODY).is_ok());
    let carrier: &dyn Extract = &http;
    assert!(verifier().verify(carrier, BODY).is_ok());
}

fn owned((name, value): (&str, &bytes::Bytes)) -> (String, bytes::Bytes) {
    (name.to_owned(), value.clone())
}

#[test]
fn of_a_header_that_is_there_twice_the_carriers_one_counts() {
    let mut twice = headers();
    twice.append(wire::WEBHOOK_ID, "msg_other");
    assert_eq!(verifier().verify(&twice, BODY), Err(WebhookError::NoMatch), "a message: the last");
    let mut http = HeaderMap::new();
    headers().iter().for_each(|(name, value)| {
        let name = http::HeaderName::from_bytes(name.as_bytes()).unwrap();
        http.append(name, http::HeaderValue::from_bytes(value).unwrap());
    });
    http.append(wire::WEBHOOK_ID, "msg_other".parse().unwrap());
    assert_eq!(&*verifier().verify(&http, BODY).unwrap().id, ID, "HTTP: the first");
}

#[test]
fn says_which_header_is_missing_or_malformed() {
    for name in [wire::WEBHOOK_ID, wire::WEBHOOK_TIMESTAMP, wire::WEBHOOK_SIGNATURE] {
        let mut without = headers();
        without.remove(name);
        assert_eq!(verifier().verify(&without, BODY), Err(WebhookError::Missing(name)));
        for bad in [&b""[..], b"\xff\xfe", "\u{661}".as_bytes(), &[b'7'; 100_000]] {
            assert_eq!(verifier().verify(&with(name, bad), BODY), Err(WebhookError::Malformed(name)));
        }
    }
    for id in ["a.b", "a b", " a", "a\0", "a\n", &"x".repeat(ID_LIMIT + 1)] {
        let refused = verifier().verify(&with(wire::WEBHOOK_ID, id), BODY);
        assert_eq!(refused, Err(WebhookError::Malformed(wire::WEBHOOK_ID)), "{id:?}");
    }
    let longest = with(wire::WEBHOOK_ID, "x".repeat(ID_LIMIT));
    assert_eq!(verifier().verify(&longest, BODY), Err(WebhookError::NoMatch));
    for time in ["+1614265330", "-1", "1614265330.0", "1e9", " 1614265330", "0x1", "18446744073709551616"] {
        let refused = verifier().verify(&with(wire::WEBHOOK_TIMESTAMP, time), BODY);
        assert_eq!(refused, Err(WebhookError::Malformed(wire::WEBHOOK_TIMESTAMP)), "{time:?}");
    }
}

#[test]
fn the_tolerance_includes_its_edges_and_ends_there() {
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
fn while_secrets_rotate_one_in_common_is_enough() {
    let [old, new, other] = [0; 3].map(|_| Secret::generate().unwrap());
    let (old, new, other) = (&old, &new, &other);
    let table: [(&[&Secret], &[&Secret], bool); 9] = [
        (&[old], &[old], true),
        (&[old], &[old, new], true),
        (&[old, new], &[old], true),
        (&[old, new], &[new], true),
        (&[new, old], &[other, old], true),
        (&[new], &[old, new], true),
        (&[new], &[old], false),
        (&[old], &[new], false),
        (&[old, new], &[other], false),
    ];
    for (row, (signing, accepting, accepted)) in table.into_iter().enumerate() {
        let signer = Signer::new(signing.iter().copied().cloned(), clock()).unwrap();
        let verifier = Verifier::new(accepting.iter().copied().cloned(), clock()).unwrap();
        let delivery = Delivery::new(ID, BODY).unwrap();
        let mut headers = Headers::new();
        signer.attempt(&delivery).inject(&mut headers).unwrap();
        let signatures = headers.text(wire::WEBHOOK_SIGNATURE).unwrap();
        assert_eq!(signatures.split(' ').count(), signing.len());
        assert_eq!(verifier.verify(&headers, BODY).is_ok(), accepted, "row {row}");
    }
    let many = |n: usize| (0..n).map(|_| secret()).collect::<Vec<_>>();
    for count in [0, SECRETS_LIMIT + 1] {
        assert!(Signer::new(many(count), clock()).is_err() && Verifier::new(many(count), clock()).is_err());
    }
    assert!(Signer::new(many(SECRETS_LIMIT), clock()).is_ok());
}

#[test]
fn a_retry_keeps_its_id_and_gets_a_fresh_timestamp() {
    let (clock, delivery) = (clock(), Delivery::new(ID, BODY).unwrap());
    let signer = Signer::new([secret()], clock.clone()).unwrap();
    let verifier = Verifier::new([secret()], clock.clone()).unwrap();
    let first = signer.attempt(&delivery);
    clock.advance(Duration::from_secs(301));
    let second = signer.attempt(&delivery);
    assert_eq!((&first.id, second.timestamp), (&second.id, first.timestamp + Duration::from_secs(301)));
    assert_ne!(first.signature, second.signature);
    let mut headers = Headers::new();
    first.inject(&mut headers).unwrap();
    assert!(matches!(verifier.verify(&headers, BODY), Err(WebhookError::TooOld { .. })));
    second.inject(&mut headers).unwrap();
    assert_eq!(&*verifier.verify(&headers, BODY).unwrap().id, ID);
}

#[test]
fn finds_the_signature_among_others_and_ignores_what_it_does_not_know() {
    let digits = SIGNATURE.strip_prefix("v1,").unwrap();
    let accepted = [
        format!("{OTHER} {SIGNATURE}"),
        format!("{SIGNATURE} {OTHER}"),
        format!("{SIGNATURE} {SIGNATURE}"),
        format!("v1a,{digits} v2,{digits} {SIGNATURE} nonsense"),
        format!("v1,short , v1, {SIGNATURE}"),
        format!("{}{SIGNATURE}", format!("{OTHER} ").repeat(15)),
    ];
    for header in accepted {
        assert!(verifier().verify(&with(wire::WEBHOOK_SIGNATURE, &header), BODY).is_ok(), "{header}");
    }
    let refused = [
        OTHER.to_owned(),
        format!("v1a,{digits}"),
        format!("v2,{digits}"),
        format!("V1,{digits}"),
        digits.to_owned(),
        format!("v1,{digits},{digits}"),
        format!("{SIGNATURE},"),
        format!("{OTHER},{SIGNATURE}"),
        SIGNATURE.trim_end_matches('=').to_owned(),
        SIGNATURE.replace('/', "_").replace('+', "-"),
        format!("{SIGNATURE}\t"),
    ];
    for header in refused {
        let result = verifier().verify(&with(wire::WEBHOOK_SIGNATURE, &header), BODY);
        assert_eq!(result, Err(WebhookError::NoMatch), "{header}");
    }
    let too_many = with(wire::WEBHOOK_SIGNATURE, format!("{}{SIGNATURE}", "v2,x ".repeat(16)));
    assert_eq!(verifier().verify(&too_many, BODY), Err(WebhookError::Malformed(wire::WEBHOOK_SIGNATURE)));
}

#[test]
fn compares_every_pair_whichever_fits() {
    for fits in [(0, 0), (2, 1), (9, 9)] {
        let compared = Cell::new(0);
        let equal = |a: &i32, b: &i32| {
            compared.set(compared.get() + 1);
            (*a, *b) == fits
        };
        assert_eq!(any_of_all(&[0, 1, 2], &[0, 1], equal), fits != (9, 9));
        assert_eq!(compared.get(), 6);
    }
}

#[test]
fn bounds_the_body_on_both_sides() {
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
fn a_full_stop_cannot_move_from_the_timestamp_to_the_id_or_the_body() {
    // The same signed bytes, cut elsewhere.
    let body = format!("{SENT}.rest");
    let delivery = Delivery::new("evt", body.clone()).unwrap();
    let mut signed = Headers::new();
    Signer::new([secret()], clock()).unwrap().attempt(&delivery).inject(&mut signed).unwrap();
    assert!(verifier().verify(&signed, body.as_bytes()).is_ok());
    signed.insert(wire::WEBHOOK_ID, format!("evt.{SENT}"));
    assert_eq!(verifier().verify(&signed, b"rest"), Err(WebhookError::Malformed(wire::WEBHOOK_ID)));
}

#[test]
fn reads_secrets_as_people_paste_them_and_shows_none() {
    let bare = SECRET.strip_prefix("whsec_").unwrap();
    assert_eq!(bare.parse::<Secret>().unwrap().expose(), SECRET);
    // 25 bytes: base64 with padding, which may be lost on the way.
    let padded = Secret::from_bytes(&[7; 25]).unwrap().expose();
    assert!(padded.ends_with("=="));
    assert_eq!(padded.trim_end_matches('=').parse::<Secret>().unwrap().expose(), padded);
    for (length, accepted) in [(0, false), (23, false), (24, true), (64, true), (65, false)] {
        assert_eq!(Secret::from_bytes(&vec![1; length]).is_ok(), accepted, "{length} bytes");
    }
    let overlong = format!("whsec_{}", "A".repeat(100_000));
    for text in ["", "whsec_", "whpk_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_not base64!", &overlong] {
        let error = text.parse::<Secret>().unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid);
        assert!(text.len() < 8 || !error.to_string().contains(&text[6..]), "{error}");
    }
    let shown = format!("{:?} {:?} {:?}", secret(), verifier(), Signer::new([secret()], clock()).unwrap());
    assert!(!shown.contains("MfKQ") && shown.contains("Secret(whsec_…)"), "{shown}");
    assert_ne!(Secret::generate().unwrap().expose(), Secret::generate().unwrap().expose());
}

#[test]
fn a_refused_webhook_is_invalid_and_says_why() {
    let error: Error = WebhookError::Missing(wire::WEBHOOK_ID).into();
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert_eq!(error.to_string(), "invalid: the header webhook-id is missing");
}

proptest! {
    #[test]
    fn what_was_signed_verifies_and_no_byte_of_it_can_be_changed(
        id in "[!-\\-/-~]{1,40}",
        body in proptest::collection::vec(any::<u8>(), 0..200),
        key in proptest::collection::vec(any::<u8>(), 24..=64),
        place in any::<prop::sample::Index>(),
        flip in 1u8..=255,
    ) {
        let secret = Secret::from_bytes(&key).unwrap();
        let verifier = Verifier::new([secret.clone()], clock()).unwrap();
        let delivery = Delivery::new(id.as_str(), body.clone()).unwrap();
        let mut headers = Headers::new();
        Signer::new([secret], clock()).unwrap().attempt(&delivery).inject(&mut headers).unwrap();
        prop_assert_eq!(&*verifier.verify(&headers, &body).unwrap().id, id.as_str());

        let mut tampered = body.clone();
        tampered.push(flip);
        prop_assert!(verifier.verify(&headers, &tampered).is_err());
        if !body.is_empty() {
            let mut tampered = body.clone();
            tampered[place.index(body.len())] ^= flip;
            prop_assert!(verifier.verify(&headers, &tampered).is_err());
        }
        for name in [wire::WEBHOOK_ID, wire::WEBHOOK_TIMESTAMP, wire::WEBHOOK_SIGNATURE] {
            let mut value = headers.get(name).unwrap().to_vec();
            let at = place.index(value.len());
            value[at] ^= flip;
            let mut tampered = headers.clone();
            tampered.insert(name, value);
            prop_assert!(verifier.verify(&tampered, &body).is_err());
        }
    }

    #[test]
    fn any_bytes_are_refused_without_a_panic(
        id in proptest::collection::vec(any::<u8>(), 0..300),
        timestamp in proptest::collection::vec(any::<u8>(), 0..30),
        signature in proptest::collection::vec(any::<u8>(), 0..300),
        body in proptest::collection::vec(any::<u8>(), 0..50),
    ) {
        let headers: Headers = [
            (wire::WEBHOOK_ID, id), (wire::WEBHOOK_TIMESTAMP, timestamp), (wire::WEBHOOK_SIGNATURE, signature),
        ].into_iter().collect();
        prop_assert!(verifier().verify(&headers, &body).is_err());
    }
}
