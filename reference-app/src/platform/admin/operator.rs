//! The token that operations of the admin listener need if they change something.
//!
//! The peer's address proves nothing: a proxy, a relay or a container's port forwarding makes every peer a local one.
//! So the operator sends `Authorization: Bearer <token>`, and the token is a file that only an operator can read.

use std::{fs, path::Path, sync::Arc};

use aws_lc_rs::{constant_time::verify_slices_are_equal, rand};
use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use comms_core::Error;

use super::refusal::{refused, unauthenticated};
use crate::platform::{
    config::{Config, Profile},
    data_dir::secret_file,
    http::Problem,
};

/// The file of a token that was made here, in the data directory.
const FILE: &str = "admin-token";
/// The least and the most bytes of a token.
const LENGTH: std::ops::RangeInclusive<usize> = 16..=4_096;

/// Checks the token of operators. Clones share it. Without a token every operation is refused.
#[derive(Clone)]
pub struct Operator(Option<Arc<str>>);

impl Operator {
    /// Reads the token from `admin.token_file`. Without that key the embedded profile makes one at the first start, 32
    /// random bytes in hexadecimal digits in `<data_dir>/admin-token`, which its owner alone can read; the profile full
    /// has no token, logs that, and refuses what changes something.
    ///
    /// # Errors
    /// Returns `Invalid` if the file cannot be read or written, or is not a token: 16 to 4,096 letters, digits and
    /// `-._~+/=`, with white space around it ignored.
    pub fn load(config: &Config) -> Result<Self, Error> {
        if let Some(path) = &config.admin.token_file {
            // The path is not repeated: it is the token where an operator has confused the two.
            let text = fs::read_to_string(path).map_err(|e| {
                Error::invalid(format!(
                    "admin.token_file (COMMS_ADMIN__TOKEN_FILE): the file cannot be read: {e}"
                ))
            })?;
            return token(path, &text).map(Self);
        }
        if config.profile == Profile::Embedded {
            let path = config.data_dir.join(FILE);
            return token(&path, &secret_file(&path, generate)?).map(Self);
        }
        tracing::warn!(
            "the admin listener refuses operations that change something: admin.token_file \
             (COMMS_ADMIN__TOKEN_FILE) is not set"
        );
        Ok(Self(None))
    }

    /// `routes`, each behind the token.
    pub fn guard(&self, routes: Router) -> Router {
        routes.route_layer(middleware::from_fn_with_state(self.clone(), check))
    }

    /// Whether a request with these headers may change something.
    fn allow(&self, headers: &HeaderMap) -> Result<(), Problem> {
        if headers.contains_key(header::ORIGIN) {
            return Err(refused(StatusCode::FORBIDDEN, "no web page may send this request"));
        }
        let Some(token) = &self.0 else {
            let detail = "this process has no admin token: set admin.token_file (COMMS_ADMIN__TOKEN_FILE) to a file \
                          that holds one, and start it again";
            return Err(refused(StatusCode::FORBIDDEN, detail));
        };
        let mut sent = headers.get_all(header::AUTHORIZATION).iter();
        let (first, second) = (sent.next(), sent.next());
        if second.is_some() {
            return Err(refused(StatusCode::BAD_REQUEST, "the header Authorization is there more than once"));
        }
        let bearer = first.and_then(|value| bearer(value.as_bytes()));
        match bearer.map(|bearer| verify_slices_are_equal(bearer, token.as_bytes())) {
            Some(Ok(())) => Ok(()),
            Some(Err(_)) => {
                let challenge = "Bearer error=\"invalid_token\"";
                Err(unauthenticated("this is not the admin token of this process", challenge))
            }
            None => {
                let detail = "send Authorization: Bearer <token>, with the token of <data_dir>/admin-token or of \
                              admin.token_file";
                Err(unauthenticated(detail, "Bearer"))
            }
        }
    }
}

async fn check(State(operator): State<Operator>, request: Request, next: Next) -> Response {
    match operator.allow(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

/// The token of `Bearer <token>`; the scheme is compared without case.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked("bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

/// The token in `text`, checked: an empty file must not mean an empty token.
fn token(path: &Path, text: &str) -> Result<Option<Arc<str>>, Error> {
    let token = text.trim();
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b);
    if !LENGTH.contains(&token.len()) || !token.bytes().all(plain) {
        return Err(Error::invalid(format!(
            "{} is not an admin token: it must be 16 to 4096 letters, digits and -._~+/=",
            path.display()
        )));
    }
    Ok(Some(token.into()))
}

fn generate() -> Result<String, Error> {
    let mut bytes = [0_u8; 32];
    rand::fill(&mut bytes).map_err(|_| Error::fatal("the operating system gives no random bytes"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    fn status(operator: &Operator, headers: &[(header::HeaderName, &str)]) -> u16 {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, HeaderValue::from_str(value).unwrap());
        }
        operator.allow(&map).map_or_else(|problem| problem.status().as_u16(), |()| 200)
    }

    #[test]
    fn only_the_whole_token_is_accepted_once_and_from_no_page() {
        let operator = Operator(Some(TOKEN.into()));
        let auth = header::AUTHORIZATION;
        let right = format!("Bearer {TOKEN}");
        let table: [(&[(header::HeaderName, &str)], u16); 12] = [
            (&[(auth.clone(), &right)], 200),
            (&[(auth.clone(), &format!("bEARER  {TOKEN} "))], 200),
            (&[], 401),
            (&[(auth.clone(), "")], 401),
            (&[(auth.clone(), "Bearer")], 401),
            (&[(auth.clone(), "Bearer ")], 401),
            (&[(auth.clone(), &format!("Basic {TOKEN}"))], 401),
            (&[(auth.clone(), TOKEN)], 401),
            (&[(auth.clone(), "Bearer 0123456789abcde")], 401),
            (&[(auth.clone(), &format!("{right}0"))], 401),
            (&[(auth.clone(), &right), (auth.clone(), &right)], 400),
            (&[(auth.clone(), &right), (header::ORIGIN, "http://localhost")], 403),
        ];
        for (headers, expected) in table {
            assert_eq!(status(&operator, headers), expected, "{headers:?}");
            assert_eq!(status(&Operator(None), headers), 403, "without a token: {headers:?}");
        }
        let challenge = |headers: &HeaderMap| {
            let response = operator.allow(headers).unwrap_err().into_response();
            response.headers().get(header::WWW_AUTHENTICATE).map(|value| value.to_str().unwrap().to_owned())
        };
        assert_eq!(challenge(&HeaderMap::new()).as_deref(), Some("Bearer"));
        let wrong = HeaderMap::from_iter([(auth, HeaderValue::from_static("Bearer wrong"))]);
        assert_eq!(challenge(&wrong).as_deref(), Some("Bearer error=\"invalid_token\""));
    }

    #[test]
    fn a_token_is_long_and_printable() {
        let made = generate().unwrap();
        assert!(made.len() == 64 && made != generate().unwrap());
        let read = |text: &str| token(Path::new("file"), text).map(|token| token.unwrap().to_string());
        assert_eq!(read(&format!(" {made}\n")).unwrap(), made);
        for bad in [
            "",
            "\n",
            "short",
            "0123456789abcde",
            "0123456789 abcdef",
            "0123456789abcdef\0",
            &"x".repeat(4_097),
        ] {
            let error = read(bad).unwrap_err().chain().to_string();
            assert!(error.contains("file is not an admin token"), "{bad:?}: {error}");
        }
    }
}
