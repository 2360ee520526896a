//! Checks `database.url`. No error text contains a part of the URL, because any part may be a password.

use std::str::FromStr;

use comms_core::Error;
use sqlx::postgres::{PgConnectOptions, PgSslMode};

/// The query parameters that sqlx supports. sqlx ignores any other parameter, and logs it with its value.
const PARAMETERS: [&str; 17] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "options",
];

/// Checks `url` before anything starts.
///
/// # Errors
/// Returns `Invalid`, naming `database.url`, if no server can make the URL valid.
pub(crate) fn check(url: &str) -> Result<(), Error> {
    options(url).map(drop)
}

/// Parses `url` into connection options.
///
/// # Errors
/// Returns `Invalid`, naming `database.url`, if no server can make the URL valid.
pub(super) fn options(url: &str) -> Result<PgConnectOptions, Error> {
    let refused = |what: &str| Error::invalid(format!("database.url (COMMS_DATABASE__URL): {what}"));
    let (scheme, _) = url.split_once("://").unwrap_or_default();
    if !matches!(scheme, "postgres" | "postgresql") {
        return Err(refused("the URL must have the form postgres://user:password@host:port/database"));
    }
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let names = query.split('&').filter_map(|pair| pair.split('=').next());
    if names.filter(|name| !name.is_empty()).any(|name| !is_known(name)) {
        let known = PARAMETERS.join(", ");
        return Err(refused(&format!("a parameter after `?` is unknown; the known parameters are {known}")));
    }
    let options = PgConnectOptions::from_str(url).map_err(|_| {
        refused(
            "the URL cannot be read: it must have the form postgres://user:password@host:port/database, and \
             the characters @ : / ? # % in a user name or a password must be percent-encoded",
        )
    })?;
    if options.get_port() == 0 {
        return Err(refused("the port must be 1 to 65535"));
    }
    if matches!(options.get_ssl_mode(), PgSslMode::Require | PgSslMode::VerifyCa | PgSslMode::VerifyFull) {
        return Err(refused(
            "sslmode requires TLS, and this program is built without TLS for PostgreSQL: remove sslmode, or build \
             with the feature tls-rustls-aws-lc-rs of sqlx",
        ));
    }
    Ok(options)
}

fn is_known(name: &str) -> bool {
    PARAMETERS.contains(&name) || name == "application_name" || name.starts_with("options[")
}

#[cfg(test)]
mod tests {
    use super::*;
    use comms_core::ErrorKind;

    #[test]
    fn an_invalid_url_is_refused_without_printing_a_part_of_it() {
        for url in [
            "",
            "hunter2",
            "mysql://shop:hunter2@db/shop",
            "postgres:shop:hunter2@db/shop",
            "postgres://shop:hunter2#@db/shop",
            "postgres://shop:hunter2/@db/shop",
            "postgres://db:70000/hunter2",
            "postgres://db:0/hunter2",
            "postgres://db/shop?pasword=hunter2",
            "postgres://db/shop?hunter2",
            "postgres://db/shop?sslmode=hunter2",
            "postgres://shop:hunter2@db/shop?sslmode=require",
        ] {
            let error = options(url).unwrap_err();
            let text = format!("{} {error:?}", error.chain());
            assert_eq!(error.kind, ErrorKind::Invalid, "{url}");
            assert!(text.contains("database.url") && !text.contains("hunter2"), "{url}: {text}");
        }
    }

    #[test]
    fn a_valid_url_is_accepted() {
        for url in [
            "postgres://db",
            "postgresql://shop:p%40ss@db:5433/shop",
            "postgres:///shop?host=/var/run/postgresql&options[search_path]=x&sslmode=disable",
            "postgres://[::1]:5432/shop?application_name=shop",
        ] {
            options(url).unwrap();
        }
    }
}
