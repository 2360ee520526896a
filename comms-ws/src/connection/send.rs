//! The publisher's side of a connection.

use std::{io, sync::Arc};

use bytes::Bytes;

use super::{Connection, Item, Out};
use crate::{close::Close, message::Batch};

impl Connection {
    /// Sends the messages of a turn. Never blocks. Returns the number of messages that the socket has taken.
    pub(super) fn deliver(self: &Arc<Self>, batch: &Batch, has_left: impl FnOnce() -> bool) -> usize {
        let mut out = self.lock();
        if out.is_closing() || has_left() {
            return 0;
        }
        let written = match self.write_now(&out, || batch.bytes(self.encoding)) {
            Ok(written) => written,
            Err(_) => {
                self.fail(&mut out);
                return 0;
            }
        };
        let (mut skip, mut taken) = (written, 0);
        for message in batch.messages() {
            let len = message.encoded(self.encoding).len();
            if skip >= len {
                skip -= len;
                taken += 1;
                continue;
            }
            match std::mem::take(&mut skip) {
                0 => self.enqueue(&mut out, Item::Message(message.clone())),
                written => self.start(&mut out, message.encoded(self.encoding).slice(written..)),
            }
        }
        taken
    }

    /// Sends a frame for this client alone. Never blocks.
    pub(crate) fn send(self: &Arc<Self>, item: Item) {
        self.send_unless(item, || false);
    }

    pub(super) fn send_unless(self: &Arc<Self>, item: Item, has_left: impl FnOnce() -> bool) {
        let mut out = self.lock();
        if out.is_closing() || has_left() {
            return;
        }
        let bytes = item.bytes(self.encoding, &self.env.cursor_keys);
        match self.write_now(&out, || bytes.clone()) {
            Ok(written) if written == bytes.len() => {}
            Ok(0) => self.enqueue(&mut out, item),
            Ok(written) => self.start(&mut out, bytes.slice(written..)),
            Err(_) => self.fail(&mut out),
        }
    }

    /// Writes to the socket if nothing waits before these bytes. Returns how many bytes it has taken.
    fn write_now(&self, out: &Out, bytes: impl FnOnce() -> Bytes) -> io::Result<usize> {
        let Some(socket) = self.socket().filter(|_| out.queue.is_empty()) else { return Ok(0) };
        match socket.try_write(&bytes()) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            result => result,
        }
    }

    fn enqueue(self: &Arc<Self>, out: &mut Out, item: Item) {
        if out.is_closing() {
            return;
        }
        let was_empty = out.queue.is_empty();
        if !out.queue.push(item) {
            self.close_locked(out, Close::TOO_SLOW);
        } else if was_empty {
            self.begin_waiting(out);
        }
    }

    /// Queues the rest of a frame of which the socket has taken some bytes.
    fn start(self: &Arc<Self>, out: &mut Out, rest: Bytes) {
        out.queue.start(rest);
        self.begin_waiting(out);
    }

    pub(super) fn begin_waiting(self: &Arc<Self>, out: &mut Out) {
        out.progress = self.env.now();
        if !std::mem::replace(&mut out.is_watched, true) {
            self.waiting.push(self);
        }
        self.wake();
    }
}
