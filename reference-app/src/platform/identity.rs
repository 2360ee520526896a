//! Who is believed: the verifier of tokens, and the development issuer that exists only in embedded.

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
    data_dir::secret_file,
};

/// How long a development token is valid.
pub const TOKEN_LIFE: Duration = Duration::from_secs(3_600);

/// The tokens of this process: the verifier, and in development the issuer.
pub struct Identity {
    /// The verifier of tokens.
    pub verifier: Verifier,
    /// The development issuer; `None` where a public key is configured.
    pub issuer: Option<DevIssuer>,
}

impl Identity {
    /// The configured public key, or the development key of the data directory.
    ///
    /// # Errors
    /// Returns `Invalid` if the key cannot be read.
    pub fn load(config: &Platform, clock: &Clock) -> Result<Self, Error> {
        let auth = &config.auth;
        let Some(file) = &auth.public_key_file else {
            let issuer = DevIssuer::load(&config.data_dir, auth, clock)?;
            return Ok(Self { verifier: verifier(issuer.public_pem(), auth, clock)?, issuer: Some(issuer) });
        };
        let pem = fs::read_to_string(file)
            .map_err(|error| Error::invalid(format!("auth.public_key_file {}: {error}", file.display())))?;
        Ok(Self { verifier: verifier(&pem, auth, clock)?, issuer: None })
    }
}

/// Issues tokens with a key kept in the data directory. For development alone.
#[derive(Clone)]
pub struct DevIssuer {
    key: Arc<EncodingKey>,
    public_pem: Arc<str>,
    issuer: Arc<str>,
    audience: Arc<str>,
    clock: Clock,
}

impl DevIssuer {
    /// Loads the key of `dir`, or makes one that stays.
    ///
    /// # Errors
    /// `Invalid` where the key file cannot be read, written or understood.
    pub fn load(dir: &Path, auth: &Auth, clock: &Clock) -> Result<Self, Error> {
        let path = dir.join("development-jwt-key.pem");
        let pem = secret_file(&path, || {
            let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(Error::fatal)?;
            Ok(pair.serialize_pem())
        })?;
        let broken =
            |e: String| Error::invalid(format!("{}: {e}; delete it to get a new one", path.display()));
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

    /// A token for `user`, valid for `life` from now.
    ///
    /// # Errors
    /// `Internal` where the key cannot sign.
    pub fn token(&self, user: &str, life: Duration) -> Result<String, Error> {
        let claims = Claims {
            sub: user.to_owned(),
            iss: self.issuer.to_string(),
            aud: vec![self.audience.to_string()],
            exp: (self.clock.unix() + life).as_secs(),
            nbf: None,
            scope: String::new(),
        };
        jsonwebtoken::encode(&Header::new(Algorithm::ES256), &claims, &self.key).map_err(Error::internal)
    }

    /// Writes the public half into `dir`, for a process with a configured key. Returns the path of the file.
    ///
    /// # Errors
    /// Returns `Invalid` if the file cannot be written.
    pub fn write_public_key(&self, dir: &Path) -> Result<PathBuf, Error> {
        let path = dir.join("development-jwt-public.pem");
        let refuse = |error: std::io::Error| Error::invalid(format!("{}: {error}", path.display()));
        fs::write(&path, self.public_pem.as_bytes()).map_err(refuse)?;
        path.canonicalize().map_err(refuse)
    }

    /// The public half, PEM.
    #[must_use]
    pub fn public_pem(&self) -> &str {
        &self.public_pem
    }
}

/// The verifier of tokens under the ES256 public key `pem`, with the clock skew of `auth`.
///
/// # Errors
/// Returns `Invalid` if `pem` is not such a key (on the curve P-256), or if the skew is more than 5 minutes.
pub fn verifier(pem: &str, auth: &Auth, clock: &Clock) -> Result<Verifier, Error> {
    let key = DecodingKey::from_ec_pem(pem.as_bytes())
        .map_err(|e| Error::invalid(e).context("auth: not an ES256 public key in PEM"))?;
    check_key(Algorithm::ES256, &key).map_err(|e| e.context("auth"))?;
    Verifier::new(Algorithm::ES256, &auth.issuer, &auth.audience, Arc::new(key), clock.clone())
        .with_skew(auth.clock_skew)
        .map_err(|e| e.context("auth.clock_skew"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_another_curve_and_a_long_skew_are_refused_at_the_start() {
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
