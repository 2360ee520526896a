//! What a client asks for: its frames, within their rate, and its topics.

use std::{collections::HashSet, sync::Arc, time::Instant};

use axum::extract::ws::Message;

use super::Session;
use crate::{
    close::Close,
    frame::{ClientFrame, ServerFrame},
    hub::{Shared, outbound::Outbound},
};

/// Frames beyond understanding until the session ends.
const MALFORMED_LIMIT: u32 = 10;
/// Seconds' worth of frames a client may send at once.
const BURST: f64 = 5.0;
/// The longest topic name, in bytes.
const TOPIC_LIMIT: usize = 256;

/// The client's side of a session. Answers go through the session's queue like everything else.
pub(super) struct Client {
    hub: Arc<Shared>,
    session: Session,
    queue: Arc<Outbound>,
    id: u64,
    topics: HashSet<String>,
    malformed: u32,
    allowance: f64,
    refilled: Instant,
}

impl Client {
    pub(super) fn new(hub: Arc<Shared>, session: Session, queue: Arc<Outbound>, id: u64) -> Self {
        let refilled = hub.clock.now();
        let allowance = f64::from(hub.config.client_frames_per_second) * BURST;
        Self { hub, session, queue, id, topics: HashSet::new(), malformed: 0, allowance, refilled }
    }

    /// Greets, then listens to the topics the application named.
    pub(super) fn welcome(&mut self) {
        let session = self.hub.clock.uuid_v7().to_string();
        let topics = std::mem::take(&mut self.session.topics);
        let ping_seconds = self.hub.config.ping_interval.as_secs();
        self.say(&ServerFrame::Welcome { session: &session, topics: &topics, ping_seconds });
        for topic in topics {
            self.hub.topics.subscribe(&topic, self.id, &self.queue, None);
            self.topics.insert(topic);
        }
    }

    /// Stops listening.
    pub(super) fn leave(&mut self) {
        for topic in self.topics.drain() {
            self.hub.topics.unsubscribe(&topic, self.id);
        }
    }

    pub(super) fn on_message(&mut self, message: &Message, now: Instant) -> Result<(), Close> {
        self.spend(now)?;
        let text = match message {
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) => return Ok(()),
            Message::Binary(bytes) if bytes.len() > self.hub.config.max_client_frame => {
                return Err(Close::TOO_BIG);
            }
            Message::Binary(_) => return self.malformed("text frames only"),
            Message::Text(text) => text.as_str(),
        };
        if text.len() > self.hub.config.max_client_frame {
            return Err(Close::TOO_BIG);
        }
        match serde_json::from_str(text) {
            Ok(ClientFrame::Subscribe { topic }) => self.subscribe(topic),
            Ok(ClientFrame::Unsubscribe { topic }) => self.unsubscribe(&topic),
            Ok(ClientFrame::Ping) => self.say(&ServerFrame::Pong),
            Err(error) => return self.malformed(&error.to_string()),
        }
        Ok(())
    }

    fn subscribe(&mut self, topic: String) {
        if let Some(code) = self.refusal(&topic) {
            let detail = &topic[..topic.floor_char_boundary(TOPIC_LIMIT)];
            return self.say(&ServerFrame::Error { code, detail });
        }
        let confirmation = ServerFrame::Subscribed { topic: &topic }.encode().ok();
        self.hub.topics.subscribe(&topic, self.id, &self.queue, confirmation.as_ref());
        self.topics.insert(topic);
    }

    fn refusal(&self, topic: &str) -> Option<&'static str> {
        if self.topics.contains(topic) {
            None
        } else if topic.is_empty() || topic.len() > TOPIC_LIMIT {
            Some("malformed")
        } else if !self.session.may_hear(topic) {
            Some("forbidden")
        } else {
            (self.topics.len() >= self.hub.config.max_topics).then_some("too_many_topics")
        }
    }

    fn unsubscribe(&mut self, topic: &str) {
        if self.topics.remove(topic) {
            self.hub.topics.unsubscribe(topic, self.id);
        }
        self.say(&ServerFrame::Unsubscribed { topic });
    }

    fn malformed(&mut self, detail: &str) -> Result<(), Close> {
        self.malformed += 1;
        if self.malformed >= MALFORMED_LIMIT {
            return Err(Close::MALFORMED);
        }
        self.say(&ServerFrame::Error { code: "malformed", detail });
        Ok(())
    }

    /// A token bucket over everything a client sends.
    fn spend(&mut self, now: Instant) -> Result<(), Close> {
        let rate = f64::from(self.hub.config.client_frames_per_second);
        let refill = now.saturating_duration_since(self.refilled).as_secs_f64() * rate;
        self.refilled = now;
        self.allowance = (self.allowance + refill).min(rate * BURST) - 1.0;
        if self.allowance < 0.0 { Err(Close::TOO_MANY) } else { Ok(()) }
    }

    fn say(&self, frame: &ServerFrame<'_>) {
        if let Ok(frame) = frame.encode() {
            self.queue.push(&frame);
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.leave();
    }
}
