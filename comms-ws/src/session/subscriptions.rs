//! The topics that a client subscribes to, leaves and acknowledges by frames.

use std::sync::Arc;

use super::{
    acknowledgement::Acknowledgement,
    client::Client,
    grant::Session,
    join::{Join, Start},
    membership::Membership,
    permission::{FORBIDDEN, TOPIC_LIMIT, look_up, shown},
    window::{MAX_WINDOW, page_bytes},
};
use crate::{
    cursor,
    feed::PAGE_BYTES,
    protocol::ServerFrame,
    topic::{Filter, is_reserved},
};

impl Client {
    /// Subscribes to a topic, or replaces the subscription to it. `window`: the maximum number of events that are sent and
    /// not acknowledged.
    pub(super) async fn subscribe(
        &mut self,
        topic: String,
        cursor: Option<String>,
        filter: Filter,
        window: Option<usize>,
    ) {
        if let Some(code) = self.bad_window(&topic, window) {
            return self.send(&ServerFrame::Error { code, detail: shown(&topic) });
        }
        // A refused change leaves the subscription as it is, unless its topic is forbidden by now.
        let refusal = match self.to_filter(&topic, window) {
            _ if filter.is_too_long() => Some("malformed"),
            Some(_) => None,
            None => self.refusal(&topic).await,
        };
        match refusal {
            Some(FORBIDDEN) if self.membership(&topic).is_some() => {
                return self.unsubscribe(&topic, Some(FORBIDDEN));
            }
            Some(code) => return self.send(&ServerFrame::Error { code, detail: shown(&topic) }),
            None => {}
        }
        let filter = match &self.session {
            Some(session) => session.narrow(&topic, filter),
            None => filter,
        };
        // Again, because a join may have ended meanwhile.
        if let Some(member) = self.to_filter(&topic, window) {
            return member.change_filter(filter);
        }
        // A join in progress, or a subscription with another window, is given up for this one.
        self.leave(&topic);
        let places = cursor
            .map(|cursor| cursor::read(&self.hub.env.cursor_keys, &cursor, self.hub.env.config.max_topics));
        let start = Start::of(&places.unwrap_or_default(), &topic);
        let membership = Membership::enter(&self.hub, &self.connection, &topic, filter, window);
        self.memberships.push(membership.clone());
        let (hub, page) = (self.hub.clone(), window.map_or(PAGE_BYTES, page_bytes));
        self.run(async move {
            let Some(join) = Join::begin(hub, &membership, start, page).await else { return };
            // The topic is left when the client leaves it, and not when this task ends.
            drop(membership);
            join.send_subscribed();
            join.finish().await;
        });
    }

    /// Returns the membership in `topic` that the session has not left.
    fn membership(&self, topic: &str) -> Option<&Arc<Membership>> {
        self.memberships.iter().find(|member| **member.name() == *topic && !member.member.has_left())
    }

    /// Returns the membership in `topic` if a subscription of the client with `window` changes no more than its filter.
    fn to_filter(&self, topic: &str, window: Option<usize>) -> Option<&Arc<Membership>> {
        let membership = self.membership(topic).filter(|_| window.is_none())?;
        (membership.is_live() && membership.window().is_none()).then_some(membership)
    }

    /// Returns the error code if the client may not subscribe to `topic`.
    async fn refusal(&mut self, topic: &str) -> Option<&'static str> {
        let is_granted = self.session.as_ref().is_some_and(|session| session.grants(topic));
        if let Some(code) = self.unacceptable(topic, is_granted) {
            return Some(code);
        }
        match &self.session {
            Some(session) => look_up(&self.hub, session, topic).await.err(),
            None => Some(FORBIDDEN),
        }
    }

    /// Returns the error code if no client may subscribe to `topic`, or this one to no further topic. What the application
    /// grants has no limits.
    pub(super) fn unacceptable(&mut self, topic: &str, is_granted: bool) -> Option<&'static str> {
        if is_reserved(topic) {
            return Some(FORBIDDEN);
        }
        if is_granted {
            return None;
        }
        if topic.is_empty() || topic.len() > TOPIC_LIMIT {
            return Some("malformed");
        }
        self.memberships.retain(|membership| !membership.member.has_left());
        let is_full = self.memberships.len() >= self.hub.env.config.max_topics;
        (is_full && self.membership(topic).is_none()).then_some("too_many_topics")
    }

    /// Returns the error code if `topic` cannot have this window.
    fn bad_window(&self, topic: &str, window: Option<usize>) -> Option<&'static str> {
        let size = window?;
        if size == 0 || size > MAX_WINDOW {
            return Some("malformed");
        }
        self.hub.env.config.topics.of(topic).history.is_none().then_some("no_history")
    }

    /// Acknowledges the events up to the positions of `cursor` in the topics with a window, and reports it.
    pub(super) fn acknowledge(&self, session: &Session, cursor: &str) {
        // Tokens of topics that the client has left do not displace the others.
        let max = self.hub.env.config.max_topics.max(self.memberships.len());
        let places = cursor::read(&self.hub.env.cursor_keys, cursor, max);
        for membership in &self.memberships {
            let position = places.position(membership.name()).flatten();
            let (Some(window), Some(position)) = (membership.window(), position) else { continue };
            if window.acknowledge(position)
                && let Some(report) = &self.hub.acknowledgements
            {
                let (principal, topic) = (&*session.principal, &**membership.name());
                report(Acknowledgement { principal, topic, position });
            }
        }
    }

    fn leave(&mut self, topic: &str) {
        // A join in progress has the membership as well, so dropping it would not leave the topic.
        self.memberships.extract_if(.., |member| **member.name() == *topic).for_each(|member| member.leave());
    }

    pub(super) fn unsubscribe(&mut self, topic: &str, reason: Option<&'static str>) {
        self.leave(topic);
        self.send(&ServerFrame::Unsubscribed { topic, reason });
    }
}
