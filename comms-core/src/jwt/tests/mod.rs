//! The fixtures of the JWT tests, and tests of algorithms, types and issuers.

mod attacks;
mod claims;
mod key_set;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{EncodingKey, crypto, jwk::Jwk};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PKCS_RSA_SHA256, SignatureAlgorithm};
use serde_json::{Value, json};
use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use super::{Algorithm, DecodingKey, JwtError, KeySet, Verifier};
use crate::clock::Clock;

/// A key pair of an issuer.
struct Pair {
    algorithm: Algorithm,
    secret: EncodingKey,
    public: DecodingKey,
    public_pem: String,
}

static ES256: LazyLock<Pair> = LazyLock::new(|| pair(Algorithm::ES256));
static EDDSA: LazyLock<Pair> = LazyLock::new(|| pair(Algorithm::EdDSA));
static RS256: LazyLock<Pair> = LazyLock::new(|| pair(Algorithm::RS256));

type FromPem<T> = fn(&[u8]) -> jsonwebtoken::errors::Result<T>;

fn pair(algorithm: Algorithm) -> Pair {
    let (kind, secret, public): (&SignatureAlgorithm, FromPem<EncodingKey>, FromPem<DecodingKey>) =
        match algorithm {
            Algorithm::ES256 => (&PKCS_ECDSA_P256_SHA256, EncodingKey::from_ec_pem, DecodingKey::from_ec_pem),
            Algorithm::EdDSA => (&PKCS_ED25519, EncodingKey::from_ed_pem, DecodingKey::from_ed_pem),
            _ => (&PKCS_RSA_SHA256, EncodingKey::from_rsa_pem, DecodingKey::from_rsa_pem),
        };
    let generated = KeyPair::generate_for(kind).unwrap();
    let public_pem = generated.public_key_pem();
    Pair {
        algorithm,
        secret: secret(generated.serialize_pem().as_bytes()).unwrap(),
        public: public(public_pem.as_bytes()).unwrap(),
        public_pem,
    }
}

impl Pair {
    fn jwk(&self, kid: &str) -> Value {
        let mut jwk = Jwk::from_decoding_key(&self.public, Some(self.algorithm)).unwrap();
        jwk.common.key_id = Some(kid.to_owned());
        serde_json::to_value(jwk).unwrap()
    }

    fn verifier(&self, clock: &Clock) -> Verifier {
        Verifier::new(self.algorithm, "shop", "api", Arc::new(self.public.clone()), clock.clone())
    }

    /// Returns a token with this header, signed by the pair's algorithm regardless of the header's `alg`.
    fn token(&self, header: &Value, claims: &Value) -> String {
        raw(&header.to_string(), claims.to_string(), |text| {
            crypto::sign(text, &self.secret, self.algorithm).unwrap()
        })
    }
}

fn raw(header: &str, claims: impl AsRef<[u8]>, sign: impl Fn(&[u8]) -> String) -> String {
    let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = sign(text.as_bytes());
    format!("{text}.{signature}")
}

fn hmac(secret: &[u8], header: &Value) -> String {
    let key = EncodingKey::from_secret(secret);
    raw(&header.to_string(), claims().to_string(), |text| crypto::sign(text, &key, Algorithm::HS256).unwrap())
}

fn claims() -> Value {
    json!({"sub": "ann", "iss": "shop", "aud": ["web", "api"], "exp": 1_000})
}

/// Returns `object` with the member `name` set to `value`, or removed if `value` is null.
fn with(mut object: Value, name: &str, value: Value) -> Value {
    let fields = object.as_object_mut().unwrap();
    if value.is_null() {
        fields.remove(name);
    } else {
        fields.insert(name.to_owned(), value);
    }
    object
}

fn clock() -> Clock {
    Clock::manual(Duration::from_secs(900))
}

#[test]
fn tokens_verify_only_under_the_key_and_algorithm_that_signed_them() {
    let clock = clock();
    let pairs: [&Pair; 3] = [&ES256, &EDDSA, &RS256];
    for signing in pairs {
        let token = signing.token(&json!({"alg": signing.algorithm, "typ": "JWT"}), &claims());
        for verifying in pairs {
            let (same, result) =
                (signing.algorithm == verifying.algorithm, verifying.verifier(&clock).verify(&token));
            assert_eq!(result.is_ok(), same, "{:?} by {:?}", signing.algorithm, verifying.algorithm);
        }
        let claims = signing.verifier(&clock).verify(&token).unwrap();
        assert_eq!((claims.sub.as_str(), claims.exp, claims.aud.len()), ("ann", 1_000, 2));
        let other = pair(signing.algorithm).verifier(&clock);
        assert_eq!(other.verify(&token), Err(JwtError::Signature));
    }
}

