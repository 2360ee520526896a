//! The query of the handshake.

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
/// The maximum length of the query with further topics. Proxies refuse URLs of more than 8 KiB. Topics that do not fit
/// are subscribed by frames.
pub(super) const MAX_QUERY: usize = 4 * 1024;

impl State {
    /// Returns the query of the handshake: the topics without a filter and a window, and the cursor of these and of the
    /// granted topics. The server joins each topic of the cursor without either.
    pub(in crate::client) fn query(&mut self) -> String {
        let mut granted: Vec<_> = self
            .granted
            .iter()
            .filter(|topic| !self.wanted.contains_key(*topic) && **topic != self.own)
            .collect();
        granted.sort();
        let (mut topics, mut asked) = (String::new(), HashSet::new());
        let mut cursor: Vec<String> = granted.into_iter().filter_map(|topic| self.token(topic)).collect();
        let mut len: usize = cursor.iter().map(|token| token.len() + 1).sum();
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

    fn token(&self, topic: &str) -> Option<String> {
        self.places.get(topic)?.cursor().map(|cursor| encode(&cursor))
    }
}

fn encode(text: &str) -> String {
    utf8_percent_encode(text, PLAIN).to_string()
}
