//! The settings of a channel, checked when the channel is built.

use std::{fmt, time::Duration};

use comms_core::{Error, clock::Clock};
use http::Uri;

#[cfg(feature = "tls")]
use super::transport::tls::TlsConnector;
use super::{
    Channel,
    transport::{self, KeepAlive},
};
#[cfg(feature = "tls")]
use crate::tls::ClientTls;

/// The settings of a [`Channel`], from [`Channel::builder`].
#[derive(Clone)]
#[must_use]
pub struct ChannelBuilder {
    uri: String,
    timeout: Duration,
    connect_timeout: Duration,
    keep_alive: KeepAlive,
    peer: Option<String>,
    forwards_credentials: bool,
    clock: Clock,
    #[cfg(feature = "tls")]
    tls: Option<ClientTls>,
}

impl Channel {
    /// Returns a builder of a channel to `uri`, which is `http://host:port`, or `https://host:port` with
    /// `ChannelBuilder::tls`.
    pub fn builder(uri: impl Into<String>) -> ChannelBuilder {
        ChannelBuilder {
            uri: uri.into(),
            timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(2),
            keep_alive: KeepAlive::default(),
            peer: None,
            forwards_credentials: false,
            clock: Clock::system(),
            #[cfg(feature = "tls")]
            tls: None,
        }
    }
}

impl ChannelBuilder {
    /// Sets the maximum duration of a call, including its response stream. Default 5 s. An earlier deadline of the
    /// caller's context or of the request applies instead.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets the maximum duration of a connection attempt. Default 2 s. A call that waits for the connection ends at the
    /// deadline of the call, if that is earlier.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets the time without received frames after which a keep-alive ping is sent. Default 5 minutes, minimum 10 s. No
    /// ping is sent while no call is in flight.
    ///
    /// The default is the shortest interval that a gRPC server with default settings accepts. Such a server answers
    /// more frequent pings with GOAWAY `too_many_pings` and cuts the calls in flight, so shorten the interval only
    /// together with the setting of the server (`GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS`, grpc-go's
    /// `EnforcementPolicy.MinTime`, grpc-java's `permitKeepAliveTime`). The server of comms-grpc accepts any interval.
    pub fn keep_alive(mut self, interval: Duration) -> Self {
        self.keep_alive.interval = interval;
        self
    }

    /// Sets the maximum wait for the response to a keep-alive ping, and for the peer's kernel to acknowledge sent bytes
    /// (`TCP_USER_TIMEOUT`, gRFC A18; Linux, Android and Fuchsia). Default 20 s, minimum 1 ms.
    ///
    /// After this time the connection is closed, its calls in flight fail as `Indeterminate`, and the next call opens a
    /// new connection. On other systems only the ping detects a peer that vanished without closing the connection.
    pub fn keep_alive_timeout(mut self, timeout: Duration) -> Self {
        self.keep_alive.timeout = timeout;
        self
    }

    /// Sets the name of the peer in metrics, spans and errors, such as `payment`. Default: host and port of the URI.
    pub fn peer(mut self, name: impl Into<String>) -> Self {
        self.peer = Some(name.into());
        self
    }

    /// Sets whether the calls carry the credentials of this process's caller. Default `false`.
    ///
    /// If `true`, [`from_status`](crate::from_status) converts PERMISSION_DENIED and UNAUTHENTICATED to
    /// `PermissionDenied` and `Unauthenticated`, because they concern the caller. If `false`, they concern this process
    /// and are `Misconfigured`.
    pub fn forwards_credentials(mut self, forwards: bool) -> Self {
        self.forwards_credentials = forwards;
        self
    }

    /// Sets the clock that measures deadlines. Default: the system clock.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Sets TLS. The URI must be `https://host:port` then. Default: plain text.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: impl Into<Option<ClientTls>>) -> Self {
        self.tls = tls.into();
        self
    }

    /// Creates the channel. The first call opens the connection. The current tokio runtime drives the connection.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](comms_core::ErrorKind::Invalid) if:
    /// - the URI is not `http://host:port`, or with TLS not `https://host:port`;
    /// - [`timeout`](Self::timeout) or [`connect_timeout`](Self::connect_timeout) is zero;
    /// - [`keep_alive`](Self::keep_alive) or [`keep_alive_timeout`](Self::keep_alive_timeout) is below its minimum;
    /// - no tokio runtime is current.
    pub fn build(self) -> Result<Channel, Error> {
        let scheme = self.scheme();
        let Self { uri, timeout, connect_timeout, keep_alive, peer, forwards_credentials, clock, .. } = self;
        // No error repeats the URI, because it holds a password if an operator confused it with the URL of another
        // system.
        let parsed: Option<Uri> = uri.parse().ok().filter(|uri| is_address(uri, scheme));
        let Some((parsed, authority)) = parsed.as_ref().and_then(|uri| Some((uri, uri.authority()?))) else {
            return Err(Error::invalid(format!(
                "the URI of a gRPC channel must be {scheme}://host:port, without a path and without a user name"
            )));
        };
        if [timeout, connect_timeout].iter().any(Duration::is_zero) {
            return Err(Error::invalid(format!(
                "gRPC channel to {authority}: timeout and connect_timeout must be longer than zero"
            )));
        }
        keep_alive.check().map_err(|e| e.context(format_args!("gRPC channel to {authority}")))?;
        tokio::runtime::Handle::try_current().map_err(|_| {
            Error::invalid(format!(
                "gRPC channel to {authority}: no tokio runtime is current; call build() within one"
            ))
        })?;
        let peer = peer.unwrap_or_else(|| authority.to_string()).into();
        let endpoint = transport::endpoint(parsed.clone(), keep_alive);
        let tcp = transport::connector(connect_timeout, keep_alive);
        #[cfg(feature = "tls")]
        let transport = match &self.tls {
            Some(tls) => {
                let connector = TlsConnector::new(tcp, tls, connect_timeout, &clock)
                    .map_err(|e| e.context(format_args!("gRPC channel to {authority}")))?;
                endpoint.connect_with_connector_lazy(connector)
            }
            None => endpoint.connect_with_connector_lazy(tcp),
        };
        #[cfg(not(feature = "tls"))]
        let transport = endpoint.connect_with_connector_lazy(tcp);
        Ok(Channel { transport, timeout, peer, forwards_credentials, clock })
    }

    fn scheme(&self) -> &'static str {
        #[cfg(feature = "tls")]
        if self.tls.is_some() {
            return "https";
        }
        "http"
    }
}

/// Hides a URI that [`build`](ChannelBuilder::build) refuses, because it may contain a password.
impl fmt::Debug for ChannelBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let valid = self.uri.parse().ok().filter(|uri| is_address(uri, self.scheme()));
        let uri = valid.map_or_else(|| "***".to_owned(), |uri: Uri| uri.to_string());
        f.debug_struct("ChannelBuilder")
            .field("uri", &uri)
            .field("timeout", &self.timeout)
            .field("connect_timeout", &self.connect_timeout)
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

/// Returns whether `uri` is `scheme://host:port` without further parts.
fn is_address(uri: &Uri, scheme: &str) -> bool {
    let bare = uri.path_and_query().is_none_or(|path| path == "/");
    let host = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
    bare && host && uri.scheme_str() == Some(scheme)
}
