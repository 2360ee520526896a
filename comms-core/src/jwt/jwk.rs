//! Checks of keys against the algorithm of a verifier.

use jsonwebtoken::{
    AlgorithmFamily, DecodingKeyKind,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse},
};

use super::{
    Algorithm, DecodingKey,
    verifier::{KID_LIMIT, is_name},
};
use crate::Error;

/// Checks that `key` can verify signatures of `algorithm`: its family, the length of its point, and its strength (RFC
/// 7518, 3.2 and 3.3).
///
/// Check a configured key before you create a [`Verifier`](super::Verifier) with it. A verifier with a wrong key
/// refuses every token, with an error about the token. [`KeySet`](super::KeySet) checks its keys itself.
///
/// # Errors
/// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if the key is of another family or curve, if an RSA key
/// has less than 2,048 bits, or if an HMAC key is shorter than the output of its hash.
pub fn check_key(algorithm: Algorithm, key: &DecodingKey) -> Result<(), Error> {
    if fits(key, algorithm) {
        return Ok(());
    }
    Err(Error::invalid(format!("this is not a key for {algorithm:?}, or the key is too weak")))
}

/// Returns the key of a JWK and its `kid`. The `kid` is empty if the JWK has none; no token can name such a key.
///
/// # Errors
/// Returns the reason why the key is not usable for `algorithm`, without the key itself.
pub(super) fn parse_key(
    value: serde_json::Value,
    algorithm: Algorithm,
) -> Result<(String, DecodingKey), String> {
    let label = match value.get("kid").and_then(serde_json::Value::as_str) {
        Some(kid) if is_name(kid, KID_LIMIT) => format!("kid {kid:?}"),
        _ => "a key without a valid kid".to_owned(),
    };
    let refuse = |reason: String| format!("{label}: {reason}");
    let jwk: Jwk = serde_json::from_value(value).map_err(|_| refuse("it is not a JWK".to_owned()))?;
    let kid = jwk.common.key_id.clone().unwrap_or_default();
    if !kid.is_empty() && !is_name(&kid, KID_LIMIT) {
        return Err(refuse(format!("its kid is over {KID_LIMIT} bytes or contains control characters")));
    }
    check_use(&jwk, algorithm).and_then(|()| check_curve(&jwk, algorithm)).map_err(refuse)?;
    let key = DecodingKey::from_jwk(&jwk)
        .map_err(|_| refuse("its parameters are invalid or not supported".to_owned()))?;
    check_key(algorithm, &key).map_err(|e| refuse(e.chain().to_string()))?;
    Ok((kid, key))
}

/// Checks `alg`, `use` and `key_ops`, which are all optional (RFC 7517, section 4).
fn check_use(jwk: &Jwk, algorithm: Algorithm) -> Result<(), String> {
    let common = &jwk.common;
    if common.key_algorithm.is_some_and(|alg| alg != KeyAlgorithm::from(algorithm)) {
        return Err(format!("its alg is not {algorithm:?}"));
    }
    if common.public_key_use.as_ref().is_some_and(|purpose| *purpose != PublicKeyUse::Signature) {
        return Err("its use is not sig".to_owned());
    }
    if common.key_operations.as_ref().is_some_and(|ops| !ops.contains(&KeyOperations::Verify)) {
        return Err("its key_ops do not contain verify".to_owned());
    }
    Ok(())
}

