//! The topics that a client subscribes to, leaves and acknowledges by frames.

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
        let filter = match &self.session {
            Some(session) => session.narrow(&topic, filter),
            None => filter,
        };
        let current = self.memberships.iter().position(|member| **member.name() == *topic);
        if let Some(member) = current.and_then(|index| self.memberships.get(index))
            && member.is_live()
            && member.window().is_none()
            && window.is_none()
        {
            return member.change_filter(filter);
        }
        // A join in progress, or a subscription with another window, is given up for this one.
        if let Some(index) = current {
            self.memberships.swap_remove(index).leave();
        }
        let refusal = if filter.is_too_long() { Some("malformed") } else { self.refusal(&topic).await };
        if let Some(code) = refusal {
            return self.send(&ServerFrame::Error { code, detail: shown(&topic) });
        }
        let places = cursor
            .map(|cursor| cursor::read(&self.hub.env.cursor_keys, &cursor, self.hub.env.config.max_topics));
        let start = Start::of(&places.unwrap_or_default(), &topic);
        let membership = Membership::enter(&self.hub, &self.connection, &topic, window);
        self.memberships.push(membership.clone());
        let (hub, page) = (self.hub.clone(), window.map_or(PAGE_BYTES, page_bytes));
        self.run(async move {
            let Some(join) = Join::begin(hub, &membership, filter, start, page).await else { return };
            // The topic is left when the client leaves it, and not when this task ends.
            drop(membership);
            join.send_subscribed();
            join.finish().await;
        });
    }

    /// Returns the error code if the client may not subscribe to `topic`.
    async fn refusal(&mut self, topic: &str) -> Option<&'static str> {
        if let Some(code) = self.unacceptable(topic) {
            return Some(code);
        }
        match &self.session {
            Some(session) => look_up(&self.hub, session, topic).await.err(),
            None => Some(FORBIDDEN),
        }
    }

    /// Returns the error code if no client may subscribe to `topic`, or this one to no further topic.
    pub(super) fn unacceptable(&mut self, topic: &str) -> Option<&'static str> {
        if topic.is_empty() || topic.len() > TOPIC_LIMIT {
            return Some("malformed");
        }
        if is_reserved(topic) {
            return Some(FORBIDDEN);
        }
        self.memberships.retain(|membership| !membership.member.has_left());
        (self.memberships.len() >= self.hub.env.config.max_topics).then_some("too_many_topics")
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

    pub(super) fn unsubscribe(&mut self, topic: &str, reason: Option<&'static str>) {
        // A join in progress has the membership as well, so dropping it would not leave the topic.
        self.memberships.extract_if(.., |member| **member.name() == *topic).for_each(|member| member.leave());
        self.send(&ServerFrame::Unsubscribed { topic, reason });
    }
}
