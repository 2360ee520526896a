//! Random choices from a seed.

use std::time::Duration;

use comms_core::clock::Clock;

/// A generator of random choices. Clones share its state.
#[derive(Clone)]
pub struct Rng(Clock);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(Clock::seeded(Duration::ZERO, seed))
    }

    pub fn from_entropy() -> Self {
        Self(Clock::system())
    }

    /// Returns an independent generator for another task.
    pub fn fork(&self) -> Self {
        Self::new(u64::from_le_bytes(self.0.random()))
    }

    pub fn chance(&self, probability: f64) -> bool {
        self.0.random_unit() < probability
    }

    pub fn between(&self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.0.random_unit()
    }

    /// Returns a duration between two numbers of milliseconds.
    pub fn millis(&self, low: f64, high: f64) -> Duration {
        Duration::from_secs_f64(self.between(low, high) / 1e3)
    }

    pub fn below(&self, bound: usize) -> usize {
        usize::from_le_bytes(self.0.random()) % bound
    }

    pub fn pick<'a, T>(&self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }
}
