//! The wait until nothing more happens without a step of the clock.

use std::time::Duration;

use super::{Entry, Ledger, State, Step};
use crate::{Error, clock::Clock};

/// The pause between two looks at the clock: a sleep that begins changes nothing in the ledger.
const POLL: Duration = Duration::from_millis(1);

impl Ledger {
    /// Waits until each delivery has ended, or waits for the clock.
    ///
    /// # Errors
    /// Returns `Indeterminate` with the deliveries that are not settled after `limit` of the system's time.
    pub(in crate::testing::harness) async fn settled(&self, limit: Duration) -> Result<(), Error> {
        self.until(limit, "settled", |state| state.unsettled(&self.clock).is_empty()).await
    }

    /// Waits until the consumer of `group` has "crashed", or until all deliveries are settled.
    pub(in crate::testing::harness) async fn crashed(
        &self,
        group: &str,
        limit: Duration,
    ) -> Result<(), Error> {
        let crashed = |state: &State| state.groups.get(group).is_some_and(|group| group.crashed);
        self.until(limit, "settled", |state| crashed(state) || state.unsettled(&self.clock).is_empty()).await
    }

    /// Waits until the handler of `topic` in `group` has been called `count` times.
    pub(in crate::testing::harness) async fn called(
        &self,
        group: &str,
        topic: &str,
        count: usize,
        limit: Duration,
    ) -> Result<(), Error> {
        let calls = |state: &State| {
            let of_topic = state.entries.iter().filter(|e| *e.group == *group && e.message.topic() == topic);
            of_topic.map(|entry| entry.calls.len()).sum::<usize>()
        };
        self.until(limit, "called as often", |state| calls(state) >= count).await
    }

    async fn until(
        &self,
        limit: Duration,
        what: &str,
        reached: impl Fn(&State) -> bool + Send,
    ) -> Result<(), Error> {
        // The system clock: the wait must end also while the test's manual clock stands still.
        let system = Clock::system();
        let wait = async {
            loop {
                let changed = self.changed.notified();
                if reached(&self.lock()) {
                    return;
                }
                let _ = system.timeout(POLL, changed).await;
            }
        };
        system.timeout(limit, wait).await.map_err(|_| {
            let open = self.lock().unsettled(&self.clock);
            Error::indeterminate(format!(
                "not {what} within {limit:?}; open deliveries:\n{}",
                open.join("\n")
            ))
        })
    }
}

impl State {
    /// Describes what can change without a step of the clock.
    fn unsettled(&self, clock: &Clock) -> Vec<String> {
        let open = self
            .entries
            .iter()
            .enumerate()
            .filter(|(index, entry)| !self.has_ended(entry) && !self.is_settled(*index, entry, clock));
        let ending = self.groups.iter().filter(|(_, group)| group.ending);
        let ending = ending
            .map(|(name, _)| format!("  the consumer of group {name}: stopped by an error, still runs"));
        open.map(|(_, entry)| shown(entry)).chain(ending).collect()
    }

    fn is_settled(&self, index: usize, entry: &Entry, clock: &Clock) -> bool {
        match entry.step {
            Step::End(_) => true,
            Step::Begin => self.is_queued(index),
            Step::Finish | Step::DeadLetter { at: None } => false,
            // The first delivery of the batch has the wait.
            Step::Batch { at } => at > clock.now(),
            // The consumer must have begun its wait, or the next step of the clock would not end it in time.
            Step::Attempt { at, .. } | Step::DeadLetter { at: Some(at) } => {
                let waits = self.waits().filter(|wait| *wait == at).count();
                at > clock.now() && clock.sleeps_until(at) >= waits
            }
        }
    }
}

fn shown(entry: &Entry) -> String {
    let message = &entry.message;
    let step = match (entry.step, entry.calls.last()) {
        (Step::DeadLetter { .. }, _) => "its dead letter is not acknowledged".to_owned(),
        (Step::Begin, _) | (_, None) => "not delivered to its handler".to_owned(),
        (_, Some(call)) => call.to_string(),
    };
    format!("  {} {} of group {}: {step}", message.topic(), message.id(), entry.group)
}
