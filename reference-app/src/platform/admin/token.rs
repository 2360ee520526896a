//! Checks the admin token, which operations that change state require.
//!
//! The address of the peer proves nothing: behind a proxy, a relay or a container's port forwarding, every peer has a
//! local address. Therefore the operator sends `Authorization: Bearer <token>`. The token is in a file that only the
//! operator can read.

use std::{fs, path::Path, sync::Arc};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use comms_core::Error;

use super::problems::{refused, unauthenticated};
use crate::platform::{
    config::{Config, Profile},
    data_dir::{random_secret, read_or_create_secret},
    http::Problem,
};

/// The name of the generated token's file, in the data directory.
const FILE_NAME: &str = "admin-token";
/// The allowed length of a token, in bytes.
const LENGTH: std::ops::RangeInclusive<usize> = 16..=4_096;

/// The admin token. Clones share it. Without a token, every operation that changes state is refused.
#[derive(Clone)]
pub struct AdminToken(Option<Arc<str>>);

impl AdminToken {
    /// Reads the token from `admin.token_file`. If that key is not set, the profile embedded generates a token at the
    /// first start (32 random bytes as hexadecimal digits in `<data_dir>/admin-token`, readable only by the owner),
    /// and the profile full has no token and logs a warning.
    ///
    /// # Errors
    /// Returns `Invalid` if the file cannot be read or written, or does not contain a token: 16 to 4,096 letters,
    /// digits and `-._~+/=`. White space around the token is ignored.
    pub fn load(config: &Config) -> Result<Self, Error> {
        if let Some(path) = &config.admin.token_file {
            // The path is not printed, because an operator may have set the token in the place of its path.
            let text = fs::read_to_string(path).map_err(|e| {
                Error::invalid(format!(
                    "admin.token_file (COMMS_ADMIN__TOKEN_FILE): the file cannot be read: {e}"
                ))
            })?;
            return parse(path, &text).map(Self);
        }
        if config.profile == Profile::Embedded {
            let path = config.data_dir.join(FILE_NAME);
            return parse(&path, &read_or_create_secret(&path, random_secret)?).map(Self);
        }
        tracing::warn!(
            "the admin listener refuses operations that change state: set admin.token_file \
             (COMMS_ADMIN__TOKEN_FILE) to allow them"
        );
        Ok(Self(None))
    }

    /// Requires the token for each of `routes`.
    pub fn require(&self, routes: Router) -> Router {
        routes.route_layer(middleware::from_fn_with_state(self.clone(), check_token))
    }

    /// Checks that a request with these headers may change state.
    fn check(&self, headers: &HeaderMap) -> Result<(), Problem> {
        if headers.contains_key(header::ORIGIN) {
            return Err(refused(
                StatusCode::FORBIDDEN,
                "a web page must not send this request: it has the header Origin",
            ));
        }
        let Some(expected) = &self.0 else {
            let detail = "this process has no admin token: set admin.token_file (COMMS_ADMIN__TOKEN_FILE) to a file \
                          that contains a token, and restart the process";
            return Err(refused(StatusCode::FORBIDDEN, detail));
        };
        let mut sent = headers.get_all(header::AUTHORIZATION).iter();
        let (first, second) = (sent.next(), sent.next());
        if second.is_some() {
            return Err(refused(StatusCode::BAD_REQUEST, "send the header Authorization only once"));
        }
        let bearer = first.and_then(|value| bearer(value.as_bytes()));
        match bearer.map(|bearer| verify_slices_are_equal(bearer, expected.as_bytes())) {
            Some(Ok(())) => Ok(()),
            Some(Err(_)) => {
                let challenge = "Bearer error=\"invalid_token\"";
                Err(unauthenticated("the token is not the admin token of this process", challenge))
            }
            None => {
                let detail = "send the header Authorization: Bearer <token>, with the token from \
                              <data_dir>/admin-token or from admin.token_file";
                Err(unauthenticated(detail, "Bearer"))
            }
        }
    }
}

async fn check_token(State(token): State<AdminToken>, request: Request, next: Next) -> Response {
    match token.check(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

/// Returns the token of `Bearer <token>`. The scheme is case-insensitive.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked("bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

/// Checks and returns the token in `text`. An empty file must not become an empty token.
fn parse(path: &Path, text: &str) -> Result<Option<Arc<str>>, Error> {
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

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    fn status(token: &AdminToken, headers: &[(header::HeaderName, &str)]) -> u16 {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, HeaderValue::from_str(value).unwrap());
        }
        token.check(&map).map_or_else(|problem| problem.status().as_u16(), |()| 200)
    }

    #[test]
    fn only_the_exact_token_in_one_header_is_accepted() {
        let token = AdminToken(Some(TOKEN.into()));
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
            assert_eq!(status(&token, headers), expected, "{headers:?}");
            assert_eq!(status(&AdminToken(None), headers), 403, "without a token: {headers:?}");
        }
        let challenge = |headers: &HeaderMap| {
            let response = token.check(headers).unwrap_err().into_response();
            response.headers().get(header::WWW_AUTHENTICATE).map(|value| value.to_str().unwrap().to_owned())
        };
        assert_eq!(challenge(&HeaderMap::new()).as_deref(), Some("Bearer"));
        let wrong = HeaderMap::from_iter([(auth, HeaderValue::from_static("Bearer wrong"))]);
        assert_eq!(challenge(&wrong).as_deref(), Some("Bearer error=\"invalid_token\""));
    }

    #[test]
    fn a_token_has_a_minimum_length_and_printable_characters() {
        let made = random_secret().unwrap();
        assert!(made.len() == 64 && made != random_secret().unwrap());
        let read = |text: &str| parse(Path::new("file"), text).map(|token| token.unwrap().to_string());
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
