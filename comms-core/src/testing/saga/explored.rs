//! The counts of an exploration.

use crate::saga::Phase;

/// What an [`Exploration`](super::Exploration) has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Explored {
    /// The different states.
    pub states: usize,
    /// The changes from one state to another.
    pub transitions: usize,
    /// The different sequences of changes from the start to an end. Stops at the highest number.
    pub paths: u128,
    /// The different states in which the run is completed.
    pub completed: usize,
    /// The different states in which the run has failed.
    pub failed: usize,
    /// The different states in which the run is held.
    pub held: usize,
}

impl Explored {
    /// Counts a state.
    pub(super) const fn count(&mut self, phase: Phase) {
        self.states += 1;
        match phase {
            Phase::Completed => self.completed += 1,
            Phase::Failed => self.failed += 1,
            Phase::Held => self.held += 1,
            Phase::Running | Phase::Compensating => {}
        }
    }
}
