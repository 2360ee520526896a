//! The rights of a session.

use std::{fmt, sync::Arc};

type AllowTopic = dyn Fn(&str) -> bool + Send + Sync;

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
    pub(crate) topics: Vec<String>,
    allow: Option<Arc<AllowTopic>>,
    pub(super) expires_at_unix: Option<u64>,
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
        Self { principal: principal.into(), topics, allow: None, expires_at_unix: None }
    }

    /// Allows the client to subscribe to the topics for which `allowed` returns `true`, up to
    /// [`HubConfig::max_topics`](crate::HubConfig::max_topics) topics in total.
    ///
    /// `allowed` is called on the task of the session and must not block.
    #[must_use]
    pub fn allow(mut self, allowed: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        self.allow = Some(Arc::new(allowed));
        self
    }

    /// Closes the session with [`close::TOKEN_EXPIRED`](crate::close::TOKEN_EXPIRED) at `seconds` after the Unix epoch:
    /// the expiry of the token plus the allowed clock skew.
    #[must_use]
    pub fn expires_at_unix(mut self, seconds: u64) -> Self {
        self.expires_at_unix = Some(seconds);
        self
    }

    /// Returns whether the client may subscribe to `topic`.
    pub(super) fn allows(&self, topic: &str) -> bool {
        self.allow.as_ref().is_some_and(|allow| allow(topic))
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
