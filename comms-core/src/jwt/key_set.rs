//! A set of an issuer's keys that can change at run time.

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

/// The maximum size of a JWK set, in bytes. Sets with certificate chains are long.
const SET_LIMIT: usize = 256 * 1024;
/// The maximum number of keys in a set.
const KEYS_LIMIT: usize = 64;
/// The maximum number of removed keys that are remembered.
const REMOVED_LIMIT: usize = 256;
/// The maximum number of ignored keys whose reasons an error contains.
const REASONS_LIMIT: usize = 5;
/// The minimum interval between two returns of [`KeySet::refresh_needed`].
const MIN_INTERVAL: Duration = Duration::from_secs(1);

type Keys = BTreeMap<String, Arc<DecodingKey>>;

/// The keys of an issuer for one algorithm, by `kid`.
///
/// The keys come from a JWK set (RFC 7517) or are inserted one by one, and can change at run time. Clones share the
/// keys.
///
/// A token with an unknown key is refused and resolves [`refresh_needed`](Self::refresh_needed), so that the
/// application fetches the JWK set again at a bounded rate:
///
/// ```
/// # use comms_core::{Error, jwt::KeySet};
/// # use std::time::Duration;
/// # async fn fetch() -> Result<Vec<u8>, Error> { Ok(Vec::new()) }
/// async fn keep_fresh(keys: KeySet) {
///     loop {
///         // After a failure the keys stay the same. The next unknown key causes the next attempt.
///         if let Err(e) = async { keys.replace(&fetch().await?) }.await {
///             eprintln!("the keys of the issuer could not be fetched: {e}");
///         }
///         keys.refresh_needed(Duration::from_secs(60)).await;
///     }
/// }
/// ```
#[derive(Clone)]
pub struct KeySet(Arc<Shared>);

struct Shared {
    algorithm: Algorithm,
    clock: Clock,
    state: RwLock<State>,
    key_missing: Notify,
    /// The time at which [`KeySet::refresh_needed`] returned last.
    last_refresh: Mutex<Option<Instant>>,
}

#[derive(Default)]
struct State {
    keys: Keys,
    /// The `kid`s of removed keys, the most recent last.
    removed: VecDeque<String>,
}

impl KeySet {
    /// Creates an empty set for keys of `algorithm`.
    #[must_use]
    pub fn new(algorithm: Algorithm, clock: Clock) -> Self {
        Self(Arc::new(Shared {
            algorithm,
            clock,
            state: RwLock::default(),
            key_missing: Notify::new(),
            last_refresh: Mutex::default(),
        }))
    }

    /// Replaces all keys with those of a JWK set in JSON, in one step, and returns the number of keys.
    ///
    /// These keys of the JWK set are ignored (RFC 7517, section 5):
    /// - keys for another algorithm or use: `alg`, `use` or `key_ops` names another one, or `kty` or `crv` is not the
    ///   one of the algorithm (ES256 requires `EC` and `P-256`, ES384 `EC` and `P-384`, EdDSA `OKP` and `Ed25519`);
    /// - malformed keys: a coordinate does not have the length of its curve, or `kid` is over 256 bytes or contains
    ///   control characters;
    /// - weak keys (RFC 8725, 3.5): RSA below 2,048 bits, HMAC below the length of its hash;
    /// - keys that were [removed](Self::remove): if all usable keys were, the set becomes empty and the result is 0.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) and leaves the keys unchanged if the text is not a JWK
    /// set or is over 256 KiB, if two usable keys have the same `kid`, if there are more than 64 usable keys, or if
    /// there is none. In the last case the error contains the reasons for the first 5 ignored keys.
    pub fn replace(&self, jwks: &[u8]) -> Result<usize, Error> {
        let mut keys = parse_set(jwks, self.0.algorithm).map_err(|e| e.context("read a JWK set"))?;
        let mut state = self.write();
        keys.retain(|kid, _| !state.removed.contains(kid));
        state.keys = keys;
        Ok(state.keys.len())
    }

