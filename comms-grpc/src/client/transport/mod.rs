//! The connection of a channel, and the detection of a peer that is gone.
//!
//! Two checks (gRFC A8 and A18): the kernel closes the connection if the peer does not acknowledge what was sent
//! (`TCP_USER_TIMEOUT`, Linux only), and HTTP/2 pings detect a peer whose kernel acknowledges although its process
//! hangs. Pings are rare, and are sent only while a call is in flight: a gRPC server with default settings answers a
//! client that pings more often with GOAWAY `too_many_pings`, which cuts the calls in flight.

use std::time::Duration;

use comms_core::Error;
use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use tonic::transport::Endpoint;

/// The maximum size of response headers or trailers in bytes: room for a status message of 256 KiB, percent-encoded in
/// full. Above hyper's default of 16 KiB, the call would lose its status, and other calls on the connection would fail.
const HEADER_LIST: u32 = 1024 * 1024;

/// The shortest interval of keep-alive pings that gRFC A8 lets a client use.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(10);

/// The time limits of a peer that does not respond.
#[derive(Debug, Clone, Copy)]
pub(super) struct KeepAlive {
    /// The time without received frames after which a ping is sent during a call.
    pub(super) interval: Duration,
    /// The maximum wait for the response to a ping, and for the acknowledgement of sent bytes.
    pub(super) timeout: Duration,
}

/// The maximum interval and timeout: hyper adds them to an instant, and the kernel counts milliseconds as a signed
/// 32-bit number.
const LONGEST: Duration = Duration::from_millis(i32::MAX as u64);

impl Default for KeepAlive {
    /// The interval is the shortest that gRPC servers accept by default. The timeout is the default of gRPC.
    fn default() -> Self {
        Self { interval: Duration::from_secs(300), timeout: Duration::from_secs(20) }
    }
}

impl KeepAlive {
    pub(super) fn check(self) -> Result<(), Error> {
        if self.interval < SHORTEST_INTERVAL {
            return Err(Error::invalid(format!(
                "keep_alive is {:?}, the minimum is {SHORTEST_INTERVAL:?}: servers answer more frequent pings with GOAWAY \
                 too_many_pings and cut the calls in flight",
                self.interval
            )));
        }
        // The kernel counts milliseconds, and 0 stands for the default of about 15 minutes.
        if self.timeout < Duration::from_millis(1) {
            return Err(Error::invalid("keep_alive_timeout is below the minimum of 1 ms"));
        }
        Ok(())
    }
}

/// Returns the HTTP/2 settings of a connection to `uri`.
pub(super) fn endpoint(uri: Uri, keep_alive: KeepAlive) -> Endpoint {
    Endpoint::from(uri)
        .http2_keep_alive_interval(keep_alive.interval.min(LONGEST))
        .keep_alive_timeout(keep_alive.timeout.min(LONGEST))
        .keep_alive_while_idle(false)
        .http2_max_header_list_size(HEADER_LIST)
}

/// Returns a connector for TCP. The connector of tonic cannot set `TCP_USER_TIMEOUT`.
pub(super) fn connector(connect_timeout: Duration, keep_alive: KeepAlive) -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(connect_timeout));
    #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
    connector.set_tcp_user_timeout(Some(keep_alive.timeout.min(LONGEST)));
    #[cfg(not(any(target_os = "android", target_os = "fuchsia", target_os = "linux")))]
    let _ = keep_alive;
    connector
}

#[cfg(feature = "tls")]
pub(super) mod tls;

#[cfg(test)]
mod tests;
