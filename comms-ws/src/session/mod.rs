//! A session: whose it is and what it may hear; its task, from the handshake to the last frame.

mod client;
mod run;

pub(crate) use run::Running;

use std::{fmt, sync::Arc};

type Allow = dyn Fn(&str) -> bool + Send + Sync;

/// What the application grants to a handshake it has verified.
#[derive(Clone)]
pub struct Session {
    pub(crate) principal: Arc<str>,
    pub(crate) topics: Vec<String>,
    allow: Option<Arc<Allow>>,
    expires_at_unix: Option<u64>,
}

impl Session {
    /// A session of `principal` that hears `topics` from its first moment. It may subscribe to nothing else,
    /// and lives until one side ends it.
    pub fn new(principal: impl Into<Arc<str>>, topics: Vec<String>) -> Self {
        Self { principal: principal.into(), topics, allow: None, expires_at_unix: None }
    }

    /// Lets the client subscribe to further topics that `allowed` says yes to, up to
    /// [`HubConfig::max_topics`](crate::HubConfig) in all. It is called on the session's task: it must not
    /// block.
    #[must_use]
    pub fn allow(mut self, allowed: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        self.allow = Some(Arc::new(allowed));
        self
    }

    /// Ends the session with 4401 at `seconds` since 1970: the end of its token, clock skew included.
    #[must_use]
    pub fn expires_at_unix(mut self, seconds: u64) -> Self {
        self.expires_at_unix = Some(seconds);
        self
    }

    fn may_hear(&self, topic: &str) -> bool {
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