    /// Adds a key, or replaces the key with this `kid`. A key that was [removed](Self::remove) becomes usable again.
    ///
    /// An RSA key in DER must be an RSAPublicKey (PKCS #1), as `DecodingKey::from_rsa_pem` creates it.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if the key is not for the algorithm of the set or is
    /// too weak, if `kid` is empty, over 256 bytes or contains control characters, or if the set already has 64 other
    /// keys.
    pub fn insert(&self, kid: &str, key: DecodingKey) -> Result<(), Error> {
        if !is_name(kid, KID_LIMIT) {
            return Err(Error::invalid(format!(
                "the kid must have 1 to {KID_LIMIT} bytes without control characters"
            )));
        }
        check_key(self.0.algorithm, &key)?;
        let mut state = self.write();
        if state.keys.len() >= KEYS_LIMIT && !state.keys.contains_key(kid) {
            return Err(Error::invalid(format!("a key set can have at most {KEYS_LIMIT} keys")));
        }
        state.removed.retain(|removed| removed != kid);
        state.keys.insert(kid.to_owned(), Arc::new(key));
        Ok(())
    }

    /// Removes a key, which revokes all tokens signed with it, and returns whether the key was in the set.
    ///
    /// [`replace`](Self::replace) does not add a removed key again, so that a refresh, which any client can cause with
    /// an unknown `kid`, does not undo a revocation. [`insert`](Self::insert) does. The last 256 removed keys are
    /// remembered until the process ends.
    pub fn remove(&self, kid: &str) -> bool {
        let mut state = self.write();
        state.removed.retain(|removed| removed != kid);
        if kid.len() <= KID_LIMIT {
            state.removed.push_back(kid.to_owned());
        }
        if state.removed.len() > REMOVED_LIMIT {
            state.removed.pop_front();
        }
        state.keys.remove(kid).is_some()
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.0.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.0.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a token names an unknown key, and until at least `min_interval` has passed since this method
    /// returned last. The interval is at least 1 s.
    ///
    /// Any number of unknown keys thus causes at most one refresh in each interval. Call this method from one task. It
    /// is cancel safe: a later call still sees an unknown key from before.
    pub async fn refresh_needed(&self, min_interval: Duration) {
        let last_refresh = || self.0.last_refresh.lock().unwrap_or_else(PoisonError::into_inner);
        let last = *last_refresh();
        if let Some(last) = last {
            let elapsed = self.0.clock.now().saturating_duration_since(last);
            self.0.clock.sleep(min_interval.max(MIN_INTERVAL).saturating_sub(elapsed)).await;
        }
        self.0.key_missing.notified().await;
        *last_refresh() = Some(self.0.clock.now());
    }
}

impl KeySource for KeySet {
    fn key(&self, kid: Option<&str>) -> Option<Arc<DecodingKey>> {
        let key = {
            let keys = &self.read().keys;
            match kid {
                Some(kid) => keys.get(kid).cloned(),
                None if keys.len() == 1 => keys.values().next().cloned(),
                None => None,
            }
        };
        if key.is_none() {
            self.0.key_missing.notify_one();
        }
        key
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = &self.read().keys;
        f.debug_struct("KeySet").field("algorithm", &self.0.algorithm).field("kids", &keys.keys()).finish()
    }
}

fn parse_set(jwks: &[u8], algorithm: Algorithm) -> Result<Keys, Error> {
    /// The keys are values, so that a malformed key does not fail the whole set.
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<serde_json::Value>,
    }
    if jwks.len() > SET_LIMIT {
        return Err(Error::invalid(format!("the set is over {SET_LIMIT} bytes")));
    }
    let set: Set = serde_json::from_slice(jwks).map_err(Error::invalid)?;
    let (mut keys, mut ignored) = (Keys::new(), Vec::new());
    for value in set.keys {
        let (kid, key) = match jwk::parse_key(value, algorithm) {
            Ok(parsed) => parsed,
            Err(reason) => {
                tracing::debug!(?algorithm, reason, "a key of a JWK set is ignored");
                ignored.push(reason);
                continue;
            }
        };
        if keys.insert(kid.clone(), Arc::new(key)).is_some() {
            return Err(Error::invalid(format!("two keys have the kid {kid:?}")));
        }
    }
    if keys.is_empty() {
        ignored.truncate(REASONS_LIMIT);
        return Err(Error::invalid(format!(
            "the set has no usable key for {algorithm:?}: [{}]",
            ignored.join("; ")
        )));
    }
    if keys.len() > KEYS_LIMIT {
        let count = keys.len();
        return Err(Error::invalid(format!(
            "the set has {count} usable keys for {algorithm:?}, but the limit is {KEYS_LIMIT}"
        )));
    }
    Ok(keys)
}
