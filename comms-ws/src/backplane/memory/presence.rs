//! The principals that are present in the topics of a process.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

/// The ends of the presence of principals on nodes.
type Entries = BTreeMap<(Arc<str>, u64), Instant>;

/// The entries of [`Memory`](super::Memory), by topic.
#[derive(Default)]
pub(super) struct PresenceTable {
    topics: HashMap<Arc<str>, Entries>,
    /// When the entries of hubs that were dropped are looked for next.
    next_sweep: Option<Instant>,
}

impl PresenceTable {
    /// Sets the end of entries to `lifetime` from `now`. Zero removes them.
    pub(super) fn set(
        &mut self,
        topic: &str,
        node: u64,
        principals: &[Arc<str>],
        lifetime: Duration,
        now: Instant,
    ) {
        self.sweep(lifetime, now);
        if lifetime.is_zero() {
            let Some(entries) = self.topics.get_mut(topic) else { return };
            for principal in principals {
                entries.remove(&(principal.clone(), node));
            }
            if entries.is_empty() {
                self.topics.remove(topic);
            }
            return;
        }
        let entries = self.topics.entry(topic.into()).or_default();
        entries.extend(principals.iter().map(|principal| ((principal.clone(), node), now + lifetime)));
    }

    /// Returns at most `max` principals of `topic`, each once, in alphabetical order.
    pub(super) fn of(&self, topic: &str, max: usize, now: Instant) -> Vec<String> {
        let entries = self.topics.get(topic).into_iter().flatten();
        let mut present: Vec<String> = Vec::new();
        // The entries of one principal stand together.
        for ((principal, _), _) in entries.filter(|(_, end)| **end > now) {
            if present.last().is_some_and(|last| **last == **principal) {
                continue;
            }
            if present.len() >= max {
                break;
            }
            present.push(principal.to_string());
        }
        present
    }

    /// Removes the entries that have ended, at most once in a lifetime.
    fn sweep(&mut self, lifetime: Duration, now: Instant) {
        if lifetime.is_zero() || self.next_sweep.is_some_and(|at| now < at) {
            return;
        }
        self.next_sweep = Some(now + lifetime);
        self.topics.retain(|_, entries| {
            entries.retain(|_, end| *end > now);
            !entries.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_nodes_that_died_are_removed() {
        let now = comms_core::clock::Clock::manual(Duration::ZERO).now();
        let (mut table, minute) = (PresenceTable::default(), Duration::from_secs(60));
        table.set("left", 1, &["ann".into()], minute, now);
        table.set("other", 2, &["ben".into()], minute, now + minute);
        assert_eq!(table.topics.len(), 1);
        table.set("other", 2, &["ben".into()], Duration::ZERO, now + minute);
        assert!(table.topics.is_empty());
    }
}
