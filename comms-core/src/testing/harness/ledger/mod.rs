//! The record of all deliveries of a test: what was published, each call of a handler, and how each delivery ended.
//!
//! The transport reports nothing to the ledger. It learns of a delivery from the handler's wrapper (`recorder.rs`), and
//! of a dead letter from the publisher's wrapper (`dead_letters.rs`). From the error of an attempt, the limits of
//! attempts, and the manual clock it derives the next step of the delivery: with a backoff without jitter that step is
//! certain. So the same ledger serves every transport.
//!
//! - `entry.rs`: one delivery.
//! - `rules.rs`: what follows a failure.
//! - `find.rs`: to which entry a call or a dead letter belongs.
//! - `read.rs`: what the assertions read.
//! - `settle.rs`: whether something can still happen without a step of the clock.

mod entry;
mod find;
mod read;
mod rules;
mod settle;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use self::entry::Entry;
use self::rules::Step;
pub(super) use self::{read::Delivered, rules::Rules};
use super::{
    call::CallResult,
    state::{DeliveryState, Failure},
};
use crate::{Delivery, Error, ErrorKind, Message, Outcome, clock::Clock};

pub(super) struct Ledger {
    pub(super) clock: Clock,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    groups: BTreeMap<Arc<str>, Group>,
    /// In the order of publication.
    entries: Vec<Entry>,
}

struct Group {
    topics: Vec<Arc<str>>,
    rules: Rules,
    /// Whether the consumer is being stopped: attempts that are dropped are abandoned, and have not timed out.
    stopping: bool,
    /// Whether a delivery has stopped the consumer, which has not ended yet.
    ending: bool,
    /// The error that ended the consumer.
    failure: Option<Failure>,
    /// The message at the end of whose next attempt the process "crashes".
    crash_at: Option<Message>,
    crashed: bool,
}

/// The index of an entry, as the wrapper of a handler keeps it during a call.
#[derive(Clone, Copy)]
pub(super) struct EntryId(usize);

