//! The cursor: the signed positions from which a client resumes.
//!
//! A cursor is a list of tokens, one for each topic, separated by commas. `docs/reference/websocket.md` has the grammar:
//!
//! ```text
//! token = topic ":" epoch ":" offset ":" mac ["~" offset]
//! ```
//!
//! The signature covers the topic, the epoch and the first offset. It proves that the client was at this offset when it
//! was allowed to read the topic: with an offset of its own choice, a client that is allowed to read a topic now could
//! read what was published before it was. The offset after `~` is not signed. It can only move the position forward,
//! which gives the client less.

mod key;

pub use key::CursorKey;

use std::fmt::Write as _;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::backplane::Position;

/// The characters of a topic that stand for themselves in a token.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'/');
/// The maximum length of a cursor in bytes. A longer one is not read.
const MAX_LEN: usize = 64 * 1024;

/// Stands in a cursor for the tokens that were left out because it would be too long.
pub(crate) const LEFT_OUT: &str = "*";

/// Returns the token of `position` in `topic`, signed with the first of `keys`.
pub(crate) fn token(keys: &[CursorKey], topic: &str, position: Position) -> String {
    let mut token = signed_part(topic, position);
    let mac = keys.first().map(|key| key.sign(token.as_bytes())).unwrap_or_default();
    token.push(':');
    token.push_str(&mac);
    token
}

/// Returns a token of `topic` without a position, with which nothing can be resumed.
pub(crate) fn unreadable(topic: &str) -> String {
    format!("{}:0:0:0", utf8_percent_encode(topic, PLAIN))
}

fn signed_part(topic: &str, position: Position) -> String {
    let mut text = String::with_capacity(topic.len() + 64);
    // Writing to a `String` does not fail.
    let _ = write!(text, "{}:{:016x}:{}", utf8_percent_encode(topic, PLAIN), position.epoch, position.offset);
    text
}

/// The place of a client in a topic, read from a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) topic: String,
    /// `None`: the token is malformed after its topic, or its signature is wrong, so that nothing can be resumed.
    pub(crate) position: Option<Position>,
}

/// The places of a client, read from a cursor.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Places {
    places: Vec<Place>,
    /// The cursor has had tokens that were left out or not read, because there are too many.
    is_partial: bool,
}

impl Places {
    /// Returns the topics.
    pub(crate) fn topics(&self) -> impl Iterator<Item = &str> {
        self.places.iter().map(|place| place.topic.as_str())
    }

    /// Returns the position of the client in `topic`: `None` if the cursor does not name the topic, and `Some(None)` if
    /// nothing can be resumed. A topic that is not among the tokens that were read may be among the others.
    pub(crate) fn position(&self, topic: &str) -> Option<Option<Position>> {
        let place = self.places.iter().find(|place| place.topic == topic);
        place.map(|place| place.position).or(self.is_partial.then_some(None))
    }
}

/// Reads a cursor. If a topic stands in it more than once, the last token counts.
///
/// Tokens without a readable topic are skipped. At most `max_topics` tokens are read, and none of a cursor that is longer
/// than 64 KiB.
pub(crate) fn read(keys: &[CursorKey], cursor: &str, max_topics: usize) -> Places {
    let mut places: Vec<Place> = Vec::new();
    if cursor.len() > MAX_LEN {
        return Places { places, is_partial: true };
    }
    let mut tokens = cursor.split(',').map(str::trim);
    let mut is_partial = false;
    for token in tokens.by_ref().take(max_topics) {
        is_partial |= token == LEFT_OUT;
        if let Some(place) = read_token(keys, token) {
            places.retain(|other| other.topic != place.topic);
            places.push(place);
        }
    }
    Places { places, is_partial: is_partial || tokens.next().is_some() }
}

/// Returns the topics of a cursor, whose positions do not count.
pub(crate) fn topics(cursor: &str) -> impl Iterator<Item = String> {
    cursor.split(',').filter_map(|token| read_topic(token.trim()).map(|(topic, _)| topic))
}

fn read_token(keys: &[CursorKey], token: &str) -> Option<Place> {
    let (topic, rest) = read_topic(token)?;
    Some(Place { position: read_position(keys, &topic, rest), topic })
}

/// Returns the topic of a token, and the text after it.
fn read_topic(token: &str) -> Option<(String, &str)> {
    let (name, rest) = token.split_once(':')?;
    let topic = percent_decode_str(name).decode_utf8().ok().filter(|topic| !topic.is_empty())?;
    Some((topic.into_owned(), rest))
}

