//! The settings of a client.

use std::{collections::VecDeque, fmt, sync::Arc, time::Duration};

use comms_core::{
    Error,
    clock::Clock,
    resilience::{Backoff, Jitter},
};
use http::Uri;
use tokio::sync::mpsc;

use super::{
    Client, Events,
    connect::{Target, TokenSource},
    cursor,
    handled::Handled,
    next::Next,
    queue,
    run::Driver,
    state::State,
    subscription::Subscription,
};

/// The number of calls that wait for the task of the client.
const COMMANDS: usize = 16;

/// The settings of a [`Client`], from [`Client::builder`].
#[must_use]
pub struct Builder {
    url: String,
    token: Option<Box<TokenSource>>,
    topics: Vec<Subscription>,
    cursor: String,
    backoff: Option<Backoff>,
    max_attempts: Option<u32>,
    connect_timeout: Duration,
    queue_items: usize,
    queue_bytes: u32,
    max_message: usize,
    clock: Clock,
    #[cfg(feature = "client-tls")]
    tls: Option<Arc<tokio_rustls::rustls::ClientConfig>>,
}

impl Builder {
    pub(super) fn new(url: String) -> Self {
        Self {
            url,
            token: None,
            topics: Vec::new(),
            cursor: String::new(),
            backoff: None,
            max_attempts: None,
            connect_timeout: Duration::from_secs(15),
            queue_items: 1_000,
            queue_bytes: 4 << 20,
            max_message: 2 << 20,
            clock: Clock::system(),
            #[cfg(feature = "client-tls")]
            tls: None,
        }
    }

    /// Sets the source of access tokens. It is called for each connection, and before the token of an open connection
    /// expires. Default: no token.
    ///
    /// An error of the kind `Unauthenticated`, `PermissionDenied` or `Fatal` ends the client at its next connection.
    /// After another error the client tries again, with backoff.
    pub fn token<F, R>(mut self, source: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<String, Error>> + Send + 'static,
    {
        self.token = Some(Box::new(move || Box::pin(source())));
        self
    }

    /// Subscribes to one more topic, besides those that the server gives to the user of the token.
    pub fn topic(mut self, topic: impl Into<Subscription>) -> Self {
        self.topics.push(topic.into());
        self
    }

    /// Resumes at the position of an earlier client, from [`Events::cursor`]. Default: begins with the next event.
    pub fn cursor(mut self, cursor: impl Into<String>) -> Self {
        self.cursor = cursor.into();
        self
    }

    /// Sets the wait between attempts. Default 500 ms, doubled after each failure up to 30 s, with full jitter: many
    /// clients that lose a server together do not come back together. The wait begins anew after a connection of 10 s.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = Some(backoff);
        self
    }

