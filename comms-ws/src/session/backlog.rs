//! What a joining session has missed, sent as its queue and its window have room.
//!
//! The messages wait in the history, and not in the session: of all topics of a session, one at a time reads a page and
//! holds it until the queue has taken it.

use std::sync::Arc;

use bytes::Bytes;
use comms_core::Error;
use tokio::sync::OwnedSemaphorePermit;

use super::join::{Join, QUEUE_WAIT};
use crate::{
    backplane::{History, Position, Retention},
    connection::Item,
    feed::KeepRecent,
    message::{Batch, Message},
};

impl Join {
    /// Reads the messages after `since` when no other topic of the session holds a page. The permit is held as long as the
    /// page. Returns `None` if the session has left the topic.
    pub(super) async fn read_page(
        &mut self,
        retention: Retention,
        since: Position,
    ) -> Option<(History, Option<OwnedSemaphorePermit>)> {
        // What is published while the topic waits for its permit is in the history.
        self.recent = None;
        // Each attempt waits for its permit, so that a history that cannot be read does not hold the other topics up.
        let attempt = async || {
            let permit = self.member.connection.page().await;
            self.wait_for_room(0, 0).await;
            let recent = KeepRecent::new(&self.feed);
            Ok((self.read(retention, since, self.next_page()).await?, permit, recent))
        };
        let (read, permit, recent) = self.repeat(attempt).await?;
        self.recent = Some(recent);
        Some((read, permit))
    }

    pub(super) async fn read(
        &self,
        retention: Retention,
        since: Position,
        page: usize,
    ) -> Result<History, Error> {
        let page = page.min(self.hub.env.config.queue_bytes / 2);
        self.hub.fanout.history(&self.feed.topic, retention, since, page).await
    }

    /// Sends messages in parts, each when the queue has room for it.
    pub(super) async fn send_page(&mut self, mut page: Vec<(u64, Bytes)>) {
        while !page.is_empty() {
            let (count, bytes) = self.first_part(&page);
            self.wait_for_room(bytes, count).await;
            let rest = page.split_off(count);
            if !self.send_part(std::mem::replace(&mut page, rest)) {
                return;
            }
        }
    }

    /// Sends the messages for which the queue has room now. Returns `false` if that is not all. The rest is read again later.
    pub(super) fn send_now(&mut self, mut page: Vec<(u64, Bytes)>) -> bool {
        while !page.is_empty() {
            let (count, bytes) = self.first_part(&page);
            let rest = page.split_off(count);
            if !self.has_room(bytes, count) || !self.send_part(std::mem::replace(&mut page, rest)) {
                return false;
            }
        }
        true
    }

    /// Returns the number of messages in the next part of a page, and their bytes: at most half the queue, or one message.
    fn first_part(&self, page: &[(u64, Bytes)]) -> (usize, usize) {
        let config = &self.hub.env.config;
        let (max_bytes, max_frames) = (config.queue_bytes / 2, (config.queue_frames / 2).max(1));
        let (mut count, mut bytes) = (0, 0);
        for (_, body) in page.iter().take(max_frames) {
            if count > 0 && bytes + body.len() > max_bytes {
                break;
            }
            (count, bytes) = (count + 1, bytes + body.len());
        }
        (count, bytes)
    }

    /// Returns `false` if the session has left the topic, or the window did not admit all. The rest is read again later.
    fn send_part(&mut self, part: Vec<(u64, Bytes)>) -> bool {
        let (Some(reached), Some((end, _))) = (self.reached, part.last()) else { return true };
        let Some(filter) = self.membership.upgrade().map(|membership| membership.filter()) else {
            return false;
        };
        let end = Position { offset: *end, ..reached };
        let (topic, meters) = (&self.feed.topic, &self.hub.env.meters);
        // The feed has reported a message that cannot be read.
        let message = |(offset, body): (u64, Bytes)| {
            Message::event(topic.clone(), Some(Position { offset, ..reached }), &body, meters).ok()
        };
        let messages = part.into_iter().filter_map(message);
        let messages = messages.filter(|message| message.passes(filter.as_deref())).map(Arc::new).collect();
        let is_all = self.send(messages);
        if is_all {
            self.reach(end);
        }
        is_all
    }

    /// Sends messages that pass the filter, as many as the window admits. Returns `false` if that is not all.
    pub(super) fn send(&mut self, mut messages: Vec<Arc<Message>>) -> bool {
        let count = messages.len();
        if let Some(window) = &self.window {
            messages.truncate(window.admit(&messages));
        }
        let is_all = messages.len() == count;
        if let Some(last) = messages.last() {
            self.reached = last.position;
            self.hub.env.meters.delivered(self.member.deliver(&Batch::new(messages)));
        }
        is_all
    }

    /// Notifies the client that the messages up to `position` are lost.
    pub(super) fn skip_to(&mut self, position: Position, reason: &'static str) {
        let (keys, meters) = (&self.hub.env.cursor_keys, &self.hub.env.meters);
        let notice = Message::missed(self.feed.topic.clone(), Some(position), reason, keys, meters);
        // First, because the client may acknowledge the notice at once.
        self.reach(position);
        self.member.send(Item::Message(Arc::new(notice)));
    }

    /// Waits while the client has not taken enough of what was sent before.
    pub(super) async fn wait_for_room(&self, bytes: usize, frames: usize) {
        while self.is_wanted() && !self.has_room(bytes, frames) {
            self.hub.env.clock.sleep(QUEUE_WAIT).await;
        }
    }

    /// Returns whether the queue is empty, or takes `bytes` in `frames` and is at most three quarters full then.
    pub(super) fn has_room(&self, bytes: usize, frames: usize) -> bool {
        let ((queued, items), config) = (self.member.connection.queued(), &self.hub.env.config);
        let fits =
            queued + bytes <= config.queue_bytes / 4 * 3 && items + frames <= config.queue_frames / 4 * 3;
        fits || (queued, items) == (0, 0)
    }
}
