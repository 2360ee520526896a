//! The time limits of a peer that does not respond.
//!
//! Two checks (gRFC A8 and A18): the kernel closes the connection if the peer does not acknowledge what was sent
//! (`TCP_USER_TIMEOUT`, Linux only), and HTTP/2 pings detect a peer whose kernel acknowledges although its process
//! hangs. Pings are rare, and are sent only while a call is in flight: a gRPC server with default settings answers a
//! client that pings more often with GOAWAY `too_many_pings`, which cuts the calls in flight.

use std::time::Duration;

use comms_core::Error;

/// The shortest interval of keep-alive pings that gRFC A8 lets a client use.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(10);

/// The maximum interval and timeout: they are added to an instant, and the kernel counts milliseconds as a signed
/// 32-bit number.
pub(super) const LONGEST: Duration = Duration::from_millis(i32::MAX as u64);

/// The time limits of a peer that does not respond.
#[derive(Debug, Clone, Copy)]
pub(super) struct KeepAlive {
    /// The time without received frames after which a ping is sent during a call.
    pub(super) interval: Duration,
    /// The maximum wait for the response to a ping, and for the acknowledgement of sent bytes.
    pub(super) timeout: Duration,
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keep_alive_below_the_minimum_is_invalid() {
        let second = Duration::from_secs(1);
        let of = |interval, timeout| KeepAlive { interval, timeout }.check();
        of(second * 10, Duration::from_millis(1)).unwrap();
        let refused = of(Duration::from_millis(9_999), second).unwrap_err().to_string();
        assert!(refused.contains("10s") && refused.contains("too_many_pings"), "{refused}");
        of(second * 10, Duration::from_micros(999)).unwrap_err();
    }
}
