//! The record of all deliveries of a test: what was published, each call of a handler, and how each delivery ended.
//!
//! The transport reports nothing to the ledger. It learns of a delivery from the handler's wrapper (`recorder.rs`), and
//! of a dead letter from the publisher's wrapper (`dead_letters.rs`). From the error of an attempt, the limits of
//! attempts, and the manual clock it derives the next step of the delivery: with a backoff without jitter that step is
//! certain. So the same ledger serves every transport.
//!
//! - `entry.rs`: one delivery.
//! - `record.rs`: what the wrappers record. `batch.rs`: what the end of a batch means for each of its deliveries.
//! - `rules.rs`: what follows a failure.
//! - `find.rs`: to which entry a call or a dead letter belongs.
//! - `read.rs`: what the assertions read.
//! - `settle.rs`: whether something can still happen without a step of the clock.

mod batch;
mod entry;
mod find;
mod read;
mod record;
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
use super::state::{DeliveryState, Failure};
use crate::{Error, Message, clock::Clock};

pub(super) struct Ledger {
    pub(super) clock: Clock,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    groups: BTreeMap<Arc<str>, Group>,
    published: Vec<Published>,
    /// In the order of publication.
    entries: Vec<Entry>,
}

/// A message that the test has published.
struct Published {
    message: Message,
    /// The source and the id that a handler sees.
    identity: (String, String),
    /// Partition and offset, once they are known.
    place: Option<(i32, i64)>,
}

impl Published {
    /// Returns the expected delivery to `group` of this message, which is the `number`-th one.
    fn to_group(&self, group: &Arc<str>, number: usize) -> Entry {
        let mut entry = Entry::new(group.clone(), self.message.clone(), self.identity.clone());
        (entry.published, entry.place) = (Some(number), self.place);
        entry
    }
}

/// A published message, and the deliveries of it that are expected.
pub(super) struct Publication {
    index: usize,
    pub(super) entries: Vec<EntryId>,
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

impl Group {
    fn is_subscribed_to(&self, topic: &str) -> bool {
        self.topics.iter().any(|other| **other == *topic)
    }
}

/// The index of an entry, as the wrapper of a handler keeps it during a call.
#[derive(Clone, Copy)]
pub(super) struct EntryId(usize);

impl Ledger {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, state: Mutex::default(), changed: Notify::new() }
    }

    /// Adds a group, and expects the messages that were published before. Returns an error if the ledger has the group
    /// already.
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
        self.change(|state| {
            if state.groups.contains_key(name) {
                let text = format!("the broker of the test has a consumer of group {name} already");
                return Err(Error::invalid(text));
            }
            // A new group begins at the first message, as it does on Kafka.
            let earlier = state.published.iter().enumerate();
            let earlier = earlier.filter(|(_, one)| group.is_subscribed_to(one.message.topic()));
            let earlier: Vec<_> = earlier.map(|(number, one)| one.to_group(name, number)).collect();
            state.entries.extend(earlier);
            state.groups.insert(name.clone(), group);
            Ok(())
        })
    }

    /// Expects a delivery of `message` to each group that is subscribed to its topic.
    pub(super) fn published(&self, message: &Message) -> Publication {
        let published =
            Published { message: message.clone(), identity: find::identity(message), place: None };
        self.change(|state| {
            let groups = state.groups.iter().filter(|(_, group)| group.is_subscribed_to(message.topic()));
            let index = state.published.len();
            let entries: Vec<_> = groups.map(|(name, _)| published.to_group(name, index)).collect();
            let first = state.entries.len();
            state.entries.extend(entries);
            state.published.push(published);
            let entries = (first..state.entries.len()).map(EntryId).collect();
            Publication { index, entries }
        })
    }

    /// Sets the position at which the transport stored a message.
    pub(super) fn stored(&self, publication: &Publication, place: Option<(i32, i64)>) {
        self.change(|state| {
            state.published[publication.index].place = place;
            for EntryId(index) in &publication.entries {
                let entry = &mut state.entries[*index];
                entry.place = entry.place.or(place);
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
                // A message comes once again for each publication, although it may have come often before.
                let expected =
                    state.entries.iter().any(|other| other.is_open() && other.is_same_delivery(&entry));
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
