//! Limits of a hub, checked when it is made.

use std::time::Duration;

use comms_core::Error;

const DAY: Duration = Duration::from_secs(24 * 3_600);

/// Limits of a [`Hub`](crate::Hub). A session's frames take at most [`HubConfig::queue_bytes`], shared with the
/// other sessions of their topics, and the socket a copy of 16 KiB or of one frame, whichever is larger.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct HubConfig {
    /// Origins whose pages may open sockets: `https://shop.example`, exactly as browsers send them. Default
    /// none. Requests without `Origin` come from no page and are not subject to this.
    pub origins: Vec<String>,
    /// Bytes that may wait in a session's queue; beyond it the session is closed as too slow. Default 1 MiB.
    pub queue_bytes: usize,
    /// Frames that may wait in a session's queue, likewise. Default 1,000.
    pub queue_frames: usize,
    /// Open sessions in all. Default 10,000.
    pub max_sessions: usize,
    /// Open sessions of one principal. Default 20.
    pub max_sessions_per_principal: usize,
    /// Topics of a session. Default 100.
    pub max_topics: usize,
    /// The largest message a client may send, in bytes. Default 4 KiB.
    pub max_client_frame: usize,
    /// Frames a client may send per second, control frames included; five times as many at once. Default 10.
    pub client_frames_per_second: u32,
    /// How often a silent client is asked for life, +-10%; after two of these without a frame its session is
    /// closed. Default 25 s.
    pub ping_interval: Duration,
    /// How long the socket may take no byte of what is being written. Default 10 s.
    pub write_timeout: Duration,
    /// How long the closing handshake may take. Default 2 s.
    pub close_timeout: Duration,
}

impl Default for HubConfig {
    fn default() -> Self {
        Self {
            origins: Vec::new(),
            queue_bytes: 1024 * 1024,
            queue_frames: 1_000,
            max_sessions: 10_000,
            max_sessions_per_principal: 20,
            max_topics: 100,
            max_client_frame: 4 * 1024,
            client_frames_per_second: 10,
            ping_interval: Duration::from_secs(25),
            write_timeout: Duration::from_secs(10),
            close_timeout: Duration::from_secs(2),
        }
    }
}

impl HubConfig {
    pub(super) fn validated(self) -> Result<Self, Error> {
        let sizes = [self.queue_bytes, self.queue_frames, self.max_sessions, self.max_sessions_per_principal];
        let client = [self.max_topics, self.max_client_frame, self.client_frames_per_second as usize];
        let times = [self.ping_interval, self.write_timeout, self.close_timeout];
        if sizes.contains(&0) || client.contains(&0) || times.contains(&Duration::ZERO) {
            return Err(Error::invalid("hub: a limit of zero lets nothing through"));
        }
        if self.ping_interval > DAY {
            return Err(Error::invalid("hub: a ping_interval of more than a day finds nobody silent"));
        }
        match self.origins.iter().find(|origin| !is_origin(origin)) {
            Some(bad) => Err(Error::invalid(format!(
                "hub: origin {bad:?}: write it as browsers send it, scheme://host or scheme://host:port"
            ))),
            None => Ok(self),
        }
    }

    /// What is read of a message before it is given up. Above the limit itself, so that a client that
    /// is a little over it gets a proper answer; its close frame would be lost with unread bytes behind it.
    pub(crate) fn read_limit(&self) -> usize {
        self.max_client_frame.saturating_mul(4)
    }
}

fn is_origin(text: &str) -> bool {
    let Ok(uri) = text.parse::<http::Uri>() else { return false };
    match (uri.scheme_str(), uri.authority()) {
        (Some(scheme), Some(host)) => text == format!("{scheme}://{host}").to_ascii_lowercase(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_would_let_nothing_or_anything_through() {
        let with =
            |origin: &str| HubConfig { origins: vec![origin.into()], ..HubConfig::default() }.validated();
        for good in ["https://shop.example", "http://localhost:8080", "http://127.0.0.1:1"] {
            assert!(with(good).is_ok(), "{good}");
        }
        for bad in [
            "*",
            "",
            "shop.example",
            "https://shop.example/",
            "https://shop.example/x",
            "HTTPS://Shop.example",
        ] {
            assert!(with(bad).is_err(), "{bad}");
        }
        assert!(HubConfig { queue_frames: 0, ..HubConfig::default() }.validated().is_err());
        assert!(HubConfig { ping_interval: Duration::MAX, ..HubConfig::default() }.validated().is_err());
        assert!(HubConfig { ping_interval: Duration::ZERO, ..HubConfig::default() }.validated().is_err());
    }
}
