//! Tokens that pass, and RFC 8725's ways to make one that must not.

mod claims;
mod key_set;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{EncodingKey, crypto, jwk::Jwk};
use proptest::prelude::*;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PKCS_RSA_SHA256, SignatureAlgorithm};
use serde_json::{Value, json};
use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use super::{Algorithm, DecodingKey, JwtError, KeySet, Verifier, verifier::TOKEN_LIMIT};
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

    /// A token with this header, signed whatever it says.
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

/// `object` with `name` set, or left out where `value` is null.
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
fn accepts_tokens_of_es256_eddsa_and_rs256_under_their_own_key_alone() {
    let clock = clock();
    let pairs: [&Pair; 3] = [&ES256, &EDDSA, &RS256];
    for signing in pairs {
        let token = signing.token(&json!({"alg": signing.algorithm, "typ": "JWT"}), &claims());
        for verifying in pairs {
            let (same, answer) =
                (signing.algorithm == verifying.algorithm, verifying.verifier(&clock).verify(&token));
            assert_eq!(answer.is_ok(), same, "{:?} by {:?}", signing.algorithm, verifying.algorithm);
        }
        let claims = signing.verifier(&clock).verify(&token).unwrap();
        assert_eq!((claims.sub.as_str(), claims.exp, claims.aud.len()), ("ann", 1_000, 2));
        let stranger = pair(signing.algorithm).verifier(&clock);
        assert_eq!(stranger.verify(&token), Err(JwtError::Signature));
    }
}

