//! The limits of a hub. `check.rs` checks them when the hub is created.

mod check;

use std::time::Duration;

use crate::topic::{TopicOptions, TopicRules};

/// What happens when a principal has
/// [`HubConfig::max_sessions_per_principal`](HubConfig#structfield.max_sessions_per_principal) sessions and opens another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PrincipalLimit {
    /// The new session is refused: 429, or [`close::TOO_MANY_SESSIONS`](crate::close::TOO_MANY_SESSIONS) if its client
    /// authenticated in a frame. The default.
    #[default]
    Refuse,
    /// The oldest session is closed with [`close::REPLACED`](crate::close::REPLACED), and its client does not reconnect. The
    /// new session is refused only while as many replaced sessions are not closed yet as the principal may have open.
    EndOldest,
}

/// The limits of a [`Hub`](crate::Hub), which [`Hub::new`](crate::Hub::new) checks.
///
/// A session holds at most [`queue_bytes`](#structfield.queue_bytes) of queued frames, and the rest of one more. The
/// sessions of a topic share the memory of its queued frames. While its client resumes, a session holds in addition one page
/// of the history: at most 256 KiB, or one message. Before the frame `welcome` this is the limit of the pages of all its
/// topics. At most 64 readings of a page run at a time in a hub.
///
/// ```
/// use comms_ws::HubConfig;
///
/// let config = HubConfig::default().origins(["https://shop.example"]).max_sessions(50_000);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct HubConfig {
    /// The origins whose pages may open sockets, written as browsers send them: `https://shop.example`. A request
    /// without `Origin` does not come from a page, and is not checked. Default empty: every request with an `Origin` is
    /// refused.
    pub origins: Vec<String>,
    /// The maximum number of bytes in the queue of a session. What
    /// happens to a session that exceeds it is an option of the topic. Default 1 MiB.
    pub queue_bytes: usize,
    /// The maximum number of frames in the queue of a session. As with
    /// [`queue_bytes`](#structfield.queue_bytes). Default 1,000.
    pub queue_frames: usize,
    /// The maximum number of open sessions. Default 10,000.
    pub max_sessions: usize,
    /// The maximum number of sockets whose client has not authenticated yet
    /// ([`Hub::accept_unauthenticated`](crate::Hub::accept_unauthenticated)). At most half of
    /// [`max_sessions`](#structfield.max_sessions) counts, so that sockets without a token leave room for the others. Default
    /// 1,000.
    pub max_unauthenticated: usize,
    /// The maximum number of open sessions of one principal at this hub. Default 20.
    pub max_sessions_per_principal: usize,
    /// What happens to a further session of a principal. Default [`PrincipalLimit::Refuse`].
    pub when_principal_is_full: PrincipalLimit,
    /// The maximum number of open sessions of one address ([`Session::address`](crate::Session::address)). Default 1,000.
    pub max_sessions_per_address: usize,
    /// The maximum size of a push as JSON, in bytes, which [`Hub::publish`](crate::Hub::publish) checks. At most
    /// [`queue_bytes`](#structfield.queue_bytes) counts: a larger message fits only into the empty queue of a session, and
    /// would end each session that has not been sent the message before. A message of less than a quarter of
    /// [`queue_bytes`](#structfield.queue_bytes) leaves a client time to read. Default 1 MiB.
    pub max_push_bytes: usize,
    /// The maximum number of topics of a session, checked when its client subscribes to a further topic. Default 100.
    pub max_topics: usize,
    /// The maximum size of a message of a client, in bytes. Default 4 KiB.
    pub max_client_frame: usize,
    /// The maximum number of frames that a client may send per second, control frames included. A burst may have five
    /// times as many, and so many more as the time allows in which the session has waited for the look-up of a permission or
    /// the check of a token, and has not read. Default 10.
    pub client_frames_per_second: u32,
    /// The time between two pings, +-10%. A session is closed if no frame arrives for two of these times. Default 25 s,
    /// maximum one day.
    pub ping_interval: Duration,
    /// The maximum time for which the socket accepts no byte of a write. Default 10 s.
    pub write_timeout: Duration,
    /// The maximum duration of the close handshake. Default 2 s.
    pub close_timeout: Duration,
    /// Whether WebSocket clients that offer it get compressed messages (RFC 7692). A message is compressed once for all of
    /// them. Default `false`: compression costs processor time, and memory in the client.
    pub compression: bool,
    /// The options of topics by prefix, see [`topic`](Self::topic).
    pub(crate) topics: TopicRules,
}

impl Default for HubConfig {
    fn default() -> Self {
        Self {
            origins: Vec::new(),
            queue_bytes: 1024 * 1024,
            queue_frames: 1_000,
            max_sessions: 10_000,
            max_unauthenticated: 1_000,
            max_sessions_per_principal: 20,
            when_principal_is_full: PrincipalLimit::Refuse,
            max_sessions_per_address: 1_000,
            max_push_bytes: 1024 * 1024,
            max_topics: 100,
            max_client_frame: 4 * 1024,
            client_frames_per_second: 10,
            ping_interval: Duration::from_secs(25),
            write_timeout: Duration::from_secs(10),
            close_timeout: Duration::from_secs(2),
            compression: false,
            topics: TopicRules::default(),
        }
    }
}