#[test]
fn exp_and_nbf_are_compared_with_the_clock_and_the_skew() {
    let token = |name, value| {
        let claims = with(with(claims(), "exp", json!(u64::MAX)), name, value);
        ES256.token(&json!({"alg": "ES256"}), &claims)
    };
    let verifier = |seconds: u64| ES256.verifier(&clock()).with_skew(Duration::from_secs(seconds)).unwrap();
    let default = ES256.verifier(&clock());
    let table = [
        (&default, token("exp", json!(871)), Ok(())),
        (&default, token("exp", json!(870)), Err(JwtError::Expired)),
        (&default, token("nbf", json!(930)), Ok(())),
        (&default, token("nbf", json!(931)), Err(JwtError::NotYetValid)),
        (&verifier(0), token("exp", json!(901)), Ok(())),
        (&verifier(0), token("exp", json!(900)), Err(JwtError::Expired)),
        (&verifier(0), token("nbf", json!(900)), Ok(())),
        (&verifier(0), token("nbf", json!(901)), Err(JwtError::NotYetValid)),
        (&verifier(300), token("exp", json!(601)), Ok(())),
        (&verifier(300), token("exp", json!(600)), Err(JwtError::Expired)),
        // The fraction of a date is dropped.
        (&verifier(0), token("exp", json!(901.75)), Ok(())),
        (&verifier(0), token("exp", json!(900.75)), Err(JwtError::Expired)),
        (&verifier(0), token("nbf", json!(900.25)), Ok(())),
    ];
    for (row, (verifier, token, expected)) in table.into_iter().enumerate() {
        assert_eq!(verifier.verify(&token).map(drop), expected, "row {row}");
    }
    assert!(ES256.verifier(&clock()).with_skew(Duration::from_secs(301)).is_err());

    let clock = clock();
    let (verifier, token) = (ES256.verifier(&clock), ES256.token(&json!({"alg": "ES256"}), &claims()));
    assert!(verifier.verify(&token).is_ok());
    clock.advance(Duration::from_secs(130));
    assert_eq!(verifier.verify(&token), Err(JwtError::Expired));
}

#[test]
fn the_type_is_jwt_or_absent_unless_another_is_required() {
    let token = |typ: Value| ES256.token(&with(json!({"alg": "ES256"}), "typ", typ), &claims());
    let (any, access) = (ES256.verifier(&clock()), ES256.verifier(&clock()).with_type("at+jwt"));
    let table = [
        (Value::Null, true, false),
        (json!("JWT"), true, false),
        (json!("jwt"), true, false),
        (json!("application/jwt"), true, false),
        (json!("at+jwt"), false, true),
        (json!("AT+JWT"), false, true),
        (json!("application/at+jwt"), false, true),
        (json!("application/at+jwtx"), false, false),
        (json!(""), false, false),
    ];
    for (typ, by_any, by_access) in table {
        let token = token(typ.clone());
        assert_eq!((any.verify(&token).is_ok(), access.verify(&token).is_ok()), (by_any, by_access), "{typ}");
    }
}

#[test]
fn a_token_of_one_issuer_is_refused_by_the_verifier_of_another() {
    let (ours, theirs) = (&*ES256, pair(Algorithm::ES256));
    let issuer = |name: &str, pair: &Pair| {
        let keys = KeySet::new(Algorithm::ES256, clock());
        keys.insert("1", pair.public.clone()).unwrap();
        Verifier::new(Algorithm::ES256, name, "api", keys, clock())
    };
    let verifiers = [issuer("shop", ours), issuer("partner", &theirs)];
    let accepted_by = |pair: &Pair, iss: &str| {
        let token = pair.token(&json!({"alg": "ES256", "kid": "1"}), &with(claims(), "iss", json!(iss)));
        verifiers.iter().position(|verifier| verifier.verify(&token).is_ok())
    };
    assert_eq!(accepted_by(ours, "shop"), Some(0));
    assert_eq!(accepted_by(&theirs, "partner"), Some(1));
    assert_eq!(accepted_by(ours, "partner"), None);
    assert_eq!(accepted_by(&theirs, "shop"), None);
}
