//! The keys of an issuer, by `kid`, which change while tokens are verified.

use serde::Deserialize;
use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::{Duration, Instant},
};
use tokio::sync::Notify;

use super::{
    Algorithm, DecodingKey, KeySource, check_key, jwk,
    verifier::{KID_LIMIT, is_name},
};
use crate::{Error, clock::Clock};

/// The largest JWK set that is read, in bytes. Certificate chains make them long.
const SET_LIMIT: usize = 256 * 1024;
/// The most keys a set may hold.
const KEYS_LIMIT: usize = 64;
/// The most removed keys that are remembered.
const REMOVED_LIMIT: usize = 256;
/// The most ignored keys that an error gives the reason for.
const REASONS_LIMIT: usize = 5;
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

    /// Replaces all keys at once by those of a JWK set in JSON, and returns how many they are. These keys of the set
    /// are ignored (RFC 7517, section 5):
    /// - keys for another algorithm or use: `alg`, `use` or `key_ops` names another one, or `kty` or `crv` is not that
    ///   of the algorithm (ES256 needs `EC` and `P-256`, ES384 `EC` and `P-384`, EdDSA `OKP` and `Ed25519`);
    /// - malformed keys: a coordinate that has not the length of its curve, a `kid` over 256 bytes or with control
    ///   characters;
    /// - keys that are too weak (RFC 8725, 3.5): RSA below 2,048 bits, HMAC below the length of its hash;
    /// - keys that were [removed](Self::remove).
    ///
    /// # Errors
    /// Returns `Invalid`, and the keys stay as they were, if the text is not a JWK set, is longer than 256 KiB, has two
    /// usable keys with the same `kid`, more than 64 usable keys, or none: then the error names the reason for each
    /// of the first keys.
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
    /// Returns `Invalid` if the key is not for this set's algorithm or is too weak, if `kid` is empty, over 256 bytes
    /// or has control characters, and for the 65th key.
    pub fn insert(&self, kid: &str, key: DecodingKey) -> Result<(), Error> {
        if !is_name(kid, KID_LIMIT) {
            return Err(Error::invalid(format!(
                "a kid has 1 to {KID_LIMIT} bytes without control characters"
            )));
        }
        check_key(self.0.algorithm, &key)?;
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
    let (mut keys, mut ignored) = (Keys::new(), Vec::new());
    for value in set.keys {
        let (kid, key) = match jwk::usable(value, algorithm) {
            Ok(usable) => usable,
            Err(reason) => {
                tracing::debug!(?algorithm, reason, "key of a JWK set ignored");
                ignored.push(reason);
                continue;
            }
        };
        if keys.insert(kid.clone(), Arc::new(key)).is_some() {
            return Err(Error::invalid(format!("two keys with the kid {kid:?}")));
        }
    }
    if keys.is_empty() {
        ignored.truncate(REASONS_LIMIT);
        return Err(Error::invalid(format!("no usable key for {algorithm:?}: [{}]", ignored.join("; "))));
    }
    if keys.len() > KEYS_LIMIT {
        let count = keys.len();
        return Err(Error::invalid(format!("{count} usable keys for {algorithm:?}, more than {KEYS_LIMIT}")));
    }
    Ok(keys)
}
