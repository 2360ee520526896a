//! All runs of a definition.

use serde::{Serialize, de::DeserializeOwned};

use super::{explored::Explored, peers, walk::Walk};
use crate::{Error, Message, event::Event, saga::Definition, testing::Broken};

/// Gives every input to every state of a saga that can be reached, and checks the promises of [`saga`](crate::saga).
///
/// The inputs are the given events, each current timer, timers that are no longer current, a cancel, and in
/// [`Phase::Held`](crate::saga::Phase::Held) a retry and each forced result. So every interleaving of replies, duplicates, late replies and time
/// limits is included. Give the events that end each step, with success and with failure.
///
/// Checked in each state: every run can end; a failed run leaves no executed step without its compensation; no step is
/// executed after its compensation began; a compensation waits for the compensations of later stages; each command has
/// the identity of its attempt, and none is sent twice; every hold has an alarm and can be continued; every run that has
/// not ended has a timer or is held; an ended run does nothing; an instance survives its JSON form; and a repeated
/// transition is the same.
///
/// States that differ only in counters of steps that are settled, or in texts of reasons, count as one.
pub struct Exploration<'a, D> {
    definition: &'a Definition<D>,
    id: String,
    data: D,
    events: Vec<Result<Message, Error>>,
    max_states: usize,
}

impl<'a, D: Clone + Serialize + DeserializeOwned> Exploration<'a, D> {
    /// Prepares the exploration of the runs that start with `id` and `data`.
    #[must_use]
    pub fn new(definition: &'a Definition<D>, id: &str, data: D) -> Self {
        Self { definition, id: id.to_owned(), data, events: Vec::new(), max_states: 100_000 }
    }

    /// Adds an event that may come at any time and any number of times.
    #[must_use]
    pub fn event<E: Event + Serialize + DeserializeOwned>(mut self, event: &E) -> Self {
        self.events.push(peers().message(event));
        self
    }

    /// Sets the number of states after which the exploration gives up. Default 100,000.
    #[must_use]
    pub const fn max_states(mut self, states: usize) -> Self {
        self.max_states = states;
        self
    }

    /// Explores all states.
    ///
    /// # Errors
    /// Returns [`Broken`] with the violated promise and the inputs that lead to it. Also if no event ends a step or its
    /// compensation with success, an event cannot be encoded, or there are more states than
    /// [`max_states`](Self::max_states).
    pub fn run(self) -> Result<Explored, Broken> {
        let Self { definition, id, data, events, max_states } = self;
        let events: Result<_, Error> = events.into_iter().collect();
        Walk::new(definition, events?, max_states).run(definition.start(id, data)?)
    }
}
