//! Random numbers without a system call, and time-ordered identifiers.

use rand_xoshiro::{
    Xoshiro256PlusPlus,
    rand_core::{Rng, SeedableRng},
};
use std::{
    cell::RefCell,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

thread_local! {
    static GENERATOR: RefCell<Xoshiro256PlusPlus> = RefCell::new(from_system());
}

/// Returns a generator seeded with 256 bits from the operating system, so that no two threads or processes share a
/// sequence.
fn from_system() -> Xoshiro256PlusPlus {
    let mut seed = [0; 32];
    // This fails only while a booting kernel has no entropy. The address of a local variable is the fallback.
    if getrandom::fill(&mut seed).is_err() {
        let address = std::ptr::from_ref(&seed).addr() as u64;
        seed[..8].copy_from_slice(&address.to_le_bytes());
    }
    Xoshiro256PlusPlus::from_seed(seed)
}

pub(super) fn fill(bytes: &mut [u8]) {
    GENERATOR.with_borrow_mut(|generator| generator.fill_bytes(bytes));
}

/// Returns the next number of a strictly increasing series: the milliseconds above a counter of 12 bits. The counter
/// overflows into the milliseconds if one millisecond needs more than 4,096 numbers.
pub(super) fn next_ordinal(last: &AtomicU64, unix: Duration) -> u64 {
    let floor = (unix.as_millis() as u64) << 12;
    let mut seen = last.load(Ordering::Relaxed);
    loop {
        let next = floor.max(seen + 1);
        match last.compare_exchange_weak(seen, next, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return next,
            Err(newer) => seen = newer,
        }
    }
}

/// Returns an identifier of 48 bits of milliseconds, the version 7, 12 bits of the counter, the variant and 62 random
/// bits.
pub(super) fn uuid_v7(last: &AtomicU64, unix: Duration, random: [u8; 8]) -> uuid::Uuid {
    let ordinal = next_ordinal(last, unix);
    let high = (ordinal >> 12) << 16 | 0x7000 | (ordinal & 0xfff);
    let low = (u64::from_le_bytes(random) >> 2) | 1 << 63;
    uuid::Uuid::from_u64_pair(high, low)
}
