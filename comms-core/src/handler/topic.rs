//! The handler of a topic, of either kind.

use super::{BoxBatchHandler, BoxHandler};

/// The handler of a topic: it takes one delivery, or a batch.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum TopicHandler {
    /// Takes one delivery at a time.
    Single(BoxHandler),
    /// Takes several deliveries at once.
    Batch(BoxBatchHandler),
}

impl From<BoxHandler> for TopicHandler {
    fn from(handler: BoxHandler) -> Self {
        Self::Single(handler)
    }
}

impl From<BoxBatchHandler> for TopicHandler {
    fn from(handler: BoxBatchHandler) -> Self {
        Self::Batch(handler)
    }
}
