//! The settings of the Redis backplane, checked when it is created.

use std::{fmt, time::Duration};

use ::redis::AsyncConnectionConfig;
use comms_core::{Error, resilience::Backoff};

const DAY: Duration = Duration::from_secs(24 * 3_600);

/// The settings of [`Redis`](super::Redis), which [`Redis::new`](super::Redis::new) checks.
///
/// `Debug` prints neither the addresses nor the certificates, because an address may contain a password.
///
/// ```
/// use comms_ws::backplane::RedisConfig;
///
/// let config = RedisConfig::new(["redis://127.0.0.1:6379"]).prefix("shop");
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct RedisConfig {
    /// The addresses, `redis://[user][:password@]host[:port][/db]`, with the scheme `rediss` for TLS. With several
    /// addresses each connection goes to the first one that answers and is a primary. They name the same database. With
    /// [`sentinel_primary`](Self#structfield.sentinel_primary) they are the addresses of Sentinels.
    pub urls: Vec<String>,
    /// The primary that the Sentinels at `urls` monitor, as `redis://[user][:password@]NAME[/db]` with its name in place of
    /// host and port. Each connection asks the Sentinels in turn for the address. Default `None`: no Sentinels.
    pub sentinel_primary: Option<String>,
    /// The PEM certificates of the authorities that sign the servers' certificates. Default `None`: the certificates
    /// of the system.
    pub root_certificates: Option<Vec<u8>>,
    /// The beginning of the names of keys and channels. Systems that share a server need different ones. Default
    /// `comms-ws`.
    pub prefix: String,
    /// The maximum time of a connection attempt, for each address. Default 2 s, maximum one day.
    pub connect_timeout: Duration,
    /// The maximum time until a response. A connection that exceeds it is replaced. Default 2 s, maximum one day.
    pub response_timeout: Duration,
    /// The time between two checks of the connection that receives messages. Default 5 s, maximum one day.
    pub ping_interval: Duration,
    /// The time in which each subscribed topic is checked once for a last message that did not arrive. Such a message
    /// is delivered after at most two of these times. Default 5 s, maximum one day.
    pub check_interval: Duration,
    /// The time in which a repeated message is recognized by its identity. Default 5 min, maximum one day.
    pub idempotency_lifetime: Duration,
    /// The wait between two connection attempts. Default 100 ms, doubled up to 5 s, +-20 %.
    pub backoff: Backoff,
}

impl RedisConfig {
    /// Returns the default settings for the servers at `urls` ([`urls`](#structfield.urls)).
    #[must_use]
    pub fn new(urls: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let (base, cap) = (Duration::from_millis(100), Duration::from_secs(5));
        Self {
            urls: urls.into_iter().map(Into::into).collect(),
            sentinel_primary: None,
            root_certificates: None,
            prefix: "comms-ws".to_owned(),
            connect_timeout: Duration::from_secs(2),
            response_timeout: Duration::from_secs(2),
            ping_interval: Duration::from_secs(5),
            check_interval: Duration::from_secs(5),
            idempotency_lifetime: Duration::from_secs(300),
            backoff: Backoff::new(base, cap).unwrap_or_default(),
        }
    }

    /// Sets the primary that Sentinels monitor ([`sentinel_primary`](#structfield.sentinel_primary)).
    ///
    /// ```
    /// use comms_ws::backplane::RedisConfig;
    ///
    /// let sentinels = ["redis://10.0.0.1:26379", "redis://10.0.0.2:26379", "redis://10.0.0.3:26379"];
    /// let config = RedisConfig::new(sentinels).sentinel_primary("redis://:secret@orders");
    /// ```
    #[must_use]
    pub fn sentinel_primary(mut self, url: impl Into<String>) -> Self {
        self.sentinel_primary = Some(url.into());
        self
    }

    /// Sets the certificates of the authorities ([`root_certificates`](#structfield.root_certificates)).
    #[must_use]
    pub fn root_certificates(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.root_certificates = Some(pem.into());
        self
    }

