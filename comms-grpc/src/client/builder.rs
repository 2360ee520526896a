//! Settings of a channel, checked before anything is sent.

use std::time::Duration;

use comms_core::{Clock, Error};
use http::Uri;
use tonic::transport::Endpoint;

use super::Channel;

/// Bytes of response headers or trailers that a peer may send: a status message of 256 KiB whose every byte is
/// percent-encoded. hyper's 16 KiB would cost the call its status, and other calls on the connection theirs.
const HEADER_LIST: u32 = 1024 * 1024;

/// Settings of a [`Channel`].
#[derive(Debug, Clone)]
#[must_use]
pub struct ChannelBuilder {
    uri: String,
    timeout: Duration,
    connect_timeout: Duration,
    keep_alive: Duration,
    peer: Option<String>,
    forwards_credentials: bool,
    clock: Clock,
}

impl ChannelBuilder {
    pub(super) fn new(uri: String) -> Self {
        Self {
            uri,
            timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(2),
            keep_alive: Duration::from_secs(10),
            peer: None,
            forwards_credentials: false,
            clock: Clock::system(),
        }
    }

    /// The longest a call may take, response stream included. Default 5 s. The caller's context shortens it,
    /// nothing lengthens it.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The longest an attempt to connect may take. Default 2 s. The call that waits for it ends by its own
    /// deadline, if that is earlier.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long the connection may be silent before a ping is sent; the connection is given up if the answer takes half
    /// of that. Default 10 s.
    pub fn keep_alive(mut self, interval: Duration) -> Self {
        self.keep_alive = interval;
        self
    }

    /// The peer's name in metrics, spans and errors: `payment`. Default: host and port.
    pub fn peer(mut self, name: impl Into<String>) -> Self {
        self.peer = Some(name.into());
        self
    }

    /// Whether the calls carry the credentials of this process's caller. Then PERMISSION_DENIED and UNAUTHENTICATED
    /// concern the caller, and are `PermissionDenied` and `Unauthenticated`. Default false: they concern this process,
    /// and are `Misconfigured`.
    pub fn forwards_credentials(mut self, forwards: bool) -> Self {
        self.forwards_credentials = forwards;
        self
    }

    /// The clock deadlines are read from. Default: the system's.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Makes the channel. Nothing is connected yet. Must be called within a tokio runtime, which
    /// from then on drives the connection.
    ///
    /// # Errors
    /// `Invalid` for a URI other than `http://host:port`, for a zero duration, and outside a runtime.
    pub fn build(self) -> Result<Channel, Error> {
        let Self { uri, timeout, connect_timeout, keep_alive, peer, forwards_credentials, clock } = self;
        let parsed: Uri =
            uri.parse().map_err(|e| Error::invalid(e).context(format_args!("channel to {uri:?}")))?;
        let bare = parsed.path_and_query().is_none_or(|p| p == "/");
        let authority = parsed.authority().filter(|_| bare && parsed.scheme_str() == Some("http"));
        let Some(authority) = authority else {
            return Err(Error::invalid(format!(
                "channel to {uri:?}: write http://host:port, without a path"
            )));
        };
        if [timeout, connect_timeout, keep_alive].iter().any(Duration::is_zero) {
            return Err(Error::invalid(format!(
                "channel to {uri:?}: a time limit of zero lets no call through"
            )));
        }
        tokio::runtime::Handle::try_current()
            .map_err(|_| Error::invalid(format!("channel to {uri:?}: build it within a tokio runtime")))?;
        let peer = peer.unwrap_or_else(|| authority.to_string()).into();
        let transport = Endpoint::from(parsed.clone())
            .connect_timeout(connect_timeout)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(keep_alive)
            .keep_alive_timeout(keep_alive / 2)
            .keep_alive_while_idle(true)
            .http2_max_header_list_size(HEADER_LIST)
            .connect_lazy();
        Ok(Channel { transport, timeout, peer, forwards_credentials, clock })
    }
}
