//! Topics: their options, and the filters of their subscribers.
//!
//! - [`TopicOptions`]: how much of a topic is kept, and what happens to a client that reads too slowly.
//! - [`Filter`]: the part of a topic that a client wants.

mod filter;
mod options;

pub use filter::Filter;
pub(crate) use options::TopicRules;
pub use options::{SlowConsumer, TopicOptions};

use std::sync::Arc;

/// The beginning of the names of the topics of the hub itself, which no client may subscribe to.
const RESERVED: &str = "$hub/";

/// A topic.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) name: Arc<str>,
    pub(crate) options: TopicOptions,
}

/// Returns whether `topic` is a topic of the hub itself.
pub(crate) fn is_reserved(topic: &str) -> bool {
    topic.starts_with(RESERVED)
}
