//! Random choices from a seed.

use std::time::Duration;

use comms_core::clock::Clock;

/// A generator of random choices.
pub struct Rng(Clock);

impl Rng {
    /// Returns a generator with the seed `COMMS_CHAOS_SEED`, or with a seed that is printed. The timing of the processes
    /// varies.
    pub fn from_environment() -> Self {
        let given = std::env::var("COMMS_CHAOS_SEED");
        let random = || u64::from(u32::from_le_bytes(Clock::system().random()) % 1_000_000);
        let seed =
            given.map_or_else(|_| random(), |text| text.parse().expect("COMMS_CHAOS_SEED is a number"));
        println!("COMMS_CHAOS_SEED={seed}");
        Self(Clock::seeded(Duration::ZERO, seed))
    }

    /// Returns a duration between two numbers of milliseconds.
    pub fn millis(&self, low: f64, high: f64) -> Duration {
        Duration::from_secs_f64((low + (high - low) * self.0.random_unit()) / 1e3)
    }

    pub fn below(&self, bound: usize) -> usize {
        usize::from_le_bytes(self.0.random()) % bound
    }

    pub fn pick<'a, T>(&self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }

    pub fn shuffle<T>(&self, items: &mut [T]) {
        for end in (1..items.len()).rev() {
            items.swap(end, self.below(end + 1));
        }
    }
}
