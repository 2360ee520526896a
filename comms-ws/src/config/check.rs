//! The check of the limits, and the limits that follow from others.

use std::time::Duration;

use comms_core::Error;

use super::HubConfig;

const DAY: Duration = Duration::from_secs(24 * 3_600);

impl HubConfig {
    /// Returns the configuration, or an error that names the first invalid setting.
    pub(crate) fn validated(self) -> Result<Self, Error> {
        let limits = [
            ("queue_bytes", self.queue_bytes == 0),
            ("queue_frames", self.queue_frames == 0),
            ("max_sessions", self.max_sessions == 0),
            ("max_unauthenticated", self.max_unauthenticated == 0),
            ("max_sessions_per_principal", self.max_sessions_per_principal == 0),
            ("max_sessions_per_address", self.max_sessions_per_address == 0),
            ("max_push_bytes", self.max_push_bytes == 0),
            ("max_topics", self.max_topics == 0),
            ("max_client_frame", self.max_client_frame == 0),
            ("client_frames_per_second", self.client_frames_per_second == 0),
            ("ping_interval", self.ping_interval.is_zero()),
            ("write_timeout", self.write_timeout.is_zero()),
            ("close_timeout", self.close_timeout.is_zero()),
        ];
        if let Some((limit, _)) = limits.iter().find(|(_, zero)| *zero) {
            return Err(Error::invalid(format!("hub: {limit} must be greater than zero")));
        }
        self.topics.validate()?;
        if self.ping_interval > DAY {
            return Err(Error::invalid(format!(
                "hub: ping_interval is {:?}, the maximum is one day",
                self.ping_interval
            )));
        }
        match self.origins.iter().find(|origin| !is_origin(origin)) {
            Some(bad) => Err(Error::invalid(format!(
                "hub: origin {bad:?} is invalid: write it as browsers send it, scheme://host or scheme://host:port"
            ))),
            None => Ok(self),
        }
    }

    /// Returns the number of sockets without a token that count: they leave at least half of all sessions to the others.
    pub(crate) fn unauthenticated_limit(&self) -> usize {
        self.max_unauthenticated.min((self.max_sessions / 2).max(1))
    }

    /// Returns the size of the largest push: that of the configuration, or of the queue if it is smaller.
    pub(crate) fn push_limit(&self) -> usize {
        self.max_push_bytes.min(self.queue_bytes)
    }

    /// Returns the time between two looks at all sessions: a fraction of the limits that are checked then.
    pub(crate) fn tick(&self) -> Duration {
        let finest = self.ping_interval.min(self.write_timeout) / 8;
        finest.clamp(Duration::from_millis(10), Duration::from_secs(1))
    }
}

/// Returns whether `text` is an origin as browsers send it: a scheme and an authority in lower case, without a path.
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
    fn limits_out_of_range_and_malformed_origins_are_invalid() {
        let with = |origin: &str| HubConfig::default().origins([origin]).validated();
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
        assert!(HubConfig::default().queue_frames(0).validated().is_err());
        let error = HubConfig::default().queue_frames(0).validated().unwrap_err();
        assert_eq!(error.kind, comms_core::ErrorKind::Invalid);
        assert!(HubConfig::default().ping_interval(Duration::MAX).validated().is_err());
        assert!(HubConfig::default().ping_interval(Duration::ZERO).validated().is_err());
    }
}
