//! The rights of a session.

use std::{fmt, net::IpAddr, sync::Arc};

use comms_core::Error;
use futures_util::future::BoxFuture;

use crate::topic::Filter;

type AllowTopic = dyn Fn(&str) -> BoxFuture<'static, Result<bool, Error>> + Send + Sync;

/// The rights that the application grants to a socket after it has verified the handshake.
///
/// ```
/// use comms_ws::Session;
///
/// let session = Session::new("ann", vec!["user/ann".into()])
///     .allow(|topic| topic.starts_with("public/"))
///     .expires_at_unix(1_795_680_000);
/// ```
#[derive(Clone)]
pub struct Session {
    pub(crate) principal: Arc<str>,
    pub(crate) topics: Vec<(String, Filter)>,
    pub(crate) address: Option<IpAddr>,
    pub(super) is_addressable: bool,
    allow: Option<Arc<AllowTopic>>,
    expires_at_unix: Option<u64>,
}

impl Session {
    /// Creates a session of `principal` that is subscribed to `topics` from the start. The client may subscribe to no
    /// other topic, and the session does not expire.
    ///
    /// `principal` is the user or client that the application has authenticated. Its sessions are limited by
    /// [`HubConfig::max_sessions_per_principal`](crate::HubConfig::max_sessions_per_principal).
    ///
    /// `topics` count towards [`HubConfig::max_topics`](crate::HubConfig::max_topics), which is checked only when the
    /// client subscribes to further topics.
    pub fn new(principal: impl Into<Arc<str>>, topics: Vec<String>) -> Self {
        let topics = topics.into_iter().map(|topic| (topic, Filter::default())).collect();
        let (address, is_addressable, allow, expires_at_unix) = (None, false, None, None);
        Self { principal: principal.into(), topics, address, is_addressable, allow, expires_at_unix }
    }

    /// Subscribes the session to a topic of its own, `session/<id>`, from the start. The client reads the id from the frame
    /// `welcome`, and names it to the application, which publishes to this device alone, from any node
    /// ([`session_topic`](crate::session_topic)). Default: the session has no such topic.
    #[must_use]
    pub fn addressable(mut self) -> Self {
        self.is_addressable = true;
        self
    }

    /// Subscribes the session to the messages of `topic` that pass `filter`, from the start. The client may narrow the
    /// filter and cannot widen it.
    ///
    /// When a token is refreshed, the filter of the new session takes the place of the one before. A topic that only the new
    /// session has is not joined: its client subscribes to it.
    #[must_use]
    pub fn topic_with(mut self, topic: impl Into<String>, filter: Filter) -> Self {
        self.topics.push((topic.into(), filter));
        self
    }

    /// Sets the address of the client, whose sessions are limited by
    /// [`HubConfig::max_sessions_per_address`](crate::HubConfig::max_sessions_per_address). Behind a proxy this is the
    /// address that a trusted proxy has forwarded.
    #[must_use]
    pub fn address(mut self, address: IpAddr) -> Self {
        self.address = Some(address);
        self
    }

    /// Allows the client to subscribe to the topics for which `allowed` returns `true`, up to
    /// [`HubConfig::max_topics`](crate::HubConfig::max_topics) topics in total.
    ///
    /// `allowed` is called on the task of the session and must not block.
    #[must_use]
    pub fn allow(self, allowed: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        self.allow_async(move |topic| std::future::ready(Ok(allowed(topic))))
    }

    /// As [`allow`](Self::allow), for a permission that must be looked up. If the future of `allowed` returns an error, or
    /// takes longer than 5 seconds, the client gets the error code `unavailable` and asks again later; a topic that the session
    /// has joined, as when a token is refreshed, stays as it is. Meanwhile no further frame of the client is read, and what its
    /// socket did not take waits.
    #[must_use]
    pub fn allow_async<F, Fut>(mut self, allowed: F) -> Self
    where
        F: Fn(&str) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<bool, Error>> + Send + 'static,
    {
        self.allow = Some(Arc::new(move |topic| Box::pin(allowed(topic))));
        self
    }

    /// Closes the session with [`close::TOKEN_EXPIRED`](crate::close::TOKEN_EXPIRED) at `seconds` after the Unix epoch:
    /// the expiry of the token plus the allowed clock skew.
    #[must_use]
    pub fn expires_at_unix(mut self, seconds: u64) -> Self {
        self.expires_at_unix = Some(seconds);
        self
    }

    /// Returns `filter` within the filter with which the application has granted `topic`.
    pub(super) fn narrow(&self, topic: &str, filter: Filter) -> Filter {
        match self.topics.iter().find(|(granted, _)| granted == topic) {
            Some((_, granted)) => filter.within(granted),
            None => filter,
        }
    }

    /// Returns whether the client is subscribed to `topic` from the start.
    pub(crate) fn grants(&self, topic: &str) -> bool {
        self.topics.iter().any(|(granted, _)| granted == topic)
    }

    /// Returns whether the client may be subscribed to `topic`.
    pub(crate) async fn allows(&self, topic: &str) -> Result<bool, Error> {
        match &self.allow {
            _ if self.grants(topic) => Ok(true),
            Some(allow) => allow(topic).await,
            None => Ok(false),
        }
    }

    /// Returns the end of the session in seconds after the Unix epoch, or the largest number if it has none.
    pub(crate) fn end(&self) -> u64 {
        self.expires_at_unix.unwrap_or(u64::MAX)
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { principal, topics, expires_at_unix, .. } = self;
        f.debug_struct("Session")
            .field("principal", principal)
            .field("topics", topics)
            .field("expires_at_unix", expires_at_unix)
            .finish_non_exhaustive()
    }
}
