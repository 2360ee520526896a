//! Topics: their options, the filters of their subscribers, and their state on this node.
//!
//! - [`TopicOptions`]: how much of a topic is kept, and what happens to a client that reads too slowly.
//! - [`Filter`]: the part of a topic that a client wants.
//! - `feed.rs`: puts the messages of the backplane in order, and repairs gaps.
//! - `table.rs`: the topics that have subscribers on this node.

pub(crate) mod feed;
mod filter;
mod options;
mod recent;
pub(crate) mod table;

pub use filter::Filter;
pub(crate) use options::TopicRules;
pub use options::{SlowConsumer, TopicOptions};

use std::sync::Arc;

/// A topic with subscribers on this node.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) name: Arc<str>,
    pub(crate) options: TopicOptions,
    pub(crate) feed: feed::Feed,
}
