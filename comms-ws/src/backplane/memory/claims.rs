//! The claims of keys, each for a time.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

/// The claims that have not ended.
#[derive(Default)]
pub(super) struct Claims {
    ends: HashMap<String, Instant>,
    by_age: VecDeque<(Instant, String)>,
}

impl Claims {
    /// Returns `true` to the first caller with this `key` within `lifetime`.
    pub(super) fn claim(&mut self, key: &str, now: Instant, lifetime: Duration) -> bool {
        while let Some((end, _)) = self.by_age.front()
            && *end <= now
        {
            let Some((end, key)) = self.by_age.pop_front() else { break };
            if self.ends.get(&key) == Some(&end) {
                self.ends.remove(&key);
            }
        }
        if self.ends.get(key).is_some_and(|end| *end > now) {
            return false;
        }
        let end = now + lifetime;
        self.ends.insert(key.to_owned(), end);
        self.by_age.push_back((end, key.to_owned()));
        true
    }
}
