//! The claims of a verified token, and the end of its validity.

use super::*;
use crate::jwt::Claims;

fn verify(claims: &Value) -> Result<Claims, JwtError> {
    ES256.verifier(&clock()).verify(&ES256.token(&json!({"alg": "ES256"}), claims))
}

#[test]
fn a_subject_has_a_maximum_length_and_no_control_characters() {
    let verify = |subject: &str| verify(&with(claims(), "sub", json!(subject)));
    let (longest, longer, five_kib) = ("s".repeat(256), "s".repeat(257), "s".repeat(5 * 1024));
    for valid in ["a", "auth0|5f7c8ec7c33c6c004bbafe82", "zoë", "\u{645}\u{200c}\u{647}", &longest] {
        assert_eq!(verify(valid).map(|claims| claims.sub).as_deref(), Ok(valid));
    }
    let controls =
        ["ann\0", "\0", "a\nb", "a\u{7f}", "a\u{85}", "a\u{9f}", "a\u{2028}b", "a\u{202e}b", "\u{2066}a"];
    for invalid in controls.iter().chain(&["", &longer, &five_kib]) {
        assert_eq!(verify(invalid), Err(JwtError::Subject), "{invalid:?}");
    }
}

#[test]
fn audiences_and_scopes_have_no_control_characters() {
    for (claim, value) in [
        ("aud", json!(["api", "a\nb"])),
        ("aud", json!(["api", ""])),
        ("aud", json!(["api", "a\u{202e}b"])),
        ("scope", json!("read\0")),
        ("scope", json!(["read", "a\nb"])),
    ] {
        assert_eq!(
            verify(&with(claims(), claim, value.clone())),
            Err(JwtError::Malformed),
            "{claim} {value}"
        );
    }
}

#[test]
fn scopes_are_read_in_every_form_and_written_as_one_string() {
    let table = [
        (json!({}), ""),
        (json!({"scope": null}), ""),
        (json!({"scope": ""}), ""),
        (json!({"scope": []}), ""),
        (json!({"scope": "read write"}), "read write"),
        (json!({"scope": ["read", "write"]}), "read write"),
        (json!({"scp": "read write"}), "read write"),
        (json!({"scp": ["read", "write"]}), "read write"),
        (json!({"scp": null}), ""),
        (json!({"scope": null, "scp": ["read"]}), "read"),
        (json!({"scope": "read", "scp": ["admin"]}), "read"),
        (json!({"scope": "", "scp": ["admin"]}), ""),
    ];
    for (scopes, expected) in table {
        let mut all = claims();
        all.as_object_mut().unwrap().extend(scopes.as_object().unwrap().clone());
        let read = verify(&all).unwrap();
        assert_eq!(read.scope, expected, "{scopes}");
        let written = serde_json::to_value(&read).unwrap();
        let text = (!expected.is_empty()).then(|| json!(expected));
        assert_eq!((written.get("scope"), written.get("scp")), (text.as_ref(), None), "{scopes}");
    }
    for invalid in
        [json!({"scope": 7}), json!({"scope": ["read", 7]}), json!({"scope": {}}), json!({"scp": true})]
    {
        let mut all = claims();
        all.as_object_mut().unwrap().extend(invalid.as_object().unwrap().clone());
        assert_eq!(verify(&all), Err(JwtError::Malformed), "{invalid}");
    }

    let read = verify(&with(claims(), "scope", json!("orders:read  orders:write"))).unwrap();
    assert!(read.has_scope("orders:read") && read.has_scope("orders:write"));
    for other in ["", "orders", "ORDERS:READ", "orders:read orders:write", " "] {
        assert!(!read.has_scope(other), "{other:?}");
    }
}

#[test]
fn a_token_is_valid_until_expires_at_unix() {
    let clock = clock();
    let verifier = ES256.verifier(&clock).with_skew(Duration::from_secs(20)).unwrap();
    let token = ES256.token(&json!({"alg": "ES256"}), &claims());
    let end = verifier.expires_at_unix(&verifier.verify(&token).unwrap());
    assert_eq!(end, 1_020);
    clock.advance(Duration::from_secs(end) - clock.unix() - Duration::from_nanos(1));
    assert!(verifier.verify(&token).is_ok());
    clock.advance(Duration::from_nanos(1));
    assert_eq!(verifier.verify(&token), Err(JwtError::Expired));
    let unlimited = with(claims(), "exp", json!(u64::MAX));
    let unlimited = verifier.verify(&ES256.token(&json!({"alg": "ES256"}), &unlimited)).unwrap();
    assert_eq!(verifier.expires_at_unix(&unlimited), u64::MAX);
}
