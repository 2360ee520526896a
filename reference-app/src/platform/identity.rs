//! Verifies tokens. In the profile embedded, also issues them for development.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use comms_core::{
    Error,
    clock::Clock,
    jwt::{Claims, Verifier, check_key},
};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};

use super::{
    config::{Auth, Platform},
    data_dir::read_or_create_secret,
};

/// The lifetime of a development token: 1 hour.
pub const TOKEN_LIFE: Duration = Duration::from_secs(3_600);

/// The verifier of tokens, and in development the issuer.
pub struct Identity {
    /// The verifier of tokens.
    pub verifier: Verifier,
    /// The development issuer. `None` if a public key is configured.
    pub issuer: Option<DevIssuer>,
}

impl Identity {
    /// Loads the configured public key, or the development key in the data directory.
    ///
    /// # Errors
    /// Returns `Invalid` if the key cannot be read or is not an ES256 key, or if the clock skew is more than 5
    /// minutes.
    pub fn load(config: &Platform, clock: &Clock) -> Result<Self, Error> {
        let auth = &config.auth;
        let Some(file) = &auth.public_key_file else {
            let issuer = DevIssuer::load(&config.data_dir, auth, clock)?;
            return Ok(Self { verifier: verifier(issuer.public_pem(), auth, clock)?, issuer: Some(issuer) });
        };
        let pem = fs::read_to_string(file).map_err(|error| {
            Error::invalid(format!(
                "auth.public_key_file (COMMS_AUTH__PUBLIC_KEY_FILE): {} cannot be read: {error}",
                file.display()
            ))
        })?;
        Ok(Self { verifier: verifier(&pem, auth, clock)?, issuer: None })
    }
}

/// Issues tokens for development, with a key in the data directory.
#[derive(Clone)]
pub struct DevIssuer {
    key: Arc<EncodingKey>,
    public_pem: Arc<str>,
    issuer: Arc<str>,
    audience: Arc<str>,
    clock: Clock,
}

impl DevIssuer {
    /// Loads the key in `dir`, or generates and stores one.
    ///
    /// # Errors
    /// Returns `Invalid` if the key file cannot be read, written or parsed.
    pub fn load(dir: &Path, auth: &Auth, clock: &Clock) -> Result<Self, Error> {
        let path = dir.join("development-jwt-key.pem");
        let pem = read_or_create_secret(&path, || {
            let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(Error::fatal)?;
            Ok(pair.serialize_pem())
        })?;
        let broken = |e: String| {
            Error::invalid(format!("{}: {e}; delete the file to generate a new key", path.display()))
        };
        let pair = rcgen::KeyPair::from_pem(&pem).map_err(|e| broken(e.to_string()))?;
        let key = EncodingKey::from_ec_pem(pem.as_bytes()).map_err(|e| broken(e.to_string()))?;
        Ok(Self {
            key: Arc::new(key),
            public_pem: pair.public_key_pem().into(),
            issuer: auth.issuer.as_str().into(),
            audience: auth.audience.as_str().into(),
            clock: clock.clone(),
        })
    }

    /// Returns a token for `user` that is valid for `life` from now.
    ///
    /// # Errors
    /// Returns `Internal` if signing fails.
    pub fn token(&self, user: &str, life: Duration) -> Result<String, Error> {
        self.token_with_scope(user, "", life)
    }

    /// Returns a token for `user` with the scopes `scope`, separated by spaces, that is valid for `life` from now.
    ///
    /// # Errors
    /// Returns `Internal` if signing fails.
    pub fn token_with_scope(&self, user: &str, scope: &str, life: Duration) -> Result<String, Error> {
        let claims = Claims {
            sub: user.to_owned(),
            iss: self.issuer.to_string(),
            aud: vec![self.audience.to_string()],
            exp: (self.clock.unix() + life).as_secs(),
            nbf: None,
            scope: scope.to_owned(),
        };
        jsonwebtoken::encode(&Header::new(Algorithm::ES256), &claims, &self.key).map_err(Error::internal)
    }

    /// Writes the public key to a file in `dir`, for a process with a configured key. Returns the absolute path of
    /// the file.
    ///
    /// # Errors
    /// Returns `Invalid` if the file cannot be written.
    pub fn write_public_key(&self, dir: &Path) -> Result<PathBuf, Error> {
        let path = dir.join("development-jwt-public.pem");
        let unusable = |error: std::io::Error| {
            Error::invalid(format!("{}: {error}: make the file writable for this user", path.display()))
        };
        fs::write(&path, self.public_pem.as_bytes()).map_err(unusable)?;
        path.canonicalize().map_err(unusable)
    }

    /// Returns the public key as PEM.
    #[must_use]
    pub fn public_pem(&self) -> &str {
        &self.public_pem
    }
}

/// Returns a verifier for tokens signed with ES256, with the public key `pem` and the clock skew in `auth`.
///
/// # Errors
/// Returns `Invalid` if `pem` is not an ES256 public key (curve P-256), or if the clock skew is more than 5 minutes.
pub fn verifier(pem: &str, auth: &Auth, clock: &Clock) -> Result<Verifier, Error> {
    let key = DecodingKey::from_ec_pem(pem.as_bytes()).map_err(|e| {
        Error::invalid(e).context("auth.public_key_file: not an ES256 public key in PEM format")
    })?;
    check_key(Algorithm::ES256, &key).map_err(|e| e.context("auth.public_key_file"))?;
    Verifier::new(Algorithm::ES256, &auth.issuer, &auth.audience, Arc::new(key), clock.clone())
        .with_skew(auth.clock_skew)
        .map_err(|e| e.context("auth.clock_skew"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_another_curve_and_a_long_clock_skew_are_refused() {
        let auth = |seconds: u64| Auth {
            issuer: "tests".into(),
            audience: "comms".into(),
            public_key_file: None,
            clock_skew: Duration::from_secs(seconds),
        };
        let clock = Clock::system();
        let pem = |kind| rcgen::KeyPair::generate_for(kind).unwrap().public_key_pem();
        let (p256, p384) = (pem(&rcgen::PKCS_ECDSA_P256_SHA256), pem(&rcgen::PKCS_ECDSA_P384_SHA384));
        verifier(&p256, &auth(300), &clock).unwrap();
        let error = verifier(&p384, &auth(30), &clock).unwrap_err().chain().to_string();
        assert!(error.contains("not a key for ES256"), "{error}");
        let error = verifier(&p256, &auth(301), &clock).unwrap_err().chain().to_string();
        assert!(error.contains("auth.clock_skew") && error.contains("5 minutes"), "{error}");
    }
}
