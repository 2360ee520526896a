//! The histories of all topics, bounded in bytes.

use std::{
    collections::{HashMap, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Instant,
};

use comms_core::bytes::Bytes;

use super::{
    super::{History, Position, Published, Retention},
    log::Log,
};

/// The number of groups of topics. If a topic is forgotten, the topics without a log of its group begin another epoch.
const GROUPS: usize = 1_024;
/// The part of the memory that topics without messages may occupy: one in eight.
const EMPTIED_PART: usize = 8;

/// The histories of the topics that were published to.
///
/// Above the limit the topics that were published to longest ago lose their messages. Their positions are kept, so that a
/// client that has every message continues. The positions of the topics that were emptied longest ago are forgotten when
/// they occupy an eighth of the limit.
pub(super) struct Topics {
    max_bytes: usize,
    logs: HashMap<Arc<str>, Log>,
    /// The epochs of topics without a log are derived from it and from the next field.
    seed: u64,
    /// How many topics of each group were forgotten. A position of a forgotten log does not fit to the next log.
    forgotten: Vec<u64>,
    used: Uses,
    emptied: Uses,
    /// The number of publications.
    uses: u64,
    /// The memory of all logs.
    bytes: usize,
    /// The memory of the logs that were emptied.
    emptied_bytes: usize,
}

/// Topics with the number of a publication, in the order of that number. If a log was used later, its entry has no
/// meaning.
type Uses = VecDeque<(Arc<str>, u64)>;

impl Topics {
    pub(super) fn new(max_bytes: usize, seed: u64) -> Self {
        let (logs, used, emptied) = Default::default();
        let forgotten = vec![0; GROUPS];
        Self { max_bytes, logs, seed, forgotten, used, emptied, uses: 0, bytes: 0, emptied_bytes: 0 }
    }

    /// Stores a message, unless the history of its topic has one with the same identity.
    pub(super) fn store(
        &mut self,
        topic: &str,
        id: &str,
        body: &Bytes,
        retention: Retention,
        now: Instant,
    ) -> Published {
        let taken = self.take(topic);
        let (name, mut log) = taken.unwrap_or_else(|| (topic.into(), Log::new(topic, self.start(topic))));
        // A quiet topic still has messages whose age has passed.
        log.trim(retention, now);
        if let Some(first) = log.find(id) {
            self.put(name, log);
            return Published::Duplicate(first);
        }
        log.push(id, body, now);
        log.trim(retention, now);
        self.uses += 1;
        (log.last_use, log.is_emptied) = (self.uses, false);
        let top = log.top;
        self.used.push_back((name.clone(), self.uses));
        self.put(name, log);
        self.forget();
        Published::New(Some(top))
    }

    /// Returns the position of the last message of `topic`. A topic without messages has no log, so that clients cannot
    /// occupy memory by subscribing.
    pub(super) fn top(&self, topic: &str) -> Position {
        self.logs.get(topic).map_or_else(|| self.start(topic), |log| log.top)
    }

    pub(super) fn history(
        &mut self,
        topic: &str,
        retention: Retention,
        since: Position,
        max_bytes: usize,
        now: Instant,
    ) -> History {
        let Some((name, mut log)) = self.take(topic) else {
            let top = self.start(topic);
            return History { top, messages: (since == top).then(Vec::new) };
        };
        log.trim(retention, now);
        let history = log.after(since, max_bytes);
        self.put(name, log);
        history
    }

    /// Returns the position before the first message of a topic without a log.
    fn start(&self, topic: &str) -> Position {
        let forgotten = self.forgotten.get(group(topic)).copied().unwrap_or_default();
        Position { epoch: hash((self.seed, forgotten, topic)), offset: 0 }
    }

    /// Takes a log out, to change it.
    fn take(&mut self, topic: &str) -> Option<(Arc<str>, Log)> {
        let (name, log) = self.logs.remove_entry(topic)?;
        self.bytes -= log.bytes;
        if log.is_emptied {
            self.emptied_bytes -= log.bytes;
        }
        Some((name, log))
    }

    fn put(&mut self, name: Arc<str>, log: Log) {
        self.bytes += log.bytes;
        if log.is_emptied {
            self.emptied_bytes += log.bytes;
        }
        self.logs.insert(name, log);
    }

    /// Takes the log of an entry of [`Uses`] out, unless it was used later.
    fn take_unused(&mut self, (topic, last_use): &(Arc<str>, u64)) -> Option<(Arc<str>, Log)> {
        if self.logs.get(topic)?.last_use != *last_use {
            return None;
        }
        self.take(topic)
    }

    /// Removes messages, and then topics, until the limits hold.
    fn forget(&mut self) {
        while self.bytes > self.max_bytes
            && let Some(oldest) = self.used.pop_front()
        {
            if let Some((name, mut log)) = self.take_unused(&oldest) {
                log.empty();
                self.emptied.push_back(oldest);
                self.put(name, log);
            }
        }
        while self.emptied_bytes > self.max_bytes / EMPTIED_PART
            && let Some(oldest) = self.emptied.pop_front()
        {
            if let Some((name, _)) = self.take_unused(&oldest)
                && let Some(forgotten) = self.forgotten.get_mut(group(&name))
            {
                *forgotten += 1;
            }
        }
        for uses in [&mut self.used, &mut self.emptied] {
            // Most entries are of topics that were used again since.
            if uses.len() > 2 * self.logs.len() + 64 {
                uses.retain(|(topic, last_use)| {
                    self.logs.get(topic).is_some_and(|log| log.last_use == *last_use)
                });
            }
        }
    }
}

fn hash(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

fn group(topic: &str) -> usize {
    // The remainder fits into usize on any platform.
    (hash(topic) % GROUPS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const KEEP: Retention = Retention { messages: 100, age: Duration::MAX };
    const BODY: Bytes = Bytes::from_static(&[0; 1_000]);

    fn publish(topics: &mut Topics, topic: &str, id: &str) -> Position {
        let now = comms_core::clock::Clock::manual(Duration::ZERO).now();
        match topics.store(topic, id, &BODY, KEEP, now) {
            Published::New(Some(position)) => position,
            other => panic!("{other:?}"),
        }
    }

    fn read(topics: &mut Topics, topic: &str, since: Position) -> Option<usize> {
        let now = comms_core::clock::Clock::manual(Duration::ZERO).now();
        topics.history(topic, KEEP, since, usize::MAX, now).messages.map(|messages| messages.len())
    }

    #[test]
    fn a_topic_that_was_emptied_goes_on_for_a_client_that_has_everything() {
        let mut topics = Topics::new(16_000, 7);
        let first = publish(&mut topics, "quiet", "1");
        let last = publish(&mut topics, "quiet", "2");
        for n in 0..50 {
            publish(&mut topics, "busy", &n.to_string());
        }
        assert_eq!(read(&mut topics, "quiet", first), None, "the message was removed");
        assert_eq!(read(&mut topics, "quiet", last), Some(0));
        assert_eq!(publish(&mut topics, "quiet", "3"), Position { offset: 3, ..first });
        assert_eq!(read(&mut topics, "quiet", last), Some(1));
    }

    #[test]
    fn an_identity_is_forgotten_with_its_message() {
        let (mut topics, clock) =
            (Topics::new(16_000, 7), comms_core::clock::Clock::manual(Duration::from_secs(1)));
        let keep = Retention { age: Duration::from_secs(60), ..KEEP };
        let first = topics.store("quiet", "1", &BODY, keep, clock.now());
        let Published::New(Some(at)) = first else { panic!("{first:?}") };
        clock.advance(keep.age);
        assert_eq!(topics.store("quiet", "1", &BODY, keep, clock.now()), Published::Duplicate(at));
        clock.advance(Duration::from_millis(1));
        let again = topics.store("quiet", "1", &BODY, keep, clock.now());
        assert_eq!(again, Published::New(Some(Position { offset: 2, ..at })));
        assert_eq!(read(&mut topics, "quiet", Position { offset: 1, ..at }), Some(1));
    }

    #[test]
    fn memory_is_bounded_and_no_position_is_given_twice() {
        let mut topics = Topics::new(16_000, 7);
        let mut positions = std::collections::HashSet::new();
        for round in 0..3 {
            for n in 0..2_000 {
                let topic = format!("t{n}");
                assert!(positions.insert((topic.clone(), publish(&mut topics, &topic, &round.to_string()))));
                assert!(topics.bytes <= 16_000 && topics.emptied_bytes <= 2_000);
            }
        }
        assert!(topics.used.len() + topics.emptied.len() < 400);
        let bytes: usize = topics.logs.values().map(|log| log.bytes).sum();
        assert_eq!(bytes, topics.bytes);
    }

    #[test]
    fn a_topic_that_is_emptied_again_and_again_leaves_no_entries() {
        let mut topics = Topics::new(16_000, 7);
        for n in 0..10_000 {
            publish(&mut topics, &format!("t{}", n % 20), &n.to_string());
        }
        assert!(topics.used.len() + topics.emptied.len() < 400);
    }
}
