//! The three headers: missing, malformed and repeated ones, and lists of signatures.

use super::*;

#[test]
fn header_order_and_header_type_do_not_matter() {
    let backwards: Headers = headers().iter().collect::<Vec<_>>().into_iter().rev().map(owned).collect();
    assert!(verifier().verify(&backwards, BODY).is_ok());
    let mut http = HeaderMap::new();
    Signer::new([secret()], clock())
        .unwrap()
        .sign(&Delivery::new(ID, BODY).unwrap())
        .inject(&mut http)
        .unwrap();
    assert!(verifier().verify(&http, BODY).is_ok());
    let carrier: &dyn Extract = &http;
    assert!(verifier().verify(carrier, BODY).is_ok());
}

fn owned((name, value): (&str, &[u8])) -> (String, Vec<u8>) {
    (name.to_owned(), value.to_vec())
}

#[test]
fn of_a_repeated_header_the_extracted_value_counts() {
    let mut twice = headers();
    twice.append(wire::WEBHOOK_ID, "msg_other");
    assert_eq!(
        verifier().verify(&twice, BODY),
        Err(WebhookError::SignatureMismatch),
        "the last value of a message"
    );
    let mut http = HeaderMap::new();
    headers().iter().for_each(|(name, value)| {
        let name = http::HeaderName::from_bytes(name.as_bytes()).unwrap();
        http.append(name, http::HeaderValue::from_bytes(value).unwrap());
    });
    http.append(wire::WEBHOOK_ID, "msg_other".parse().unwrap());
    assert_eq!(&*verifier().verify(&http, BODY).unwrap().id, ID, "the first value in HTTP");
}

#[test]
fn the_error_names_the_missing_or_malformed_header() {
    for name in [wire::WEBHOOK_ID, wire::WEBHOOK_TIMESTAMP, wire::WEBHOOK_SIGNATURE] {
        let mut without = headers();
        without.remove(name);
        assert_eq!(verifier().verify(&without, BODY), Err(WebhookError::MissingHeader(name)));
        for bad in [&b""[..], b"\xff\xfe", "\u{661}".as_bytes(), &[b'7'; 100_000]] {
            assert_eq!(verifier().verify(&with(name, bad), BODY), Err(WebhookError::MalformedHeader(name)));
        }
    }
    for id in ["a.b", "a b", " a", "a\0", "a\n", &"x".repeat(ID_LIMIT + 1)] {
        let refused = verifier().verify(&with(wire::WEBHOOK_ID, id), BODY);
        assert_eq!(refused, Err(WebhookError::MalformedHeader(wire::WEBHOOK_ID)), "{id:?}");
    }
    let longest = with(wire::WEBHOOK_ID, "x".repeat(ID_LIMIT));
    assert_eq!(verifier().verify(&longest, BODY), Err(WebhookError::SignatureMismatch));
    for time in ["+1614265330", "-1", "1614265330.0", "1e9", " 1614265330", "0x1", "18446744073709551616"] {
        let refused = verifier().verify(&with(wire::WEBHOOK_TIMESTAMP, time), BODY);
        assert_eq!(refused, Err(WebhookError::MalformedHeader(wire::WEBHOOK_TIMESTAMP)), "{time:?}");
    }
}

#[test]
fn other_signatures_and_unknown_versions_are_ignored() {
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
        assert_eq!(result, Err(WebhookError::SignatureMismatch), "{header}");
    }
    let too_many = with(wire::WEBHOOK_SIGNATURE, format!("{}{SIGNATURE}", "v2,x ".repeat(16)));
    assert_eq!(
        verifier().verify(&too_many, BODY),
        Err(WebhookError::MalformedHeader(wire::WEBHOOK_SIGNATURE))
    );
}
