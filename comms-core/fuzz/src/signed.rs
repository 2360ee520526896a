//! Targets for the parsers of signed input: webhooks and tokens.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use comms_core::{
    Headers,
    clock::Clock,
    jwt::{Algorithm, DecodingKey, KeySet, Verifier},
    webhooks, wire,
};
use std::time::Duration;

/// The input is three header values, one a line, and a body. A request verifies if and only if the signer would send
/// it.
pub(super) fn webhook_headers(data: &[u8]) {
    let mut lines = data.splitn(4, |byte| *byte == b'\n');
    let [id, timestamp, signature, body] = [(); 4].map(|()| lines.next().unwrap_or_default().to_vec());
    let (clock, secret) =
        (Clock::manual(Duration::from_secs(1_700_000_000)), webhooks::Secret::from_bytes(&[7; 32]).unwrap());
    let verifier = webhooks::Verifier::new([secret.clone()], clock.clone()).unwrap();
    let headers: Headers = [
        (wire::WEBHOOK_ID, id.clone()),
        (wire::WEBHOOK_TIMESTAMP, timestamp),
        (wire::WEBHOOK_SIGNATURE, signature.clone()),
    ]
    .into_iter()
    .collect();
    if let Ok(verified) = verifier.verify(&headers, &body) {
        let signer = webhooks::Signer::new([secret.clone()], Clock::manual(verified.timestamp)).unwrap();
        let delivery = webhooks::Delivery::new(verified.id, body.clone()).unwrap();
        let sent = signer.sign(&delivery).signature;
        assert!(signature.split(|byte| *byte == b' ').any(|entry| entry == sent.as_bytes()));
    }
    let text = String::from_utf8_lossy(&id);
    if let Ok(delivery) = webhooks::Delivery::new(&*text, body) {
        let mut headers = Headers::new();
        webhooks::Signer::new([secret], clock).unwrap().sign(&delivery).inject(&mut headers).unwrap();
        assert_eq!(&*verifier.verify(&headers, delivery.body()).unwrap().id, &*text);
        let mut longer = delivery.body().to_vec();
        longer.push(0);
        assert!(verifier.verify(&headers, &longer).is_err());
    }
    if let Ok(secret) = text.parse::<webhooks::Secret>() {
        let shown = secret.expose();
        assert_eq!(shown.parse::<webhooks::Secret>().unwrap().expose(), shown);
    }
}

/// Checks arbitrary tokens, arbitrary headers and claims under the correct and another key, and arbitrary key sets: no
/// panic, and only the correct key verifies. Needs a crypto backend of jsonwebtoken.
pub(super) fn jwt(data: &[u8]) {
    let clock = Clock::manual(Duration::from_secs(1_700_000_000));
    let verifier = |key: [u8; 32]| {
        let keys = KeySet::new(Algorithm::HS256, clock.clone());
        keys.insert("k", DecodingKey::from_secret(&key)).unwrap();
        Verifier::new(Algorithm::HS256, "shop", "api", keys, clock.clone())
    };
    let (correct, other) = (verifier([1; 32]), verifier([2; 32]));
    let split = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let (header, claims) = data.split_at(split);
    let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let key = jsonwebtoken::EncodingKey::from_secret(&[1; 32]);
    let signature = jsonwebtoken::crypto::sign(text.as_bytes(), &key, Algorithm::HS256).unwrap();
    let token = format!("{text}.{signature}");
    if let Ok(claims) = correct.verify(&token) {
        assert_eq!(claims.iss, "shop");
        assert!(claims.aud.iter().any(|aud| aud == "api") && claims.exp + 30 > 1_700_000_000);
    }
    assert!(other.verify(&token).is_err() && correct.verify(&format!("{text}.")).is_err());
    drop(other.verify(&String::from_utf8_lossy(data)));
    for algorithm in [Algorithm::ES256, Algorithm::RS256, Algorithm::EdDSA, Algorithm::HS256] {
        let keys = KeySet::new(algorithm, clock.clone());
        assert!(
            keys.replace(data).is_ok_and(|n| (1..=64).contains(&n))
                || format!("{keys:?}").contains("kids: []")
        );
    }
}