impl HubConfig {
    /// Sets the origins whose pages may open sockets ([`origins`](#structfield.origins)).
    #[must_use]
    pub fn origins(mut self, origins: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.origins = origins.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the maximum number of bytes in the queue of a session ([`queue_bytes`](#structfield.queue_bytes)).
    #[must_use]
    pub const fn queue_bytes(mut self, queue_bytes: usize) -> Self {
        self.queue_bytes = queue_bytes;
        self
    }

    /// Sets the maximum number of frames in the queue of a session ([`queue_frames`](#structfield.queue_frames)).
    #[must_use]
    pub const fn queue_frames(mut self, queue_frames: usize) -> Self {
        self.queue_frames = queue_frames;
        self
    }

    /// Sets the maximum number of open sessions ([`max_sessions`](#structfield.max_sessions)).
    #[must_use]
    pub const fn max_sessions(mut self, max_sessions: usize) -> Self {
        self.max_sessions = max_sessions;
        self
    }

    /// Sets the maximum number of sockets whose client has not authenticated yet
    /// ([`max_unauthenticated`](#structfield.max_unauthenticated)).
    #[must_use]
    pub const fn max_unauthenticated(mut self, max_unauthenticated: usize) -> Self {
        self.max_unauthenticated = max_unauthenticated;
        self
    }

    /// Sets what happens to a further session of a principal
    /// ([`when_principal_is_full`](#structfield.when_principal_is_full)).
    #[must_use]
    pub const fn when_principal_is_full(mut self, limit: PrincipalLimit) -> Self {
        self.when_principal_is_full = limit;
        self
    }

    /// Sets the maximum size of a push ([`max_push_bytes`](#structfield.max_push_bytes)).
    #[must_use]
    pub const fn max_push_bytes(mut self, max_push_bytes: usize) -> Self {
        self.max_push_bytes = max_push_bytes;
        self
    }

    /// Sets the maximum number of open sessions of one principal
    /// ([`max_sessions_per_principal`](#structfield.max_sessions_per_principal)).
    #[must_use]
    pub const fn max_sessions_per_principal(mut self, max_sessions_per_principal: usize) -> Self {
        self.max_sessions_per_principal = max_sessions_per_principal;
        self
    }

    /// Sets the maximum number of open sessions of one address
    /// ([`max_sessions_per_address`](#structfield.max_sessions_per_address)).
    #[must_use]
    pub const fn max_sessions_per_address(mut self, max_sessions_per_address: usize) -> Self {
        self.max_sessions_per_address = max_sessions_per_address;
        self
    }

    /// Sets the options of all topics whose name begins with `prefix`. The longest prefix counts. Topics without a rule
    /// have the default options.
    #[must_use]
    pub fn topic(mut self, prefix: impl Into<String>, options: TopicOptions) -> Self {
        self.topics.set(prefix.into(), options);
        self
    }

    /// Sets whether messages are compressed ([`compression`](#structfield.compression)).
    #[must_use]
    pub const fn compression(mut self, compression: bool) -> Self {
        self.compression = compression;
        self
    }

    /// Sets the maximum number of topics of a session ([`max_topics`](#structfield.max_topics)).
    #[must_use]
    pub const fn max_topics(mut self, max_topics: usize) -> Self {
        self.max_topics = max_topics;
        self
    }

    /// Sets the maximum size of a message of a client ([`max_client_frame`](#structfield.max_client_frame)).
    #[must_use]
    pub const fn max_client_frame(mut self, max_client_frame: usize) -> Self {
        self.max_client_frame = max_client_frame;
        self
    }

    /// Sets the maximum rate of client frames ([`client_frames_per_second`](#structfield.client_frames_per_second)).
    #[must_use]
    pub const fn client_frames_per_second(mut self, client_frames_per_second: u32) -> Self {
        self.client_frames_per_second = client_frames_per_second;
        self
    }

    /// Sets the time between two pings ([`ping_interval`](#structfield.ping_interval)).
    #[must_use]
    pub const fn ping_interval(mut self, ping_interval: Duration) -> Self {
        self.ping_interval = ping_interval;
        self
    }

    /// Sets the maximum time for which the socket accepts no byte ([`write_timeout`](#structfield.write_timeout)).
    #[must_use]
    pub const fn write_timeout(mut self, write_timeout: Duration) -> Self {
        self.write_timeout = write_timeout;
        self
    }

    /// Sets the maximum duration of the close handshake ([`close_timeout`](#structfield.close_timeout)).
    #[must_use]
    pub const fn close_timeout(mut self, close_timeout: Duration) -> Self {
        self.close_timeout = close_timeout;
        self
    }
}
