//! The keys of an issuer, by `kid`, which change while tokens are verified.

use jsonwebtoken::{
    AlgorithmFamily, DecodingKeyKind,
    jwk::{Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse},
};
use serde::Deserialize;
use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::{Duration, Instant},
};
use tokio::sync::Notify;

use super::{Algorithm, DecodingKey, KeySource, verifier::KID_LIMIT};
use crate::{Clock, Error};

/// The largest JWK set that is read, in bytes. Certificate chains make them long.
const SET_LIMIT: usize = 256 * 1024;
/// The most keys a set may hold.
const KEYS_LIMIT: usize = 64;
/// The most removed keys that are remembered.
const REMOVED_LIMIT: usize = 256;
/// [`KeySet::wanted`] returns at most so often, whatever was asked.
const LEAST_PAUSE: Duration = Duration::from_secs(1);

type Keys = BTreeMap<String, Arc<DecodingKey>>;

/// The keys of an issuer for one algorithm, by `kid`: filled from its JWK set (RFC 7517), or key by key, and
/// changed at run time without a restart. Clones share the keys.
///
/// A token whose key is not here is refused, and wakes [`wanted`](Self::wanted), so that the application fetches
/// the set again, as often as it allows and no more:
///
/// ```
/// # use comms_core::{Error, jwt::KeySet};
/// # use std::time::Duration;
/// # async fn fetch() -> Result<Vec<u8>, Error> { Ok(Vec::new()) }
/// async fn keep_fresh(keys: KeySet) {
///     loop {
///         // A failure leaves the keys as they are; the next unknown key is the next try.
///         if let Err(e) = async { keys.replace(&fetch().await?) }.await {
///             eprintln!("the keys of the issuer could not be fetched: {e}");
///         }
///         keys.wanted(Duration::from_secs(60)).await;
///     }
/// }
/// ```
#[derive(Clone)]
pub struct KeySet(Arc<Shared>);

struct Shared {
    algorithm: Algorithm,
    clock: Clock,
    known: RwLock<Known>,
    missed: Notify,
    /// When [`KeySet::wanted`] returned last.
    asked: Mutex<Option<Instant>>,
}

#[derive(Default)]
struct Known {
    keys: Keys,
    /// By `kid`, the latest last.
    removed: VecDeque<String>,
}

impl KeySet {
    /// No keys yet; later those that are good for `algorithm`.
    #[must_use]
    pub fn new(algorithm: Algorithm, clock: Clock) -> Self {
        let (known, asked) = (RwLock::default(), Mutex::default());
        Self(Arc::new(Shared { algorithm, clock, known, missed: Notify::new(), asked }))
    }

    /// Replaces all keys by those of a JWK set in JSON, at once, and says how many they are. Ignored (RFC 7517,
    /// section 5) are keys for other algorithms or uses, and those that are malformed or too weak (RFC 8725,
    /// 3.5): RSA below 2,048 bits, HMAC below the length of its hash; and those that were [removed](Self::remove).
    ///
    /// # Errors
    /// `Invalid`, and the keys stay as they were, where this is not a JWK set, has no key that can be used, two
    /// with the same `kid`, more than 64, or more than 256 KiB.
    pub fn replace(&self, jwks: &[u8]) -> Result<usize, Error> {
        let mut keys = read(jwks, self.0.algorithm).map_err(|e| e.context("JWK set"))?;
        let mut known = self.write();
        keys.retain(|kid, _| !known.removed.contains(kid));
        known.keys = keys;
        Ok(known.keys.len())
    }

    /// Adds a key, also one that was removed, or replaces the one of this `kid`. RSA in DER is an RSAPublicKey (PKCS #1),
    /// which is also what `DecodingKey::from_rsa_pem` makes of a PEM.
    ///
    /// # Errors
    /// `Invalid` for a key that is not for this set's algorithm or is too weak, a `kid` that is empty or over 256
    /// bytes, and the 65th key.
    pub fn insert(&self, kid: &str, key: DecodingKey) -> Result<(), Error> {
        if kid.is_empty() || kid.len() > KID_LIMIT {
            return Err(Error::invalid(format!("a kid has 1 to {KID_LIMIT} bytes")));
        }
        if !fits(&key, self.0.algorithm) {
            return Err(Error::invalid(format!("not a key for {:?}, or too weak", self.0.algorithm)));
        }
        let mut known = self.write();
        if known.keys.len() >= KEYS_LIMIT && !known.keys.contains_key(kid) {
            return Err(Error::invalid(format!("a key set holds at most {KEYS_LIMIT} keys")));
        }
        known.removed.retain(|removed| removed != kid);
        known.keys.insert(kid.to_owned(), Arc::new(key));
        Ok(())
    }

