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

/// A topic.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) name: Arc<str>,
    pub(crate) options: TopicOptions,
}
