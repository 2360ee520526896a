//! The options of topics.

use std::time::Duration;

use comms_core::Error;

use crate::backplane::Retention;

/// What happens when the queue of a session is full and a further message of a topic arrives.
///
/// `DropOldest` and `KeepLatest` search the queue of a slow session for each message. That costs about 3 µs with the default
/// of 1,000 frames, and grows with [`HubConfig::queue_frames`](crate::HubConfig::queue_frames).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum SlowConsumer {
    /// The session is closed with [`close::TOO_SLOW`](crate::close::TOO_SLOW). Its client connects again, and
    /// resumes where it stopped if the topic has history. The default.
    #[default]
    Disconnect,
    /// The oldest messages of the topic are removed from the queue. The client gets a frame `missed` in their place.
    DropOldest,
    /// A queued message of the topic is replaced by a newer one with the same [`Push::key`](crate::Push::key), also before
    /// the queue is full. Suits states of which only the last counts. If the queue is full nevertheless, the session is
    /// closed as with [`Disconnect`](Self::Disconnect).
    KeepLatest,
}

/// The options of a topic. A rule of [`HubConfig::topic`](crate::HubConfig::topic) sets them for all topics with a
/// prefix; all nodes of a system must have the same rules.
///
/// ```
/// use std::time::Duration;
/// use comms_ws::{SlowConsumer, TopicOptions};
///
/// let prices = TopicOptions::default().without_history().slow_consumer(SlowConsumer::KeepLatest);
/// let orders = TopicOptions::default().history(1_000, Duration::from_secs(3_600));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicOptions {
    /// What is kept for clients that resume. `None`: messages have no offsets, and a client that reconnects misses what was
    /// published meanwhile. Default 100 messages of at most five minutes.
    pub history: Option<Retention>,
    /// What happens to a session that reads too slowly. Default [`SlowConsumer::Disconnect`].
    pub slow_consumer: SlowConsumer,
    /// Whether [`Hub::present`](crate::Hub::present) lists the principals of the topic on all nodes. Each node reports its
    /// principals to the backplane every 20 seconds. Default `false`.
    pub presence: bool,
}

impl Default for TopicOptions {
    fn default() -> Self {
        let history = Retention { messages: 100, age: Duration::from_secs(300) };
        Self { history: Some(history), slow_consumer: SlowConsumer::default(), presence: false }
    }
}

impl TopicOptions {
    /// Keeps at most `messages` messages of at most `age` for clients that resume ([`history`](#structfield.history)).
    #[must_use]
    pub const fn history(mut self, messages: usize, age: Duration) -> Self {
        self.history = Some(Retention { messages, age });
        self
    }

    /// Keeps no message ([`history`](#structfield.history)).
    #[must_use]
    pub const fn without_history(mut self) -> Self {
        self.history = None;
        self
    }

    /// Sets what happens to a session that reads too slowly ([`slow_consumer`](#structfield.slow_consumer)).
    #[must_use]
    pub const fn slow_consumer(mut self, slow_consumer: SlowConsumer) -> Self {
        self.slow_consumer = slow_consumer;
        self
    }

    /// Lists the principals of the topic on all nodes ([`presence`](#structfield.presence)).
    #[must_use]
    pub const fn presence(mut self) -> Self {
        self.presence = true;
        self
    }
}

impl TopicOptions {
    /// Returns whether a client with this filter gets only some of the messages.
    pub(crate) fn is_sparse(&self, has_filter: bool) -> bool {
        has_filter || self.slow_consumer == SlowConsumer::KeepLatest
    }
}

/// The options of all topics, by the prefix of their names.
#[derive(Debug, Clone, Default)]
pub(crate) struct TopicRules(Vec<(String, TopicOptions)>);

impl TopicRules {
    /// Sets the options of the topics that begin with `prefix`, in place of earlier ones of the same prefix.
    pub(crate) fn set(&mut self, prefix: String, options: TopicOptions) {
        self.0.retain(|(other, _)| *other != prefix);
        self.0.push((prefix, options));
        self.0.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
    }

    /// Returns the options of `topic`: those of the longest prefix.
    pub(crate) fn of(&self, topic: &str) -> TopicOptions {
        let rule = self.0.iter().find(|(prefix, _)| topic.starts_with(prefix));
        rule.map(|(_, options)| *options).unwrap_or_default()
    }

    pub(crate) fn validate(&self) -> Result<(), Error> {
        let empty = self.0.iter().find(|(_, options)| {
            options.history.is_some_and(|history| history.messages == 0 || history.age.is_zero())
        });
        match empty {
            Some((prefix, _)) => Err(Error::invalid(format!(
                "hub: the history of topics with the prefix {prefix:?} keeps nothing: set both limits above zero, or use \
                 without_history"
            ))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_counts() {
        let mut rules = TopicRules::default();
        let none = TopicOptions::default().without_history();
        let latest = none.slow_consumer(SlowConsumer::KeepLatest);
        rules.set("price/".into(), none);
        rules.set("price/fx/".into(), latest);
        assert_eq!(rules.of("price/fx/eur"), latest);
        assert_eq!(rules.of("price/oil"), none);
        assert_eq!(rules.of("user/ann"), TopicOptions::default());
        rules.set("price/fx/".into(), none);
        assert_eq!(rules.of("price/fx/eur"), none, "the later rule of a prefix counts");
    }

    #[test]
    fn a_history_that_keeps_nothing_is_invalid() {
        let mut rules = TopicRules::default();
        rules.set("a".into(), TopicOptions::default().history(0, Duration::from_secs(1)));
        assert!(rules.validate().is_err());
        rules.set("a".into(), TopicOptions::default().history(1, Duration::ZERO));
        assert!(rules.validate().is_err());
        rules.set("a".into(), TopicOptions::default().without_history());
        assert!(rules.validate().is_ok());
    }
}
