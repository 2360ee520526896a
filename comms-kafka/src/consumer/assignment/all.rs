//! The partitions that this member has now.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rdkafka::TopicPartitionList;

use super::Assignment;

type Partitions = HashMap<Arc<str>, HashMap<i32, Arc<Assignment>>>;

/// The current assignments of a member, by topic and partition.
#[derive(Default)]
pub(in crate::consumer) struct Assignments(Mutex<Partitions>);

impl Assignments {
    /// Adds `assignment`, and returns the one that it replaces.
    pub(in crate::consumer) fn insert(&self, assignment: Arc<Assignment>) -> Option<Arc<Assignment>> {
        let topic = assignment.topic.name.clone();
        self.lock().entry(topic).or_default().insert(assignment.partition, assignment)
    }

    /// Returns the assignment of a partition, or `None` if this member does not have the partition.
    pub(in crate::consumer) fn find(&self, topic: &str, partition: i32) -> Option<Arc<Assignment>> {
        self.lock().get(topic)?.get(&partition).cloned()
    }

    /// Removes and returns the assignments of `partitions`, marked as gone.
    pub(in crate::consumer) fn take(&self, partitions: &TopicPartitionList) -> Vec<Arc<Assignment>> {
        let mut assigned = self.lock();
        let elements = partitions.elements();
        let taken = elements.iter().filter_map(|e| assigned.get_mut(e.topic())?.remove(&e.partition()));
        taken.inspect(|assignment| assignment.set_gone()).collect()
    }

    /// Removes and returns all assignments, marked as gone.
    pub(in crate::consumer) fn take_all(&self) -> Vec<Arc<Assignment>> {
        let all = std::mem::take(&mut *self.lock()).into_values().flat_map(HashMap::into_values);
        all.inspect(|assignment| assignment.set_gone()).collect()
    }

    /// Returns all current assignments.
    pub(in crate::consumer) fn all(&self) -> Vec<Arc<Assignment>> {
        self.lock().values().flat_map(HashMap::values).cloned().collect()
    }

    /// Wakes the runners of `topic`.
    pub(in crate::consumer) fn wake(&self, topic: &str) {
        self.lock().get(topic).into_iter().flat_map(HashMap::values).for_each(|a| a.wake.notify_one());
    }

    pub(in crate::consumer) fn is_empty(&self) -> bool {
        self.lock().values().all(HashMap::is_empty)
    }

    fn lock(&self) -> MutexGuard<'_, Partitions> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