    /// Removes a key, and with it every token it signed. Says whether it was there. A set that still has it does not
    /// bring it back by [`replace`](Self::replace), only [`insert`](Self::insert) does: a refresh, which anyone can
    /// cause with an unknown `kid`, undoes no revocation. The last 256 removed are remembered, until the process ends.
    pub fn remove(&self, kid: &str) -> bool {
        let mut known = self.write();
        known.removed.retain(|removed| removed != kid);
        if kid.len() <= KID_LIMIT {
            known.removed.push_back(kid.to_owned());
        }
        if known.removed.len() > REMOVED_LIMIT {
            known.removed.pop_front();
        }
        known.keys.remove(kid).is_some()
    }

    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.0.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Known> {
        self.0.known.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a token has asked for a key that is not here, and at least `pause` (not less than 1 s) since
    /// this returned last: unknown keys cost at most one refresh in that time, however many come. For one task;
    /// a cancelled wait loses nothing.
    pub async fn wanted(&self, pause: Duration) {
        let asked = || self.0.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let last = *asked();
        if let Some(last) = last {
            let since = self.0.clock.now().saturating_duration_since(last);
            self.0.clock.sleep(pause.max(LEAST_PAUSE).saturating_sub(since)).await;
        }
        self.0.missed.notified().await;
        *asked() = Some(self.0.clock.now());
    }
}

impl KeySource for KeySet {
    fn key(&self, kid: Option<&str>) -> Option<Arc<DecodingKey>> {
        let found = {
            let keys = &self.read().keys;
            match kid {
                Some(kid) => keys.get(kid).cloned(),
                None if keys.len() == 1 => keys.values().next().cloned(),
                None => None,
            }
        };
        if found.is_none() {
            self.0.missed.notify_one();
        }
        found
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = &self.read().keys;
        f.debug_struct("KeySet").field("algorithm", &self.0.algorithm).field("kids", &keys.keys()).finish()
    }
}

fn read(jwks: &[u8], algorithm: Algorithm) -> Result<Keys, Error> {
    /// One malformed key must not cost the others: hence values.
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<serde_json::Value>,
    }
    if jwks.len() > SET_LIMIT {
        return Err(Error::invalid(format!("more than {SET_LIMIT} bytes")));
    }
    let set: Set = serde_json::from_slice(jwks).map_err(Error::invalid)?;
    let mut keys = Keys::new();
    for (kid, key) in set.keys.into_iter().filter_map(|value| usable(value, algorithm)) {
        if keys.insert(kid.clone(), Arc::new(key)).is_some() {
            return Err(Error::invalid(format!("two keys with the kid {kid:?}")));
        }
    }
    if !(1..=KEYS_LIMIT).contains(&keys.len()) {
        let count = keys.len();
        return Err(Error::invalid(format!("{count} usable keys for {algorithm:?}, not 1 to {KEYS_LIMIT}")));
    }
    Ok(keys)
}

/// The key and its `kid`: the empty one where it has none, which no token can name.
fn usable(value: serde_json::Value, algorithm: Algorithm) -> Option<(String, DecodingKey)> {
    let jwk: Jwk = serde_json::from_value(value).ok()?;
    let key = DecodingKey::from_jwk(&jwk).ok()?;
    let common = jwk.common;
    let kid = common.key_id.unwrap_or_default();
    let declared = common.key_algorithm.is_none_or(|a| a == KeyAlgorithm::from(algorithm))
        && common.public_key_use.is_none_or(|u| u == PublicKeyUse::Signature)
        && common.key_operations.is_none_or(|ops| ops.contains(&KeyOperations::Verify));
    (declared && kid.len() <= KID_LIMIT && fits(&key, algorithm)).then_some((kid, key))
}

/// Whether `key` is of the family of `algorithm`, on its curve, and strong enough (RFC 7518, 3.2 and 3.3).
fn fits(key: &DecodingKey, algorithm: Algorithm) -> bool {
    let bits = match algorithm {
        Algorithm::HS256 | Algorithm::ES256 => 256,
        Algorithm::HS384 | Algorithm::ES384 => 384,
        Algorithm::HS512 => 512,
        _ => 0,
    };
    let right_size = match (key.family(), key.kind()) {
        (AlgorithmFamily::Hmac, DecodingKeyKind::SecretOrDer(secret)) => secret.len() * 8 >= bits,
        // An uncompressed point: a byte that says so, and two coordinates.
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

/// The modulus of an RSAPublicKey in DER (RFC 8017, A.1.1): the first integer of the sequence.
fn modulus(der: &[u8]) -> Option<&[u8]> {
    der_value(0x02, der_value(0x30, der)?)
}

/// The value that `der` begins with, if it has this tag (X.690, 8.1.3: a length below 128 is its own byte).
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
