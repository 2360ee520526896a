//! Takes deliveries out of the gathered ones.

use std::collections::VecDeque;

use super::{Batches, Open};
use crate::transport::worker::keys::{Keys, Queued};

impl Batches {
    /// Takes the next batch while no other is open: deliveries of one topic, as many as the limits allow, and at least
    /// one.
    pub(super) fn take(&mut self) -> Vec<Queued> {
        let Some(first) = self.gathered.front() else { return Vec::new() };
        let (topic, mut bytes) = (first.delivery.message.topic_bytes(), first.place.bytes);
        let fits = |queued: &&Queued| {
            bytes = bytes.saturating_add(queued.place.bytes);
            bytes <= self.limits.max_bytes && queued.delivery.message.topic_bytes() == topic
        };
        let others = self.gathered.iter().take(self.limits.max_records.max(1)).skip(1);
        let count = 1 + others.take_while(fits).count();
        let batch: Vec<_> = self.gathered.drain(..count).collect();
        self.took(&batch);
        batch
    }

    /// Takes a full batch of deliveries of one topic without the keys of the open batches. Returns `None` if there are
    /// not enough of them in the first gathered deliveries: the next attempt follows the end of a batch.
    pub(super) fn take_beside(&mut self, keys: &Keys) -> Option<Vec<Queued>> {
        let max_records = self.limits.max_records.max(1);
        let busy = keys.units(self.open.iter().flat_map(Open::batch));
        let (mut topic, mut free, mut bytes, mut is_full) = (None, Vec::new(), 0_u64, false);
        for (index, queued) in self.gathered.iter().take(max_records.saturating_mul(2)).enumerate() {
            if keys.unit(queued).is_some_and(|unit| busy.contains(&unit)) {
                continue;
            }
            let of_topic = queued.delivery.message.topic_bytes();
            bytes = bytes.saturating_add(queued.place.bytes);
            if *topic.get_or_insert(of_topic) != of_topic {
                break;
            }
            is_full = bytes > self.limits.max_bytes && !free.is_empty();
            if !is_full {
                free.push(index);
            }
            is_full |= free.len() == max_records || bytes >= self.limits.max_bytes;
            if is_full {
                break;
            }
        }
        self.keys_are_busy = !is_full;
        let count = free.last().filter(|_| is_full)? + 1;
        let (mut batch, mut kept, mut free) =
            (Vec::with_capacity(free.len()), Vec::new(), free.into_iter().peekable());
        for (index, queued) in self.gathered.drain(..count).enumerate() {
            match free.next_if_eq(&index) {
                Some(_) => batch.push(queued),
                None => kept.push(queued),
            }
        }
        kept.into_iter().rev().for_each(|queued| self.gathered.push_front(queued));
        self.took(&batch);
        Some(batch)
    }

    /// Takes the gathered deliveries that `leaves` returns `true` for.
    pub(super) fn take_if(&mut self, mut leaves: impl FnMut(&Queued) -> bool) -> VecDeque<Queued> {
        let (taken, kept): (VecDeque<_>, _) = self.gathered.drain(..).partition(|queued| leaves(queued));
        self.gathered = kept;
        self.took(&taken);
        taken
    }

    /// Takes every delivery that is not in a running batch.
    pub(in crate::transport::worker) fn take_waiting(&mut self) -> Vec<Queued> {
        let is_waiting = |open: &mut Open| matches!(open, Open::Waiting(_));
        let mut waiting = Vec::new();
        for open in self.open.extract_if(.., is_waiting) {
            if let Open::Waiting(open) = open {
                waiting.extend(open.batch);
            }
        }
        self.gathered_bytes = 0;
        waiting.extend(self.gathered.drain(..));
        waiting
    }

    fn took<'a>(&mut self, taken: impl IntoIterator<Item = &'a Queued>) {
        self.gathered_bytes -= taken.into_iter().map(|queued| queued.place.bytes).sum::<u64>();
    }
}