/// Checks `kty`, `crv` and the length of each coordinate (RFC 7518, 6.2.1.2). The length of the point does not
/// determine the curve, and the length of both coordinates together does not determine that of each.
fn check_curve(jwk: &Jwk, algorithm: Algorithm) -> Result<(), String> {
    let (curve, bytes) = match algorithm {
        Algorithm::ES256 => (EllipticCurve::P256, 32),
        Algorithm::ES384 => (EllipticCurve::P384, 48),
        Algorithm::EdDSA => (EllipticCurve::Ed25519, 32),
        // HMAC and RSA have no curve. `fits` checks the family.
        _ => return Ok(()),
    };
    let (found, coordinates) = match (&jwk.algorithm, algorithm) {
        (AlgorithmParameters::EllipticCurve(key), Algorithm::ES256 | Algorithm::ES384) => {
            (&key.curve, vec![("x", &key.x), ("y", &key.y)])
        }
        (AlgorithmParameters::OctetKeyPair(key), Algorithm::EdDSA) => (&key.curve, vec![("x", &key.x)]),
        (AlgorithmParameters::Other(_), _) => {
            return Err("its kty or crv is not supported, or a coordinate is missing".to_owned());
        }
        _ => return Err(format!("its kty is not the one of {algorithm:?}")),
    };
    if *found != curve {
        return Err(format!(
            "its crv is {}, but {algorithm:?} requires {}",
            curve_name(found),
            curve_name(&curve)
        ));
    }
    // Base64url without padding has 4 characters for 3 bytes.
    let characters = (bytes * 8_usize).div_ceil(6);
    match coordinates.iter().find(|(_, text)| text.len() != characters) {
        Some((coordinate, _)) => Err(format!(
            "its {coordinate} must have the {bytes} bytes of a coordinate of {}",
            curve_name(&curve)
        )),
        None => Ok(()),
    }
}

/// Returns the name of the curve in a JWK.
fn curve_name(curve: &EllipticCurve) -> &'static str {
    match curve {
        EllipticCurve::P256 => "P-256",
        EllipticCurve::P384 => "P-384",
        EllipticCurve::P521 => "P-521",
        EllipticCurve::Ed25519 => "Ed25519",
        _ => "another curve",
    }
}

/// Returns whether `key` has the family of `algorithm`, the size of its curve, and the required strength (RFC 7518, 3.2
/// and 3.3).
fn fits(key: &DecodingKey, algorithm: Algorithm) -> bool {
    let bits = match algorithm {
        Algorithm::HS256 | Algorithm::ES256 => 256,
        Algorithm::HS384 | Algorithm::ES384 => 384,
        Algorithm::HS512 => 512,
        _ => 0,
    };
    let right_size = match (key.family(), key.kind()) {
        (AlgorithmFamily::Hmac, DecodingKeyKind::SecretOrDer(secret)) => secret.len() * 8 >= bits,
        // An uncompressed point is a marker byte and two coordinates.
        (AlgorithmFamily::Ec, DecodingKeyKind::SecretOrDer(point)) => point.len() == 1 + 2 * bits / 8,
        (AlgorithmFamily::Ed, DecodingKeyKind::SecretOrDer(point)) => point.len() == 32,
        (AlgorithmFamily::Rsa, DecodingKeyKind::RsaModulusExponent { n, .. }) => modulus_bits(n) >= 2_048,
        (AlgorithmFamily::Rsa, DecodingKeyKind::SecretOrDer(der)) => {
            modulus(der).is_some_and(|n| modulus_bits(n) >= 2_048)
        }
        _ => false,
    };
    right_size && key.family() == algorithm.family()
}

/// Returns the modulus of an RSAPublicKey in DER (RFC 8017, A.1.1): the first integer of the sequence.
fn modulus(der: &[u8]) -> Option<&[u8]> {
    der_value(0x02, der_value(0x30, der)?)
}

/// Returns the first value in `der` if it has this tag. A length below 128 is a single byte (X.690, 8.1.3).
fn der_value(tag: u8, der: &[u8]) -> Option<&[u8]> {
    let [found, first, rest @ ..] = der else { return None };
    let digits = usize::from(first.checked_sub(0x80).unwrap_or_default());
    let (length, rest) = match digits {
        0 => (usize::from(*first), rest),
        1..=4 => {
            let (length, rest) = rest.split_at_checked(digits)?;
            (length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    rest.get(..length).filter(|_| *found == tag)
}

fn modulus_bits(modulus: &[u8]) -> usize {
    let significant = modulus.iter().position(|byte| *byte != 0).map_or(&[][..], |at| &modulus[at..]);
    significant.len() * 8 - significant.first().map_or(0, |byte| byte.leading_zeros() as usize)
}