/// RFC 8725, the section of each attack before it.
#[test]
fn refuses_what_best_current_practice_refuses() {
    let header = || json!({"alg": "ES256", "typ": "JWT"});
    let set = |name: &str, value: Value| ES256.token(&with(header(), name, value), &claims());
    let says = |name: &str, value: Value| ES256.token(&header(), &with(claims(), name, value));
    let good = ES256.token(&header(), &claims());
    let (text, signature) = good.rsplit_once('.').unwrap();
    let pem = ES256.public_pem.as_bytes();
    let none = |alg: &str| raw(&json!({"alg": alg}).to_string(), claims().to_string(), |_| String::new());
    let signed = |text: &[u8]| crypto::sign(text, &ES256.secret, Algorithm::ES256).unwrap();
    let twice = |header: &str, claims: &str| raw(header, claims, signed);
    let latin = b"{\"sub\":\"\xff\",\"iss\":\"shop\",\"aud\":\"api\",\"exp\":1000}";
    let table = [
        ("2.1 alg none", none("none")),
        ("2.1 alg None", none("None")),
        ("2.1 alg left out", set("alg", Value::Null)),
        ("2.1 two parts", text.to_owned()),
        ("2.1 public key as HMAC secret", hmac(pem, &json!({"alg": "HS256"}))),
        ("2.1 another alg than the pinned one", set("alg", json!("ES384"))),
        ("2.1 alg in lower case", set("alg", json!("es256"))),
        ("2.4 four parts", format!("{good}.{signature}")),
        ("2.4 five parts, as of a JWE", format!("{text}.{text}.{signature}")),
        ("2.5 base64 with padding", format!("{good}=")),
        ("2.6 not UTF-8", raw(&header().to_string(), latin, signed)),
        ("3.1 crit with an extension", set("crit", json!(["b64"]))),
        ("3.1 crit, empty", set("crit", json!([]))),
        ("3.3 nested: cty", set("cty", json!("JWT"))),
        ("3.3 nested: a token as the payload", twice(&header().to_string(), &good)),
        ("3.8 another issuer", says("iss", json!("other"))),
        ("3.8 issuers as a list", says("iss", json!(["shop", "other"]))),
        ("3.8 no issuer", says("iss", Value::Null)),
        ("3.8 no subject", says("sub", Value::Null)),
        ("3.9 another audience", says("aud", json!("web"))),
        ("3.9 other audiences", says("aud", json!(["web", "apis"]))),
        ("3.9 no audience", says("aud", Value::Null)),
        ("3.9 empty audience", says("aud", json!([]))),
        ("3.10 kid empty", set("kid", json!(""))),
        ("3.10 kid too long", set("kid", json!("k".repeat(257)))),
        ("3.10 kid with NUL", set("kid", json!("../../dev/null\0"))),
        ("3.10 kid with a line break", set("kid", json!("a\nb"))),
        ("3.10 kid not text", set("kid", json!(7))),
        ("3.11 typ of another kind", set("typ", json!("logout+jwt"))),
        ("3.11 an access token's typ, not asked for", set("typ", json!("at+jwt"))),
        ("exp left out", says("exp", Value::Null)),
        ("exp as text", says("exp", json!("1000"))),
        ("exp below zero", says("exp", json!(-1))),
        ("exp beyond all numbers", says("exp", json!(1e300))),
        (
            "exp twice",
            twice(&header().to_string(), r#"{"sub":"a","iss":"shop","aud":"api","exp":1,"exp":9999}"#),
        ),
        ("alg twice", twice(r#"{"alg":"ES256","alg":"ES256"}"#, &claims().to_string())),
        ("nbf null", twice(&header().to_string(), &claims().to_string().replace('}', r#","nbf":null}"#))),
        ("empty", String::new()),
        ("dots", "..".into()),
        ("too long", "x".repeat(TOKEN_LIMIT + 1)),
    ];
    let verifier = ES256.verifier(&clock());
    assert!(verifier.verify(&good).is_ok());
    for (attack, token) in table {
        assert_eq!(verifier.verify(&token), Err(JwtError::Malformed), "{attack}");
    }
    for token in [format!("{text}."), hmac(pem, &header())] {
        assert_eq!(verifier.verify(&token), Err(JwtError::Signature), "2.1 no signature, or an HMAC");
    }
    // 3.10: what a token says about its key is neither used nor fetched, and does no harm under the right key.
    let attacker = pair(Algorithm::ES256);
    let hints = [
        ("jwk", attacker.jwk("mine")),
        ("jku", json!("https://attacker.example/keys")),
        ("x5u", json!("https://attacker.example/chain")),
        ("x5c", json!(["MIIB"])),
    ];
    for (name, hint) in hints {
        let header = with(header(), name, hint);
        assert_eq!(verifier.verify(&attacker.token(&header, &claims())), Err(JwtError::Signature), "{name}");
        assert!(verifier.verify(&ES256.token(&header, &claims())).is_ok(), "{name}");
    }
}

#[test]
fn a_public_rsa_key_is_no_hmac_secret_either() {
    let forged = hmac(RS256.public_pem.as_bytes(), &json!({"alg": "HS256"}));
    assert_eq!(RS256.verifier(&clock()).verify(&forged), Err(JwtError::Malformed));
    // Nor does a verifier pinned to HMAC take the public key, should a key source hand it out.
    let key = Arc::new(RS256.public.clone());
    let confused = Verifier::new(Algorithm::HS256, "shop", "api", key, clock());
    assert_eq!(confused.verify(&forged), Err(JwtError::Malformed));
}

#[test]
fn no_byte_of_a_token_can_be_changed() {
    for pair in [&ES256, &EDDSA] {
        let verifier = pair.verifier(&clock());
        let token = pair.token(&json!({"alg": pair.algorithm}), &claims());
        for at in 0..token.len() {
            for other in ["A", "9", ".", "="] {
                let mut changed = token.clone();
                changed.replace_range(at..=at, other);
                let accepted = verifier.verify(&changed).is_ok();
                assert!(!accepted || changed == token, "{other:?} at {at}");
            }
        }
    }
}

#[test]
fn time_is_the_clocks_within_the_skew() {
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
        (&default, token("nbf", json!(931)), Err(JwtError::Immature)),
        (&verifier(0), token("exp", json!(901)), Ok(())),
        (&verifier(0), token("exp", json!(900)), Err(JwtError::Expired)),
        (&verifier(0), token("nbf", json!(900)), Ok(())),
        (&verifier(0), token("nbf", json!(901)), Err(JwtError::Immature)),
        (&verifier(300), token("exp", json!(601)), Ok(())),
        (&verifier(300), token("exp", json!(600)), Err(JwtError::Expired)),
        // A date may have a fraction.
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
fn a_token_of_one_issuer_does_not_pass_for_one_of_another() {
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

proptest! {
    #[test]
    fn any_text_is_refused_without_a_panic(text in "\\PC{0,60}", header in "[!-~]{0,60}", claims in "[!-~]{0,60}") {
        let verifier = ES256.verifier(&clock());
        prop_assert!(verifier.verify(&text).is_err());
        prop_assert!(verifier.verify(&raw(&header, &claims, |_| header.clone())).is_err());
        let header = format!(r#"{{"alg":"ES256",{header}}}"#);
        prop_assert!(verifier.verify(&raw(&header, &claims, |_| claims.clone())).is_err());
    }
}
