//! The client of a session: its frames, within their rate limit, and its topics.

use std::{collections::HashSet, sync::Arc, time::Instant};

use axum::extract::ws::Message;

use super::grant::Session;
use crate::{
    close::Close,
    frame::{ClientFrame, ServerFrame},
    hub::{outbound::Outbound, state::HubState},
};

/// The number of malformed frames at which the session is closed.
const MALFORMED_LIMIT: u32 = 10;
/// The burst of client frames, in seconds of the allowed rate.
const BURST: f64 = 5.0;
/// The maximum length of a topic name in bytes.
const TOPIC_LIMIT: usize = 256;

/// The state of the client. Responses to the client go through the queue of the session, like pushes.
pub(super) struct Client {
    hub: Arc<HubState>,
    session: Session,
    queue: Arc<Outbound>,
    id: u64,
    topics: HashSet<String>,
    malformed: u32,
    /// The tokens of the rate limit.
    tokens: f64,
    refilled: Instant,
}

impl Client {
    pub(super) fn new(hub: Arc<HubState>, session: Session, queue: Arc<Outbound>, id: u64) -> Self {
        let refilled = hub.clock.now();
        let tokens = f64::from(hub.config.client_frames_per_second) * BURST;
        Self { hub, session, queue, id, topics: HashSet::new(), malformed: 0, tokens, refilled }
    }

    /// Queues the welcome frame, then subscribes to the topics that the application granted.
    pub(super) fn start(&mut self) {
        let session = self.hub.clock.uuid_v7().to_string();
        let topics = std::mem::take(&mut self.session.topics);
        let ping_seconds = self.hub.config.ping_interval.as_secs();
        self.send(&ServerFrame::Welcome { session: &session, topics: &topics, ping_seconds });
        for topic in topics {
            self.hub.topics.subscribe(&topic, self.id, &self.queue, None);
            self.topics.insert(topic);
        }
    }

    /// Unsubscribes from all topics.
    pub(super) fn unsubscribe_all(&mut self) {
        for topic in self.topics.drain() {
            self.hub.topics.unsubscribe(&topic, self.id);
        }
    }

    /// Handles a message of the client. Returns the close code if the message ends the session.
    pub(super) fn on_message(&mut self, message: &Message, now: Instant) -> Result<(), Close> {
        self.take_token(now)?;
        let text = match message {
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) => return Ok(()),
            Message::Binary(bytes) if bytes.len() > self.hub.config.max_client_frame => {
                return Err(Close::TOO_BIG);
            }
            Message::Binary(_) => return self.malformed("a binary frame: send text frames"),
            Message::Text(text) => text.as_str(),
        };
        if text.len() > self.hub.config.max_client_frame {
            return Err(Close::TOO_BIG);
        }
        match serde_json::from_str(text) {
            Ok(ClientFrame::Subscribe { topic }) => self.subscribe(topic),
            Ok(ClientFrame::Unsubscribe { topic }) => self.unsubscribe(&topic),
            Ok(ClientFrame::Ping) => self.send(&ServerFrame::Pong),
            Err(error) => return self.malformed(&error.to_string()),
        }
        Ok(())
    }

    fn subscribe(&mut self, topic: String) {
        if let Some(code) = self.refusal(&topic) {
            let detail = &topic[..topic.floor_char_boundary(TOPIC_LIMIT)];
            return self.send(&ServerFrame::Error { code, detail });
        }
        let confirmation = ServerFrame::Subscribed { topic: &topic }.encode().ok();
        self.hub.topics.subscribe(&topic, self.id, &self.queue, confirmation.as_ref());
        self.topics.insert(topic);
    }

    /// Returns the error code if the client may not subscribe to `topic`.
    fn refusal(&self, topic: &str) -> Option<&'static str> {
        if self.topics.contains(topic) {
            None
        } else if topic.is_empty() || topic.len() > TOPIC_LIMIT {
            Some("malformed")
        } else if !self.session.allows(topic) {
            Some("forbidden")
        } else {
            (self.topics.len() >= self.hub.config.max_topics).then_some("too_many_topics")
        }
    }

    fn unsubscribe(&mut self, topic: &str) {
        if self.topics.remove(topic) {
            self.hub.topics.unsubscribe(topic, self.id);
        }
        self.send(&ServerFrame::Unsubscribed { topic });
    }

    /// Counts a malformed frame. Sends the error, or closes the session at the limit.
    fn malformed(&mut self, detail: &str) -> Result<(), Close> {
        self.malformed += 1;
        if self.malformed >= MALFORMED_LIMIT {
            return Err(Close::MALFORMED);
        }
        self.send(&ServerFrame::Error { code: "malformed", detail });
        Ok(())
    }

    /// Takes a token from the bucket that limits the rate of client frames, control frames included.
    fn take_token(&mut self, now: Instant) -> Result<(), Close> {
        let rate = f64::from(self.hub.config.client_frames_per_second);
        let refill = now.saturating_duration_since(self.refilled).as_secs_f64() * rate;
        self.refilled = now;
        self.tokens = (self.tokens + refill).min(rate * BURST) - 1.0;
        if self.tokens < 0.0 { Err(Close::TOO_MANY) } else { Ok(()) }
    }

    fn send(&self, frame: &ServerFrame<'_>) {
        if let Ok(frame) = frame.encode() {
            self.queue.push(&frame);
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.unsubscribe_all();
    }
}