fn read_position(keys: &[CursorKey], topic: &str, rest: &str) -> Option<Position> {
    let (signed, reached) = match rest.split_once('~') {
        Some((signed, reached)) => (signed, reached.parse().ok()?),
        None => (rest, 0),
    };
    let mut parts = signed.splitn(3, ':');
    let (epoch, offset, mac) = (parts.next()?, parts.next()?, parts.next()?);
    let position = Position { epoch: u64::from_str_radix(epoch, 16).ok()?, offset: offset.parse().ok()? };
    let text = signed_part(topic, position);
    if !keys.iter().any(|key| key.verifies(text.as_bytes(), mac)) {
        return None;
    }
    Some(Position { offset: position.offset.max(reached), ..position })
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Position = Position { epoch: 0xfeed, offset: 17 };

    fn key(text: &str) -> CursorKey {
        CursorKey::new(text.repeat(32).as_bytes()).unwrap()
    }

    fn position(keys: &[CursorKey], cursor: &str) -> Option<Position> {
        read(keys, cursor, 10).places.pop().and_then(|place| place.position)
    }

    #[test]
    fn a_cursor_is_read_as_it_was_written() {
        let keys = [key("a")];
        for topic in ["user/ann", "a:b,c~d%", "ключ", " "] {
            let token = token(&keys, topic, AT);
            let place = Place { topic: topic.into(), position: Some(AT) };
            assert_eq!(read(&keys, &token, 10).places, [place], "{token}");
        }
    }

    #[test]
    fn an_unsigned_offset_moves_the_position_forward_only() {
        let keys = [key("a")];
        let token = token(&keys, "t", AT);
        let offset = |cursor: &str| position(&keys, cursor).map(|position| position.offset);
        assert_eq!(offset(&format!("{token}~20")), Some(20));
        assert_eq!(offset(&format!("{token}~3")), Some(17));
        assert_eq!(offset(&format!("{token}~x")), None);
    }

    #[test]
    fn forged_and_malformed_tokens_have_no_position() {
        let keys = [key("a")];
        let token = token(&keys, "t", AT);
        for forged in [
            token.replace(":17:", ":16:"),
            token.replace("feed", "fee0"),
            token.replace("t:", "u:"),
            token[..token.len() - 1].to_owned(),
            format!("{token}A"),
            "t:0:0:".into(),
            "t:::".into(),
        ] {
            assert_eq!(position(&keys, &forged), None, "{forged}");
            assert_eq!(read(&keys, &forged, 10).places.len(), 1, "{forged}");
        }
        assert_eq!(position(&[key("b")], &token), None, "another key");
        assert_eq!(read(&keys, ",,%ff:1:1:x,:", 10), Places::default());
    }

    #[test]
    fn a_topic_that_was_not_read_recovers_nothing() {
        let keys = [key("a")];
        let cursor = format!("{},{}", token(&keys, "t", AT), token(&keys, "u", AT));
        let complete = read(&keys, &cursor, 2);
        assert_eq!([complete.position("u"), complete.position("v")], [Some(Some(AT)), None]);
        let partial = read(&keys, &cursor, 1);
        assert_eq!([partial.position("t"), partial.position("u")], [Some(Some(AT)), Some(None)]);
        let shortened = read(&keys, &format!("{},{LEFT_OUT}", token(&keys, "t", AT)), 10);
        assert_eq!([shortened.position("t"), shortened.position("u")], [Some(Some(AT)), Some(None)]);
        assert_eq!(position(&keys, &unreadable("t")), None);
        assert_eq!(read(&keys, &unreadable("a:b"), 10).position("a:b"), Some(None));
        assert_eq!(read(&keys, &"x".repeat(MAX_LEN + 1), 10).position("t"), Some(None));
    }

    #[test]
    fn an_older_key_still_verifies_and_the_last_token_of_a_topic_counts() {
        let old = token(&[key("a")], "t", AT);
        let keys = [key("b"), key("a")];
        assert_eq!(position(&keys, &old), Some(AT));
        let later = Position { offset: 18, ..AT };
        let cursor = format!("{old},{}", token(&keys, "t", later));
        assert_eq!(read(&keys, &cursor, 10).places, [Place { topic: "t".into(), position: Some(later) }]);
    }
}
