//! The section `[notification]` of the configuration.

use std::time::Duration;

use comms_core::{Error, clock::Clock};
use comms_ws::{CursorKey, Hub, HubConfig, TopicOptions};
use serde::Deserialize;

use crate::platform::{config::duration, service::Section};

/// The keys whose values may be printed. `cursor_keys` holds secrets.
pub(super) const SHOWN: &[&str] = &["origins", "max_sessions_per_address", "history.*"];
const DAY: Duration = Duration::from_secs(86_400);

/// The settings of notification-service.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    /// Browser origins whose pages may open a session. The origins of this process are added to the list.
    pub(super) origins: Vec<String>,
    /// The secrets that sign cursors and tickets. The first signs, all verify. Without a default, because the printed
    /// configuration hides the value and must stay readable.
    #[serde(default)]
    pub(super) cursor_keys: Vec<String>,
    /// The maximum number of sessions of one address.
    max_sessions_per_address: usize,
    /// What is kept for clients that resume.
    history: History,
}

/// The section `[notification.history]`. The limits are those of each topic.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct History {
    messages: usize,
    #[serde(with = "duration")]
    age: Duration,
}

impl Settings {
    /// Returns the limits of the hub, for pages of `origins`.
    pub(super) fn hub(&self, origins: &[String]) -> HubConfig {
        let topics = TopicOptions::default().history(self.history.messages, self.history.age);
        HubConfig::default()
            .origins(origins)
            .max_sessions_per_address(self.max_sessions_per_address)
            .topic("", topics)
    }
}

/// Checks the section.
///
/// # Errors
/// Returns `Invalid`, naming the key, for an unknown key, a value of the wrong type, or a value that is out of range.
pub(super) fn check(section: &Section) -> Result<(), Error> {
    let settings: Settings = section.read()?;
    if settings.cursor_keys.iter().any(|key| CursorKey::new(key.as_bytes()).is_err()) {
        return Err(section.refusal("cursor_keys", "must be a list of secrets of at least 32 bytes each"));
    }
    if settings.max_sessions_per_address == 0 {
        return Err(section.refusal("max_sessions_per_address", "must be at least 1"));
    }
    if !(1..=10_000).contains(&settings.history.messages) {
        return Err(section.refusal("history.messages", "must be between 1 and 10000"));
    }
    if !(Duration::from_secs(1)..=DAY).contains(&settings.history.age) {
        return Err(section.refusal("history.age", "must be between 1s and 1day"));
    }
    match Hub::new(settings.hub(&settings.origins), Clock::system()) {
        Ok(_) => Ok(()),
        // The other values are checked above.
        Err(_) => Err(section
            .refusal("origins", "must be a list of origins as browsers send them: https://shop.example")),
    }
}
