//! The order of the deliveries of a worker.

/// The order in which a worker runs its deliveries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ordering {
    /// Deliveries of one topic and key run one after the other. A delivery without a key runs at once.
    #[default]
    Key,
    /// All deliveries run one after the other.
    Partition,
    /// No delivery waits for another one.
    None,
}
