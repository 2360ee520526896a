//! The query of a handshake: the topics of the client, and where it resumes.

use std::collections::HashSet;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::State;

/// The characters that stand for themselves in the query.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/')
    .remove(b':')
    .remove(b',');
/// The maximum length of the tokens in the query of topics that the server subscribes by itself. Proxies refuse URLs of more
/// than 8 KiB, and would do so at each attempt.
const MAX_CURSOR: usize = 6 * 1024;
/// The maximum length of the query with further topics. Proxies refuse URLs of more than 8 KiB. Topics that do not fit
/// are subscribed by frames.
pub(super) const MAX_QUERY: usize = 4 * 1024;

impl State {
    /// Returns the query of the handshake: the topics without a filter and a window, and the cursor of these and of the granted
    /// topics. The server joins each topic of the cursor without either. A granted topic with a filter is resumed in this
    /// way too, because the server ignores the cursor of a frame for a topic that the session has joined.
    pub(in crate::client) fn query(&mut self) -> String {
        let mut granted: Vec<_> =
            self.granted.iter().filter(|topic| self.is_cursor_alone(topic) && **topic != self.own).collect();
        granted.sort();
        let (mut topics, mut cursor, mut len) = (String::new(), Vec::new(), 0);
        let (mut asked, mut left_out) = (HashSet::new(), HashSet::new());
        for topic in granted {
            let Some(token) = self.token(topic) else { continue };
            len += token.len() + 1;
            match len > MAX_CURSOR {
                true => drop(left_out.insert(topic.clone())),
                false => cursor.push(token),
            }
        }
        self.left_out = left_out;
        for topic in self.wanted.values().filter(|one| !one.needs_frame()).map(|one| &one.topic) {
            let (pair, token) = (format!("topic={}&", encode(topic)), self.token(topic));
            len += pair.len() + token.as_ref().map_or(0, |token| token.len() + 1);
            if len > MAX_QUERY {
                break;
            }
            topics.push_str(&pair);
            cursor.extend(token);
            asked.insert(topic.clone());
        }
        self.granted.extend(asked.iter().cloned());
        self.asked = asked;
        match cursor.is_empty() {
            true => topics.trim_end_matches('&').to_owned(),
            false => format!("{topics}cursor={}", cursor.join(",")),
        }
    }

    /// Returns whether the cursor alone names a granted topic: a name in the query, or a frame with a window, has its own
    /// token.
    fn is_cursor_alone(&self, topic: &str) -> bool {
        self.wanted.get(topic).is_none_or(|one| one.has_filter() && one.window.is_none())
    }

    fn token(&self, topic: &str) -> Option<String> {
        self.places.get(topic)?.cursor().map(|cursor| encode(&cursor))
    }
}

fn encode(text: &str) -> String {
    utf8_percent_encode(text, PLAIN).to_string()
}
