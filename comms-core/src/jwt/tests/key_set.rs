//! Key sets: rotation, key checks, removal, bounds, and refreshes.
#![allow(clippy::disallowed_methods, reason = "the tests wait for real time or for tokio's paused time")]

use super::*;
use crate::{
    ErrorKind,
    jwt::{KeySource, check_key},
};

fn set(keys: &[Value]) -> Vec<u8> {
    json!({ "keys": keys }).to_string().into_bytes()
}

fn es256() -> KeySet {
    KeySet::new(Algorithm::ES256, clock())
}

fn verify(keys: &KeySet, pair: &Pair, kid: &str) -> Result<(), JwtError> {
    let kid = if kid.is_empty() { Value::Null } else { json!(kid) };
    let token = pair.token(&with(json!({"alg": pair.algorithm}), "kid", kid), &claims());
    Verifier::new(pair.algorithm, "shop", "api", keys.clone(), clock()).verify(&token).map(drop)
}

#[test]
fn keys_can_be_replaced_inserted_and_removed_at_run_time() {
    let (old, new) = (&*ES256, pair(Algorithm::ES256));
    let keys = es256();
    assert_eq!(verify(&keys, old, "old"), Err(JwtError::UnknownKey));
    assert_eq!(keys.replace(&set(&[old.jwk("old")])).unwrap(), 1);
    assert_eq!(verify(&keys, old, "old"), Ok(()));
    assert_eq!(verify(&keys, old, ""), Ok(()), "a token without kid gets the only key");
    assert_eq!(verify(&keys, &new, "new"), Err(JwtError::UnknownKey));
    assert_eq!(verify(&keys, &new, "old"), Err(JwtError::Signature));

    assert_eq!(keys.replace(&set(&[old.jwk("old"), new.jwk("new")])).unwrap(), 2);
    assert_eq!((verify(&keys, old, "old"), verify(&keys, &new, "new")), (Ok(()), Ok(())));
    assert_eq!(
        verify(&keys, old, ""),
        Err(JwtError::UnknownKey),
        "a token without kid gets no key of several"
    );

    assert!(keys.remove("old") && !keys.remove("old"));
    assert_eq!(verify(&keys, old, "old"), Err(JwtError::UnknownKey));
    keys.insert("old", old.public.clone()).unwrap();
    assert_eq!(verify(&keys, old, "old"), Ok(()));
    keys.insert("old", new.public.clone()).unwrap();
    assert_eq!(verify(&keys, old, "old"), Err(JwtError::Signature), "replaced");
    assert_eq!(format!("{keys:?}"), r#"KeySet { algorithm: ES256, kids: ["new", "old"] }"#);
}

#[test]
fn key_sets_of_every_family_verify_tokens() {
    for pair in [&*ES256, &*EDDSA, &*RS256] {
        let keys = KeySet::new(pair.algorithm, clock());
        // The document has keys of all algorithms, and a set reads only those of its algorithm.
        let document = set(&[ES256.jwk("a"), EDDSA.jwk("b"), RS256.jwk("c")]);
        assert_eq!(keys.replace(&document).unwrap(), 1);
        assert_eq!(verify(&keys, pair, ""), Ok(()));
    }
}

#[test]
fn keys_for_another_algorithm_and_weak_keys_are_ignored() {
    let good = ES256.jwk("good");
    let short = with(good.clone(), "x", json!("AAAA"));
    let ignored = [
        with(good.clone(), "alg", json!("ES384")),
        with(good.clone(), "use", json!("enc")),
        with(good.clone(), "key_ops", json!(["sign"])),
        with(good.clone(), "crv", json!("secp256k1")),
        with(good.clone(), "y", Value::Null),
        with(good.clone(), "kid", json!("k".repeat(257))),
        with(good.clone(), "kid", json!(7)),
        with(good.clone(), "kid", json!("a\nb")),
        short,
        RS256.jwk("rsa"),
        json!({"kty": "oct", "kid": "secret", "k": "A".repeat(64)}),
        json!({"kty": "AKP", "kid": "later", "alg": "ML-DSA-44", "pub": "AA"}),
        json!("nonsense"),
    ];
    let keys = es256();
    for key in &ignored {
        assert_eq!(keys.replace(&set(&[key.clone(), good.clone()])).unwrap(), 1, "{key}");
        assert_eq!(keys.replace(&set(std::slice::from_ref(key))).unwrap_err().kind, ErrorKind::Invalid);
        assert_eq!(verify(&keys, &ES256, "good"), Ok(()), "a refused set leaves the keys unchanged");
    }
    let accepted = [
        with(good.clone(), "alg", Value::Null),
        with(good.clone(), "use", json!("sig")),
        with(good.clone(), "key_ops", json!(["verify"])),
        with(good.clone(), "kid", Value::Null),
    ];
    for key in accepted {
        assert_eq!(keys.replace(&set(std::slice::from_ref(&key))).unwrap(), 1, "{key}");
        assert_eq!(verify(&keys, &ES256, ""), Ok(()));
    }

    let weak_rsa = |bytes: usize| {
        let modulus = [vec![0], vec![0xff; bytes]].concat();
        json!({"kty": "RSA", "kid": "r", "n": URL_SAFE_NO_PAD.encode(modulus), "e": "AQAB"})
    };
    let rsa = KeySet::new(Algorithm::RS256, clock());
    assert!(rsa.insert("r", RS256.public.clone()).is_ok(), "2,048 bits in DER");
    assert!(rsa.insert("r", DecodingKey::from_rsa_der(&rsa_der(256))).is_ok());
    for weak in [rsa_der(255), rsa_der(128), vec![0x30; 400], rsa_der(256)[..200].to_vec(), Vec::new()] {
        let error = rsa.insert("r", DecodingKey::from_rsa_der(&weak)).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid, "{} bytes", weak.len());
    }
    assert!(rsa.replace(&set(&[weak_rsa(255)])).is_err() && rsa.replace(&set(&[weak_rsa(256)])).is_ok());
    for (algorithm, least) in [(Algorithm::HS256, 32), (Algorithm::HS384, 48), (Algorithm::HS512, 64)] {
        let keys = KeySet::new(algorithm, clock());
        let insert = |length: usize| keys.insert("h", DecodingKey::from_secret(&vec![1; length]));
        assert!(insert(least - 1).is_err() && insert(least).is_ok(), "{algorithm:?}");
    }
}

