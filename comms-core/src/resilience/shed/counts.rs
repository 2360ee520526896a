//! The requests in flight of each priority, and the bounds up to which each priority is admitted: one word each.

use crate::context::Priority;

/// The bits of one priority.
const BITS: u32 = 20;
const MASK: u64 = (1 << BITS) - 1;
/// In a word of bounds: the limit is adaptive, so completed requests are measured.
const MEASURED: u64 = 1 << 63;

const fn shift(priority: Priority) -> u32 {
    match priority {
        Priority::Batch => 0,
        Priority::Standard => BITS,
        Priority::Critical => 2 * BITS,
    }
}

/// A word with one request of `priority`, to add or to subtract.
pub(super) const fn one(priority: Priority) -> u64 {
    1 << shift(priority)
}

/// The number of `priority` in a word of counts or bounds.
pub(super) const fn of(word: u64, priority: Priority) -> u32 {
    (word >> shift(priority) & MASK) as u32
}

/// The requests in flight of all priorities. A limit has 20 bits, so the sum of the admitted requests does as well, and
/// no count overflows into its neighbour.
pub(super) const fn total(word: u64) -> u32 {
    of(word, Priority::Batch) + of(word, Priority::Standard) + of(word, Priority::Critical)
}

/// Returns the word of bounds. Each priority may use at least one permit, so that a small limit starves none for ever.
pub(super) fn bounds(limit: u32, batch_share: f64, standard_share: f64, measured: bool) -> u64 {
    let share = |share: f64| u64::from(((f64::from(limit) * share + 1e-9) as u32).clamp(1, limit));
    let word = share(batch_share) << shift(Priority::Batch)
        | share(standard_share) << shift(Priority::Standard)
        | u64::from(limit) << shift(Priority::Critical);
    if measured { word | MEASURED } else { word }
}

pub(super) const fn is_measured(bounds: u64) -> bool {
    bounds & MEASURED != 0
}
