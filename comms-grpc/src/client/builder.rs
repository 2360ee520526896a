//! Settings of a channel, checked before anything is sent.

use std::time::Duration;

use comms_core::{Error, clock::Clock};
use http::Uri;

use super::{
    Channel,
    transport::{self, KeepAlive},
};

/// Settings of a [`Channel`].
#[derive(Debug, Clone)]
#[must_use]
pub struct ChannelBuilder {
    uri: String,
    timeout: Duration,
    connect_timeout: Duration,
    keep_alive: KeepAlive,
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
            keep_alive: KeepAlive::default(),
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

    /// How long a call may receive nothing before a keep-alive ping is sent. Default 5 minutes, minimum 10 s. No ping is
    /// sent while no call is in flight.
    ///
    /// The default is the shortest interval that a gRPC server with default settings accepts. Such a server answers
    /// more frequent pings with GOAWAY `too_many_pings` and cuts the calls in flight, so shorten it only together
    /// with the server's setting (`GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS`, grpc-go's
    /// `EnforcementPolicy.MinTime`, grpc-java's `permitKeepAliveTime`). comms-grpc's server accepts any interval.
    pub fn keep_alive(mut self, interval: Duration) -> Self {
        self.keep_alive.interval = interval;
        self
    }

    /// The longest wait for the answer to a keep-alive ping, and for the peer's kernel to acknowledge what was sent
    /// (`TCP_USER_TIMEOUT`, gRFC A18; Linux only). Then the connection is closed, its calls in flight fail as
    /// `Indeterminate`, and the next call makes a new connection. Default 20 s, minimum 1 ms.
    ///
    /// On other systems than Linux only the ping finds a peer that vanished without closing the connection.
    pub fn keep_alive_timeout(mut self, timeout: Duration) -> Self {
        self.keep_alive.timeout = timeout;
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
    /// Returns `Invalid` if the URI is not `http://host:port`, if a time limit is zero or below its minimum, and if there
    /// is no runtime.
    pub fn build(self) -> Result<Channel, Error> {
        let Self { uri, timeout, connect_timeout, keep_alive, peer, forwards_credentials, clock } = self;
        // The URI is repeated by no error: it holds a password where an operator has confused it with another.
        let parsed: Option<Uri> = uri.parse().ok().filter(is_address);
        let Some((parsed, authority)) = parsed.as_ref().and_then(|uri| Some((uri, uri.authority()?))) else {
            let text = "the URI of a channel must be http://host:port, without a path and a user name";
            return Err(Error::invalid(text));
        };
        if [timeout, connect_timeout].iter().any(Duration::is_zero) {
            return Err(Error::invalid(format!(
                "channel to {authority}: a time limit of zero lets no call through"
            )));
        }
        keep_alive.check().map_err(|e| e.context(format_args!("channel to {authority}")))?;
        tokio::runtime::Handle::try_current().map_err(|_| {
            Error::invalid(format!("channel to {authority}: build it within a tokio runtime"))
        })?;
        let peer = peer.unwrap_or_else(|| authority.to_string()).into();
        let transport = transport::endpoint(parsed.clone(), keep_alive)
            .connect_with_connector_lazy(transport::connector(connect_timeout, keep_alive));
        Ok(Channel { transport, timeout, peer, forwards_credentials, clock })
    }
}

/// Whether `uri` is `http://host:port` and nothing more.
fn is_address(uri: &Uri) -> bool {
    let bare = uri.path_and_query().is_none_or(|path| path == "/");
    let host = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
    bare && host && uri.scheme_str() == Some("http")
}
