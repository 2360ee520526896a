//! Properties: a changed byte is refused, and no input panics.

use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn a_signed_request_verifies_and_every_changed_byte_is_refused(
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
        Signer::new([secret], clock()).unwrap().sign(&delivery).inject(&mut headers).unwrap();
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
    fn arbitrary_requests_are_refused_without_a_panic(
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