    /// Ends the client after this number of failures without a connection of 10 s between them. Default: never.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = Some(attempts);
        self
    }

    /// Sets the time limit for opening a connection, from the token to the first frame of the server. Default 15 s.
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.connect_timeout = limit;
        self
    }

    /// Sets the maximum of items that are queued until the application reads them. Default 1,000.
    pub fn queue_items(mut self, items: usize) -> Self {
        self.queue_items = items;
        self
    }

    /// Sets the maximum of bytes that are queued until the application reads them. One event may be longer. Default 4
    /// MiB.
    pub fn queue_bytes(mut self, bytes: u32) -> Self {
        self.queue_bytes = bytes;
        self
    }

    /// Sets the maximum length of a message of the server in bytes. A longer one ends the client, because the server
    /// would send it again after each reconnect. Default 2 MiB: a push has at most 1 MiB, unless the server allows more.
    pub fn max_message(mut self, bytes: usize) -> Self {
        self.max_message = bytes;
        self
    }

    /// Sets the source of time and randomness. Default the system's.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Sets TLS for a `wss` URL. Default: the root certificates of the operating system, with the provider of
    /// cryptography that the application installed.
    #[cfg(feature = "client-tls")]
    pub fn tls(mut self, config: Arc<tokio_rustls::rustls::ClientConfig>) -> Self {
        self.tls = Some(config);
        self
    }

    /// Starts a task that connects and stays connected. Returns before the connection is open.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](comms_core::ErrorKind::Invalid) if the URL is no `ws` or `wss` URL with a host,
    /// the cursor is malformed, a topic is empty, or a limit is zero. Returns
    /// [`ErrorKind::Misconfigured`](comms_core::ErrorKind::Misconfigured) for a `wss` URL without the feature
    /// `client-tls`, without a provider of cryptography, or without root certificates.
    ///
    /// # Panics
    /// Panics outside of a tokio runtime.
    pub fn connect(self) -> Result<(Client, Events), Error> {
        self.validate()?;
        let places = cursor::read(&self.cursor)?.into_iter().collect::<std::collections::HashMap<_, _>>();
        let backoff = match self.backoff {
            Some(backoff) => backoff,
            None => Backoff::new(Duration::from_millis(500), Duration::from_secs(30))?
                .with_jitter(Jitter::Full)?,
        };
        let url = parse_url(&self.url)?;
        #[cfg(feature = "client-tls")]
        let tls = match (url.scheme_str(), self.tls) {
            (Some("wss"), None) => Some(super::tls::system_config()?),
            (_, tls) => tls,
        };
        let target = Arc::new(Target {
            url,
            token: self.token,
            connect_timeout: self.connect_timeout,
            max_message: self.max_message,
            clock: self.clock.clone(),
            #[cfg(feature = "client-tls")]
            tls,
        });
        let (sender, receiver) = queue::bounded(self.queue_items, self.queue_bytes);
        let (commands, received) = mpsc::channel(COMMANDS);
        let handled = Arc::new(Handled::default());
        let driver = Driver {
            next: Next::after(Duration::ZERO, &self.clock),
            target,
            backoff,
            max_attempts: self.max_attempts,
            state: State::new(places.clone(), self.topics),
            queue: sender,
            commands: received,
            failures: 0,
            pending: VecDeque::new(),
            session: None,
            resubscribe: None,
            resubscribed: 0,
            handled: handled.clone(),
            acknowledge: None,
        };
        tokio::spawn(driver.run());
        Ok((Client { commands }, Events::new(receiver, places, handled)))
    }

    fn validate(&self) -> Result<(), Error> {
        let zero = [
            ("queue_items", self.queue_items == 0),
            ("queue_bytes", self.queue_bytes == 0),
            ("max_message", self.max_message == 0),
            ("connect_timeout", self.connect_timeout.is_zero()),
            ("max_attempts", self.max_attempts == Some(0)),
        ];
        if let Some((name, _)) = zero.iter().find(|(_, is_zero)| *is_zero) {
            return Err(Error::invalid(format!("client: `{name}` must be above zero")));
        }
        self.topics.iter().try_for_each(Subscription::validate)
    }
}

fn parse_url(text: &str) -> Result<Uri, Error> {
    let url: Uri =
        text.parse().map_err(|e| Error::invalid(e).context(format!("client: the URL {text:?}")))?;
    let authority = url.authority().map(http::uri::Authority::as_str).unwrap_or_default();
    if authority.is_empty() || authority.contains('@') {
        return Err(Error::invalid(format!("client: the URL {text:?} needs a host, without a user")));
    }
    match url.scheme_str() {
        Some("wss") if cfg!(not(feature = "client-tls")) => {
            Err(Error::misconfigured("client: a `wss` URL needs the feature `client-tls` of comms-ws"))
        }
        Some("ws" | "wss") => Ok(url),
        _ => Err(Error::invalid(format!("client: the URL {text:?} must begin with ws:// or wss://"))),
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The token source has no printable form, and the query of the URL may hold a secret.
        f.debug_struct("Builder").field("topics", &self.topics).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use comms_core::ErrorKind;

    #[tokio::test]
    async fn invalid_settings_are_refused() {
        for url in
            ["", "shop.example", "http://shop.example/", "ws:///v1", "ws://a@shop.example/", "ws://[::1"]
        {
            let error = Client::builder(url).connect().unwrap_err();
            assert_eq!(error.kind, ErrorKind::Invalid, "{url}");
        }
        let builder = || Client::builder("ws://127.0.0.1:9/v1/events");
        for bad in [
            builder().queue_items(0),
            builder().queue_bytes(0),
            builder().max_message(0),
            builder().max_attempts(0),
            builder().connect_timeout(Duration::ZERO),
            builder().topic(""),
            builder().topic(Subscription::new("a").window(0)),
            builder().topic(Subscription::new("a").window(1_001)),
            builder().cursor("a:b"),
        ] {
            assert_eq!(bad.connect().unwrap_err().kind, ErrorKind::Invalid);
        }
    }
}