/// The length of a point does not determine its curve, so `kty` and `crv` are compared with the algorithm.
#[test]
fn a_key_of_another_curve_is_refused_with_the_reason() {
    let (p256, ed25519) = (ES256.jwk("p256"), EDDSA.jwk("ed25519"));
    let (x, y) = (p256["x"].as_str().unwrap(), p256["y"].as_str().unwrap());
    let text = |bytes: usize| json!(URL_SAFE_NO_PAD.encode(vec![1; bytes]));
    let p384 = json!({"kty": "EC", "kid": "p384", "crv": "P-384", "x": text(48), "y": text(48)});
    let bare = |key: &Value| with(key.clone(), "alg", Value::Null);
    let table = [
        (
            Algorithm::ES256,
            with(p256.clone(), "crv", json!("P-384")),
            "its crv is P-384, but ES256 requires P-256",
        ),
        (Algorithm::ES256, with(bare(&p256), "crv", json!("P-521")), "its crv is P-521"),
        (Algorithm::ES256, with(bare(&p256), "crv", json!("Ed25519")), "its crv is Ed25519"),
        (Algorithm::ES256, p384.clone(), "its crv is P-384, but ES256 requires P-256"),
        (Algorithm::ES384, bare(&p256), "its crv is P-256, but ES384 requires P-384"),
        (Algorithm::ES384, with(bare(&p256), "crv", json!("P-384")), "its x must have the 48 bytes"),
        (Algorithm::ES256, with(bare(&p256), "kty", json!("OKP")), "its kty is not the one of ES256"),
        (Algorithm::ES256, with(bare(&p256), "x", text(31)), "its x must have the 32 bytes"),
        (Algorithm::ES256, with(bare(&p256), "y", text(33)), "its y must have the 32 bytes"),
        (
            Algorithm::ES256,
            with(with(bare(&p256), "x", text(31)), "y", text(33)),
            "its x must have the 32 bytes",
        ),
        (Algorithm::ES256, with(bare(&p256), "x", json!(format!("{x}="))), "its x must have the 32 bytes"),
        (
            Algorithm::EdDSA,
            with(bare(&ed25519), "crv", json!("P-256")),
            "its crv is P-256, but EdDSA requires Ed25519",
        ),
        (Algorithm::EdDSA, with(bare(&ed25519), "crv", json!("X25519")), "its kty or crv is not supported"),
        (Algorithm::ES256, with(bare(&p256), "crv", json!("secp256k1")), "its kty or crv is not supported"),
        (Algorithm::ES256, with(bare(&p256), "y", Value::Null), "or a coordinate is missing"),
        (Algorithm::EdDSA, with(bare(&ed25519), "x", text(31)), "its x must have the 32 bytes"),
        (Algorithm::EdDSA, with(bare(&ed25519), "kty", json!("EC")), "or a coordinate is missing"),
        (Algorithm::EdDSA, bare(&p256), "its kty is not the one of EdDSA"),
        (Algorithm::RS256, bare(&p256), "not a key for RS256"),
        (Algorithm::ES256, with(p256.clone(), "alg", json!("ES384")), "its alg is not ES256"),
        (Algorithm::ES256, with(p256.clone(), "use", json!("enc")), "its use is not sig"),
        (
            Algorithm::ES256,
            with(p256.clone(), "key_ops", json!(["sign"])),
            "its key_ops do not contain verify",
        ),
    ];
    for (algorithm, key, reason) in table {
        let error = KeySet::new(algorithm, clock()).replace(&set(std::slice::from_ref(&key))).unwrap_err();
        let (kind, text) = (error.kind, error.chain().to_string());
        assert!(kind == ErrorKind::Invalid && text.contains(reason), "{algorithm:?} {key}: {text}");
        assert!(!text.contains(x) && !text.contains(y), "an error does not contain the key: {text}");
    }
    let keys = KeySet::new(Algorithm::ES384, clock());
    let error = keys.replace(&set(std::slice::from_ref(&p256))).unwrap_err().chain().to_string();
    assert!(error.contains(r#"kid "p256""#), "{error}");
    assert_eq!(keys.replace(&set(&[p384, p256])).unwrap(), 1, "a key for another algorithm is ignored");
}

#[test]
fn check_key_compares_a_key_with_the_algorithm() {
    assert!(check_key(Algorithm::ES256, &ES256.public).is_ok());
    let p384 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap().public_key_pem();
    let p384 = DecodingKey::from_ec_pem(p384.as_bytes()).unwrap();
    assert!(check_key(Algorithm::ES384, &p384).is_ok());
    for (algorithm, key) in
        [(Algorithm::ES256, &p384), (Algorithm::ES384, &ES256.public), (Algorithm::EdDSA, &ES256.public)]
    {
        assert_eq!(check_key(algorithm, key).unwrap_err().kind, ErrorKind::Invalid, "{algorithm:?}");
    }
}

/// Returns an RSAPublicKey with a modulus of `bytes` bytes and an exponent of 40 bytes, which adds no strength.
fn rsa_der(bytes: usize) -> Vec<u8> {
    let integer = |value: Vec<u8>| {
        let length = u16::try_from(value.len()).unwrap().to_be_bytes();
        [vec![0x02, 0x82], length.to_vec(), value].concat()
    };
    let body = [integer([vec![0], vec![0xff; bytes]].concat()), integer(vec![1; 40])].concat();
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    [vec![0x30, 0x82], length.to_vec(), body].concat()
}

#[test]
fn a_removed_key_becomes_usable_again_only_by_insert() {
    let (bad, good) = (&*ES256, pair(Algorithm::ES256));
    let keys = es256();
    let document = set(&[bad.jwk("bad"), good.jwk("good")]);
    keys.replace(&document).unwrap();
    keys.remove("bad");
    assert_eq!(keys.replace(&document).unwrap(), 1);
    assert_eq!(verify(&keys, bad, "bad"), Err(JwtError::UnknownKey));
    assert_eq!(verify(&keys, &good, "good"), Ok(()));
    assert_eq!(keys.replace(&set(&[bad.jwk("bad")])).unwrap(), 0, "all keys of the set were removed");
    assert_eq!(verify(&keys, bad, "bad"), Err(JwtError::UnknownKey));

    keys.insert("bad", bad.public.clone()).unwrap();
    assert_eq!(keys.replace(&document).unwrap(), 2);
    assert_eq!(verify(&keys, bad, "bad"), Ok(()));

    keys.remove("bad");
    for n in 0..255 {
        assert!(!keys.remove(&n.to_string()));
    }
    assert_eq!(keys.replace(&document).unwrap(), 1, "the key is among the last 256 removed ones");
    keys.remove("one more");
    assert_eq!(keys.replace(&document).unwrap(), 2);
}

#[test]
fn a_set_has_limits_and_unique_kids() {
    let keys = es256();
    let key = |n: usize| ES256.jwk(&n.to_string());
    let many = |n: usize| set(&(0..n).map(key).collect::<Vec<_>>());
    assert_eq!(keys.replace(&many(64)).unwrap(), 64);
    let oversized = format!(r#"{{"keys": [], "padding": "{}"}}"#, "x".repeat(256 * 1024)).into_bytes();
    let refused = [many(65), many(0), set(&[key(1), key(1)]), oversized, b"{}".to_vec(), b"[".to_vec()];
    for (row, document) in refused.iter().enumerate() {
        assert_eq!(keys.replace(document).unwrap_err().kind, ErrorKind::Invalid, "row {row}");
    }
    assert!(keys.insert("64", ES256.public.clone()).is_err());
    assert!(keys.insert("63", ES256.public.clone()).is_ok(), "replaces");
    let long = "k".repeat(257);
    for (kid, key) in
        [("", &ES256.public), (&long, &ES256.public), ("a\0", &ES256.public), ("k", &RS256.public)]
    {
        assert_eq!(es256().insert(kid, key.clone()).unwrap_err().kind, ErrorKind::Invalid);
    }
}

#[tokio::test]
async fn unknown_keys_cause_refreshes_at_a_bounded_rate() {
    let clock = clock();
    let keys = KeySet::new(Algorithm::ES256, clock.clone());
    let interval = Duration::from_secs(60);
    let ready = async || {
        let result = tokio::time::timeout(Duration::ZERO, keys.refresh_needed(interval)).await;
        result.is_ok()
    };
    assert!(!ready().await, "no key was looked up");
    keys.key(Some("new"));
    assert!(ready().await, "the first unknown key");
    assert!(!ready().await, "one unknown key causes one refresh");
    (0..100).for_each(|n| drop(keys.key(Some(&n.to_string()))));
    assert!(!ready().await, "many unknown keys within the interval");
    clock.advance(interval - Duration::from_nanos(1));
    assert!(!ready().await, "just before the end of the interval");
    clock.advance(Duration::from_nanos(1));
    assert!(ready().await, "the unknown keys are remembered");
    clock.advance(interval);
    assert!(!ready().await, "many unknown keys cause one refresh");
    keys.insert("new", ES256.public.clone()).unwrap();
    keys.key(Some("new"));
    assert!(!ready().await, "a known key causes no refresh");

    // Malformed tokens never reach the key source.
    let verifier = Verifier::new(Algorithm::ES256, "shop", "api", keys.clone(), clock.clone());
    for header in [json!({"alg": "HS256", "kid": "x"}), json!({"alg": "ES256", "kid": "x", "crit": ["x"]})] {
        assert_eq!(verifier.verify(&ES256.token(&header, &claims())), Err(JwtError::Malformed));
    }
    assert!(!ready().await);
    let token = ES256.token(&json!({"alg": "ES256", "kid": "x"}), &claims());
    assert_eq!(verifier.verify(&token), Err(JwtError::UnknownKey));
    assert!(ready().await);
    // The shortest interval is 1 s.
    keys.key(Some("y"));
    assert!(tokio::time::timeout(Duration::ZERO, keys.refresh_needed(Duration::ZERO)).await.is_err());
}
