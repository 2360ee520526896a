//! The bounded queue of a connection.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    sync::Arc,
};

use bytes::{Buf, Bytes};

use super::item::{Item, MISSED_BYTES};
use crate::{
    cursor::CursorKey,
    message::{Encoding, Message},
    meters::Meters,
    topic::{SlowConsumer, Topic},
};

/// The maximum number of parts in one write to a socket.
const MAX_PARTS: usize = 64;
/// The room for frames that are no messages of topics, above the limits: a queue that messages keep full must still take
/// pings and answers.
const CONTROL: QueueLimits = QueueLimits { bytes: 16 * 1024, frames: 64 };

/// The limits of a queue.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct QueueLimits {
    pub(super) bytes: usize,
    pub(super) frames: usize,
}

/// What a client has not been sent, bounded in bytes and frames. A frame counts until its last byte is written.
pub(super) struct Queue {
    /// The rest of a frame of which some bytes are written.
    started: Bytes,
    items: VecDeque<Item>,
    /// The bytes of `items`.
    bytes: usize,
    /// The bytes that `meters` knows of.
    metered: usize,
    limits: QueueLimits,
    encoding: Encoding,
    meters: Arc<Meters>,
}

impl Queue {
    pub(super) fn new(limits: QueueLimits, encoding: Encoding, meters: Arc<Meters>) -> Self {
        let (started, items) = (Bytes::new(), VecDeque::new());
        Self { started, items, bytes: 0, metered: 0, limits, encoding, meters }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.started.is_empty() && self.items.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes + self.started.len()
    }

    pub(super) fn frames(&self) -> usize {
        self.items.len() + usize::from(!self.started.is_empty())
    }

    /// Keeps the rest of a frame of which the socket has taken some bytes. Nothing is queued before it.
    pub(super) fn start(&mut self, rest: Bytes) {
        self.started = rest;
        self.account();
    }

    /// Appends a frame. Returns `false` if it does not fit, also after what the topic's [`SlowConsumer`] removes. An empty
    /// queue takes a frame of any size: a client that resumes at a large message could never get past it.
    pub(super) fn push(&mut self, item: Item) -> bool {
        let len = item.len(self.encoding);
        let mut limits = self.limits;
        match &item {
            Item::Message(message) => match message.topic.options.slow_consumer {
                SlowConsumer::Disconnect => {}
                SlowConsumer::KeepLatest => self.remove_older(message),
                SlowConsumer::DropOldest => {
                    while !self.fits(len, limits) && self.drop_oldest(&message.topic) {}
                }
            },
            _ => {
                limits.bytes = limits.bytes.saturating_add(CONTROL.bytes);
                limits.frames = limits.frames.saturating_add(CONTROL.frames);
            }
        }
        let fits = self.is_empty() || self.fits(len, limits);
        if fits {
            self.bytes += len;
            self.items.push_back(item);
        }
        self.account();
        fits
    }

    fn fits(&self, len: usize, limits: QueueLimits) -> bool {
        self.bytes() + len <= limits.bytes && self.items.len() < limits.frames
    }

    /// Removes a message with the topic and the key of `newer`. The search costs about 3 µs in a queue of 1,000 frames, and
    /// only a slow session pays it.
    fn remove_older(&mut self, newer: &Message) {
        let Some(key) = newer.key() else { return };
        let older = self.items.iter().position(|item| match item {
            Item::Message(message) => Arc::ptr_eq(&message.topic, &newer.topic) && message.key() == Some(key),
            _ => false,
        });
        if let Some(item) = older.and_then(|index| self.items.remove(index)) {
            self.bytes -= item.len(self.encoding);
        }
    }

    /// Replaces the oldest message of `topic` by a notice that it is missing. Returns `false` if there is none.
    fn drop_oldest(&mut self, topic: &Arc<Topic>) -> bool {
        // Frames of the hub, such as the confirmation of a filter, have no head and stay.
        let of_topic = |item: &Item| match item {
            Item::Message(message) => message.head.is_some() && Arc::ptr_eq(&message.topic, topic),
            _ => false,
        };
        let Some(index) = self.items.iter().position(of_topic) else { return false };
        let Some(Item::Message(dropped)) = self.items.remove(index) else { return false };
        self.bytes -= dropped.encoded(self.encoding).len();
        let is_notice = |item: &Item| matches!(item, Item::Missed(noted, _) if Arc::ptr_eq(noted, topic));
        match self.items.iter_mut().take(index).find(|item| is_notice(item)) {
            Some(notice) => *notice = Item::Missed(topic.clone(), dropped.position),
            None => {
                self.bytes += MISSED_BYTES;
                self.items.insert(index, Item::Missed(topic.clone(), dropped.position));
            }
        }
        self.meters.dropped();
        true
    }

    /// Writes the first frames through `write`. Returns the number of frames of which the last byte is written.
    pub(super) fn write(
        &mut self,
        keys: &[CursorKey],
        write: &mut impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let next: Vec<Bytes> =
            self.items.iter().take(MAX_PARTS).map(|item| item.bytes(self.encoding, keys)).collect();
        let parts: Vec<IoSlice<'_>> = [&self.started]
            .into_iter()
            .chain(&next)
            .filter(|part| !part.is_empty())
            .map(|part| IoSlice::new(part))
            .collect();
        let mut written = write(&parts)?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        let mut frames = 0;
        if !self.started.is_empty() {
            let of_started = written.min(self.started.len());
            self.started.advance(of_started);
            written -= of_started;
            frames += usize::from(self.started.is_empty());
        }
        for bytes in next {
            if written == 0 {
                break;
            }
            self.remove_first();
            if written < bytes.len() {
                self.started = bytes.slice(written..);
                break;
            }
            written -= bytes.len();
            frames += 1;
        }
        self.release_memory();
        Ok(frames)
    }

    /// Takes the first frames until they have `max_bytes` or more.
    pub(super) fn pull(&mut self, max_bytes: usize) -> Vec<Item> {
        let (mut pulled, mut bytes) = (Vec::new(), 0);
        while bytes < max_bytes
            && let Some(item) = self.remove_first()
        {
            bytes += item.len(self.encoding);
            pulled.push(item);
        }
        self.release_memory();
        pulled
    }

    fn remove_first(&mut self) -> Option<Item> {
        let item = self.items.pop_front()?;
        self.bytes -= item.len(self.encoding);
        Some(item)
    }

    /// Removes all frames but the rest of one that is partly written: without its end, no close frame could follow.
    pub(super) fn discard(&mut self) {
        self.items.clear();
        self.bytes = 0;
        self.release_memory();
    }

    /// Removes everything.
    pub(super) fn clear(&mut self) {
        self.started = Bytes::new();
        self.discard();
    }

    /// Gives the memory of an empty queue back, so that an idle connection holds none.
    fn release_memory(&mut self) {
        if self.items.is_empty() {
            self.items = VecDeque::new();
        }
        self.account();
    }

    fn account(&mut self) {
        let bytes = self.bytes();
        self.meters.queued(self.metered, bytes);
        self.metered = bytes;
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.meters.queued(self.metered, 0);
    }
}