    /// Sets the beginning of the names of keys and channels ([`prefix`](#structfield.prefix)).
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Sets the maximum time of a connection attempt ([`connect_timeout`](#structfield.connect_timeout)).
    #[must_use]
    pub const fn connect_timeout(mut self, connect_timeout: Duration) -> Self {
        self.connect_timeout = connect_timeout;
        self
    }

    /// Sets the maximum time until a response ([`response_timeout`](#structfield.response_timeout)).
    #[must_use]
    pub const fn response_timeout(mut self, response_timeout: Duration) -> Self {
        self.response_timeout = response_timeout;
        self
    }

    /// Sets the time between two checks of the receiving connection ([`ping_interval`](#structfield.ping_interval)).
    #[must_use]
    pub const fn ping_interval(mut self, ping_interval: Duration) -> Self {
        self.ping_interval = ping_interval;
        self
    }

    /// Sets the time between two checks of a topic ([`check_interval`](#structfield.check_interval)).
    #[must_use]
    pub const fn check_interval(mut self, check_interval: Duration) -> Self {
        self.check_interval = check_interval;
        self
    }

    /// Sets the time in which a repetition is recognized ([`idempotency_lifetime`](#structfield.idempotency_lifetime)).
    #[must_use]
    pub const fn idempotency_lifetime(mut self, idempotency_lifetime: Duration) -> Self {
        self.idempotency_lifetime = idempotency_lifetime;
        self
    }

    /// Sets the wait between two connection attempts ([`backoff`](#structfield.backoff)).
    #[must_use]
    pub const fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// Returns the configuration, or an error that names the first invalid setting.
    pub(super) fn validated(self) -> Result<Self, Error> {
        let times = [
            ("connect_timeout", self.connect_timeout),
            ("response_timeout", self.response_timeout),
            ("ping_interval", self.ping_interval),
            ("check_interval", self.check_interval),
            ("idempotency_lifetime", self.idempotency_lifetime),
        ];
        // Redis counts in milliseconds.
        let wrong = times.iter().find(|(_, time)| *time < Duration::from_millis(1) || *time > DAY);
        if let Some((name, time)) = wrong {
            return Err(Error::invalid(format!(
                "redis backplane: {name} is {time:?}, it must be between 1 ms and one day"
            )));
        }
        if self.prefix.is_empty() {
            return Err(Error::invalid("redis backplane: prefix must not be empty"));
        }
        if self.urls.is_empty() {
            return Err(Error::invalid("redis backplane: urls must not be empty"));
        }
        Ok(self)
    }
}

impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConfig")
            .field("urls", &self.urls.len())
            .field("prefix", &self.prefix)
            .field("connect_timeout", &self.connect_timeout)
            .field("response_timeout", &self.response_timeout)
            .field("ping_interval", &self.ping_interval)
            .field("check_interval", &self.check_interval)
            .field("idempotency_lifetime", &self.idempotency_lifetime)
            .field("backoff", &self.backoff)
            .finish_non_exhaustive()
    }
}

/// Returns options without the timers of the client: the caller limits each wait by the clock.
pub(super) fn connection_options() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_out_of_range_are_invalid() {
        let config = || RedisConfig::new(["redis://127.0.0.1"]);
        assert!(config().validated().is_ok());
        for bad in [
            RedisConfig::new(Vec::<String>::new()),
            config().prefix(""),
            config().connect_timeout(Duration::ZERO),
            config().response_timeout(Duration::from_micros(1)),
            config().ping_interval(Duration::MAX),
            config().check_interval(Duration::ZERO),
            config().idempotency_lifetime(Duration::ZERO),
        ] {
            assert_eq!(bad.validated().unwrap_err().kind, comms_core::ErrorKind::Invalid);
        }
    }

    #[test]
    fn debug_prints_no_secret() {
        let config = RedisConfig::new(["redis://user:hunter2@127.0.0.1"]);
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
