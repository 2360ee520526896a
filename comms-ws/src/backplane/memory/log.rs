//! The history of one topic.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Instant,
};

use comms_core::bytes::Bytes;

use super::super::{History, Position, Retention};

/// What a message occupies besides its content and its identity.
const OVERHEAD: usize = 128;
/// What a topic occupies besides its name and its messages.
const TOPIC_OVERHEAD: usize = 256;

/// The history of one topic.
pub(super) struct Log {
    pub(super) top: Position,
    messages: VecDeque<Stored>,
    offsets: HashMap<Arc<str>, u64>,
    /// The memory of the topic and its messages.
    pub(super) bytes: usize,
    /// The number of the last publication.
    pub(super) last_use: u64,
    /// The messages were removed because there was no room for them.
    pub(super) is_emptied: bool,
}

struct Stored {
    at: Instant,
    id: Arc<str>,
    body: Bytes,
}

impl Log {
    pub(super) fn new(topic: &str, start: Position) -> Self {
        let (messages, offsets) = Default::default();
        let bytes = topic.len() + TOPIC_OVERHEAD;
        Self { top: start, messages, offsets, bytes, last_use: 0, is_emptied: false }
    }

    /// Returns the position of the message with this identity.
    pub(super) fn find(&self, id: &str) -> Option<Position> {
        self.offsets.get(id).map(|offset| Position { offset: *offset, ..self.top })
    }

    pub(super) fn push(&mut self, id: &str, body: &Bytes, now: Instant) {
        self.top.offset += 1;
        let stored = Stored { at: now, id: id.into(), body: body.clone() };
        self.bytes += stored.bytes();
        self.offsets.insert(stored.id.clone(), self.top.offset);
        self.messages.push_back(stored);
    }

    /// Removes the messages that the retention does not keep.
    pub(super) fn trim(&mut self, retention: Retention, now: Instant) {
        while let Some(oldest) = self.messages.front()
            && (self.messages.len() > retention.messages
                || now.saturating_duration_since(oldest.at) > retention.age)
        {
            self.bytes -= oldest.bytes();
            self.offsets.remove(&oldest.id);
            self.messages.pop_front();
        }
    }

    /// Removes all messages and keeps the position of the last one.
    pub(super) fn empty(&mut self) {
        self.bytes -= self.messages.iter().map(Stored::bytes).sum::<usize>();
        self.messages = VecDeque::new();
        self.offsets = HashMap::new();
        self.is_emptied = true;
    }

    pub(super) fn after(&self, since: Position, max_bytes: usize) -> History {
        let first = self.top.offset + 1 - self.messages.len() as u64;
        if since.epoch != self.top.epoch || since.offset > self.top.offset || since.offset + 1 < first {
            return History { top: self.top, messages: None };
        }
        let (mut messages, mut bytes) = (Vec::new(), 0);
        let skipped = (since.offset + 1 - first) as usize;
        for (offset, stored) in (since.offset + 1..).zip(self.messages.iter().skip(skipped)) {
            bytes += stored.body.len();
            if bytes > max_bytes && !messages.is_empty() {
                break;
            }
            messages.push((offset, stored.body.clone()));
        }
        History { top: self.top, messages: Some(messages) }
    }
}

impl Stored {
    fn bytes(&self) -> usize {
        self.body.len() + self.id.len() + OVERHEAD
    }
}