impl Ledger {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, state: Mutex::default(), changed: Notify::new() }
    }

    /// Adds a group. Returns an error if the ledger has it already.
    pub(super) fn add_group(
        &self,
        name: &Arc<str>,
        topics: Vec<Arc<str>>,
        rules: Rules,
    ) -> Result<(), Error> {
        let group = Group {
            topics,
            rules,
            stopping: false,
            ending: false,
            failure: None,
            crash_at: None,
            crashed: false,
        };
        match self.change(|state| state.groups.insert(name.clone(), group)) {
            None => Ok(()),
            Some(_) => {
                Err(Error::invalid(format!("the broker of the test has a consumer of group {name} already")))
            }
        }
    }

    /// Expects a delivery of `message` to each group that is subscribed to its topic. Returns the new entries.
    pub(super) fn published(&self, message: &Message) -> Vec<EntryId> {
        let identity = find::identity(message);
        self.change(|state| {
            let subscribed = |group: &Group| group.topics.iter().any(|topic| **topic == *message.topic());
            let groups: Vec<_> = state
                .groups
                .iter()
                .filter(|(_, group)| subscribed(group))
                .map(|(name, _)| name.clone())
                .collect();
            let first = state.entries.len();
            state
                .entries
                .extend(groups.into_iter().map(|name| Entry::new(name, message.clone(), identity.clone())));
            (first..state.entries.len()).map(EntryId).collect()
        })
    }

    /// Sets the position at which the transport stored a message.
    pub(super) fn stored(&self, entries: &[EntryId], place: Option<(i32, i64)>) {
        self.change(|state| {
            for EntryId(index) in entries {
                let entry = &mut state.entries[*index];
                entry.place = entry.place.or(place);
            }
        });
    }

    /// Records the begin of a handler's call.
    pub(super) fn begin(&self, delivery: &Delivery) -> EntryId {
        self.change(|state| {
            let id = state.find_or_add(delivery);
            state.entries[id.0].begin(delivery.clone());
            id
        })
    }

    /// Records the end of a handler's call. Returns whether the "crash" of the test happens now: the wrapper of the
    /// handler then never returns.
    pub(super) fn end(&self, EntryId(index): EntryId, result: Result<Outcome, Failure>) -> bool {
        self.change(|state| {
            let entry = &mut state.entries[index];
            let Some(group) = state.groups.get_mut(&entry.group) else { return false };
            if group.crash_at.take_if(|message| entry.is(&entry.group, message)).is_some() {
                entry.end_call(match result {
                    Ok(outcome) => CallResult::Returned(outcome),
                    Err(failure) => CallResult::Failed(failure),
                });
                group.crashed = true;
                return true;
            }
            match result {
                Ok(outcome) => entry.returned(outcome),
                Err(failure) => entry.failed(failure, &group.rules, &self.clock),
            }
            group.ending |= entry.has_stopped_the_consumer();
            false
        })
    }

    /// Records that the future of a handler's call was dropped: the attempt timed out, or the consumer stops.
    pub(super) fn dropped(&self, EntryId(index): EntryId) {
        self.change(|state| {
            let entry = &mut state.entries[index];
            let Some(group) = state.groups.get(&entry.group) else { return };
            if group.stopping {
                return entry.end_call(CallResult::Dropped);
            }
            let text = format!(
                "indeterminate: the handler did not finish within {:?}",
                group.rules.attempts.timeout
            );
            let failure = Failure { kind: ErrorKind::Indeterminate, text, retry_after: None };
            entry.failed(failure, &group.rules, &self.clock);
        });
    }

    /// Records that the dead letter `letter` of `group` is acknowledged.
    pub(super) fn dead_lettered(&self, group: &str, letter: &Message, kind: Option<ErrorKind>) {
        self.change(|state| {
            if let Some(entry) = state.of_dead_letter(group, letter) {
                entry.dead_lettered(letter, kind);
            }
        });
    }

    /// Records that the publisher refused the dead letter `letter` of `group`.
    pub(super) fn refused(&self, group: &str, letter: &Message) {
        self.change(|state| {
            let Some(rules) = state.groups.get(group).map(|group| group.rules.clone()) else { return };
            if let Some(entry) = state.of_dead_letter(group, letter) {
                entry.refused(&rules, &self.clock);
            }
        });
    }

    /// Records that the consumer of `group` ended with `error`.
    pub(super) fn failed(&self, group: &str, error: &Error) {
        self.in_group(group, |group| (group.ending, group.failure) = (false, Some(Failure::of(error))));
    }

    /// Records that the consumer of `group` is being stopped.
    pub(super) fn stopping(&self, group: &str) {
        self.in_group(group, |group| group.stopping = true);
    }

    /// Records that the consumer of `group` starts again: deliveries that had begun and were not settled are abandoned,
    /// and follow once more. With `all`, settled deliveries follow once more as well.
    pub(super) fn restarting(&self, name: &str, all: bool) {
        self.in_group(name, |group| {
            (group.stopping, group.ending, group.failure, group.crashed) = (false, false, None, false)
        });
        self.change(|state| {
            let mut again = Vec::new();
            for entry in state.entries.iter_mut().filter(|entry| *entry.group == *name) {
                // A delivery that has not begun is still to come.
                if entry.is_open() && entry.calls.is_empty() {
                    continue;
                }
                if all || entry.has_stopped_the_consumer() || entry.is_open() {
                    again.push(entry.again());
                }
                if entry.is_open() {
                    entry.step = Step::End(DeliveryState::Abandoned);
                }
            }
            for entry in again {
                // A message comes once again for each of its positions, although it may have come often before.
                let expected =
                    state.entries.iter().any(|other| other.is_open() && other.is_at_place_of(&entry));
                if !expected {
                    state.entries.push(entry);
                }
            }
        });
    }

    /// Lets the process "crash" when the next attempt of `message` in `group` ends, before its result is acknowledged.
    pub(super) fn crash_at(&self, group: &str, message: Message) {
        self.in_group(group, |group| group.crash_at = Some(message));
    }

    /// Takes the planned crash back if it has not happened. Returns whether it has.
    pub(super) fn has_crashed(&self, group: &str) -> bool {
        self.in_group(group, |group| {
            group.crash_at = None;
            group.crashed
        })
        .unwrap_or_default()
    }

    fn in_group<T>(&self, name: &str, change: impl FnOnce(&mut Group) -> T) -> Option<T> {
        self.change(|state| state.groups.get_mut(name).map(change))
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.lock());
        self.changed.notify_waiters();
        result
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
