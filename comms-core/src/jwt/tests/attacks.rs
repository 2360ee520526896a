//! The attacks of RFC 8725, and arbitrary input.

use proptest::prelude::*;

use super::*;
use crate::jwt::verifier::TOKEN_LIMIT;

/// Each attack starts with its section of RFC 8725.
#[test]
fn attacks_of_rfc_8725_are_refused() {
    let header = || json!({"alg": "ES256", "typ": "JWT"});
    let with_header = |name: &str, value: Value| ES256.token(&with(header(), name, value), &claims());
    let with_claim = |name: &str, value: Value| ES256.token(&header(), &with(claims(), name, value));
    let valid = ES256.token(&header(), &claims());
    let (text, signature) = valid.rsplit_once('.').unwrap();
    let pem = ES256.public_pem.as_bytes();
    let none = |alg: &str| raw(&json!({"alg": alg}).to_string(), claims().to_string(), |_| String::new());
    let signed = |text: &[u8]| crypto::sign(text, &ES256.secret, Algorithm::ES256).unwrap();
    let from_text = |header: &str, claims: &str| raw(header, claims, signed);
    let latin = b"{\"sub\":\"\xff\",\"iss\":\"shop\",\"aud\":\"api\",\"exp\":1000}";
    let table = [
        ("2.1 alg none", none("none")),
        ("2.1 alg None", none("None")),
        ("2.1 alg left out", with_header("alg", Value::Null)),
        ("2.1 two parts", text.to_owned()),
        ("2.1 public key as HMAC secret", hmac(pem, &json!({"alg": "HS256"}))),
        ("2.1 another alg than the pinned one", with_header("alg", json!("ES384"))),
        ("2.1 alg in lower case", with_header("alg", json!("es256"))),
        ("2.4 four parts", format!("{valid}.{signature}")),
        ("2.4 five parts, as of a JWE", format!("{text}.{text}.{signature}")),
        ("2.5 base64 with padding", format!("{valid}=")),
        ("2.6 not UTF-8", raw(&header().to_string(), latin, signed)),
        ("3.1 crit with an extension", with_header("crit", json!(["b64"]))),
        ("3.1 crit, empty", with_header("crit", json!([]))),
        ("3.3 nested: cty", with_header("cty", json!("JWT"))),
        ("3.3 nested: a token as the payload", from_text(&header().to_string(), &valid)),
        ("3.8 another issuer", with_claim("iss", json!("other"))),
        ("3.8 issuers as a list", with_claim("iss", json!(["shop", "other"]))),
        ("3.8 no issuer", with_claim("iss", Value::Null)),
        ("3.8 no subject", with_claim("sub", Value::Null)),
        ("3.9 another audience", with_claim("aud", json!("web"))),
        ("3.9 other audiences", with_claim("aud", json!(["web", "apis"]))),
        ("3.9 no audience", with_claim("aud", Value::Null)),
        ("3.9 empty audience", with_claim("aud", json!([]))),
        ("3.10 kid empty", with_header("kid", json!(""))),
        ("3.10 kid too long", with_header("kid", json!("k".repeat(257)))),
        ("3.10 kid with NUL", with_header("kid", json!("../../dev/null\0"))),
        ("3.10 kid with a line break", with_header("kid", json!("a\nb"))),
        ("3.10 kid not text", with_header("kid", json!(7))),
        ("3.11 typ of another kind", with_header("typ", json!("logout+jwt"))),
        ("3.11 typ of an access token", with_header("typ", json!("at+jwt"))),
        ("exp left out", with_claim("exp", Value::Null)),
        ("exp as text", with_claim("exp", json!("1000"))),
        ("exp below zero", with_claim("exp", json!(-1))),
        ("exp beyond all numbers", with_claim("exp", json!(1e300))),
        (
            "exp twice",
            from_text(&header().to_string(), r#"{"sub":"a","iss":"shop","aud":"api","exp":1,"exp":9999}"#),
        ),
        ("alg twice", from_text(r#"{"alg":"ES256","alg":"ES256"}"#, &claims().to_string())),
        ("nbf null", from_text(&header().to_string(), &claims().to_string().replace('}', r#","nbf":null}"#))),
        ("empty", String::new()),
        ("dots", "..".into()),
        ("too long", "x".repeat(TOKEN_LIMIT + 1)),
    ];
    let verifier = ES256.verifier(&clock());
    assert!(verifier.verify(&valid).is_ok());
    for (attack, token) in table {
        assert_eq!(verifier.verify(&token), Err(JwtError::Malformed), "{attack}");
    }
    for token in [format!("{text}."), hmac(pem, &header())] {
        assert_eq!(verifier.verify(&token), Err(JwtError::Signature), "2.1 no signature, or an HMAC");
    }
    // 3.10: key parameters in the header are ignored.
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
fn a_public_rsa_key_is_not_accepted_as_an_hmac_secret() {
    let forged = hmac(RS256.public_pem.as_bytes(), &json!({"alg": "HS256"}));
    assert_eq!(RS256.verifier(&clock()).verify(&forged), Err(JwtError::Malformed));
    // Nor does a verifier for HMAC accept a public key from its key source.
    let key = Arc::new(RS256.public.clone());
    let confused = Verifier::new(Algorithm::HS256, "shop", "api", key, clock());
    assert_eq!(confused.verify(&forged), Err(JwtError::Malformed));
}

#[test]
fn a_token_with_a_changed_byte_is_refused() {
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

proptest! {
    #[test]
    fn arbitrary_tokens_are_refused_without_a_panic(
        text in "\\PC{0,60}",
        header in "[!-~]{0,60}",
        claims in "[!-~]{0,60}",
    ) {
        let verifier = ES256.verifier(&clock());
        prop_assert!(verifier.verify(&text).is_err());
        prop_assert!(verifier.verify(&raw(&header, &claims, |_| header.clone())).is_err());
        let header = format!(r#"{{"alg":"ES256",{header}}}"#);
        prop_assert!(verifier.verify(&raw(&header, &claims, |_| claims.clone())).is_err());
    }
}
