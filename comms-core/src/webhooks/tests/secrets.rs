//! Secrets: rotation, and their text form.

use super::*;

#[test]
fn one_common_secret_is_sufficient_during_rotation() {
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
        signer.sign(&delivery).inject(&mut headers).unwrap();
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
fn secrets_parse_leniently_and_are_never_printed() {
    let bare = SECRET.strip_prefix("whsec_").unwrap();
    assert_eq!(bare.parse::<Secret>().unwrap().expose(), SECRET);
    // 25 bytes have padding in base64, which is optional.
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
