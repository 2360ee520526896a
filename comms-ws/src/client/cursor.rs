//! The position of the client in each topic, and the cursor that presents the positions to the server.

use comms_core::{Error, ErrorKind};

/// A signed position of the server: `topic:epoch:offset:mac`. The client reads topic, epoch and offset, and presents
/// the text unchanged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    /// The text without an appended `~offset`.
    text: String,
    epoch: u64,
    offset: u64,
}

/// The position of the client in a topic: the last offset that it received, and the token that it resumes with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Place {
    /// `None`: the topic has no history, so that the client cannot resume.
    pub(super) token: Option<Token>,
    /// The offset of the last event in the epoch of the token.
    pub(super) reached: u64,
}

impl Token {
    /// Reads a token of a frame or of a cursor.
    ///
    /// # Errors
    /// Returns `Invalid` if a part is missing or not a number.
    pub(super) fn parse(text: &str) -> Result<Self, Error> {
        let malformed = || Error::invalid(format!("the cursor token {text:?} is malformed"));
        let (_, epoch, offset) = parts(text).ok_or_else(malformed)?;
        Ok(Self { text: text.to_owned(), epoch, offset })
    }

    /// Returns the signed offset.
    pub(super) const fn offset(&self) -> u64 {
        self.offset
    }
}

fn parts(text: &str) -> Option<(&str, u64, u64)> {
    let mut parts = text.split(':');
    let (topic, epoch, offset, mac) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_whole =
        !topic.is_empty() && !mac.is_empty() && parts.next().is_none() && !text.contains([',', '~']);
    is_whole.then_some(())?;
    Some((topic, u64::from_str_radix(epoch, 16).ok()?, offset.parse().ok()?))
}

impl Place {
    /// Returns the position that a new subscription begins at.
    pub(super) fn at(token: Option<Token>) -> Self {
        let reached = token.as_ref().map_or(0, |token| token.offset);
        Self { token, reached }
    }

    /// Returns the position after the server resumed at this one, or `None` if `token` is of another epoch.
    ///
    /// A token ahead of this position is not taken: the events up to it are on their way, and a connection that ends
    /// before they arrive must resume from here.
    pub(super) fn resumed(&self, token: Option<Token>) -> Option<Self> {
        let (old, new) = (self.token.as_ref()?, token?);
        let token = if new.offset <= self.reached { &new } else { old };
        (old.epoch == new.epoch).then(|| Self { token: Some(token.clone()), reached: self.reached })
    }

    /// Returns the position after a loss: that of `token`, but never an earlier offset of the same epoch.
    pub(super) fn skipped_to(&self, token: Option<Token>) -> Self {
        let next = Self::at(token);
        match self.has_epoch_of(&next) {
            true => Self { reached: next.reached.max(self.reached), ..next },
            false => next,
        }
    }

    pub(super) fn has_epoch_of(&self, other: &Self) -> bool {
        match (&self.token, &other.token) {
            (Some(one), Some(other)) => one.epoch == other.epoch,
            _ => false,
        }
    }

    /// Returns the token with the position of the client.
    pub(super) fn cursor(&self) -> Option<String> {
        let token = self.token.as_ref()?;
        match self.reached > token.offset {
            true => Some(format!("{}~{}", token.text, self.reached)),
            false => Some(token.text.clone()),
        }
    }
}

/// Reads the cursor of an earlier client into a position for each topic.
///
/// # Errors
/// Returns `Invalid` if a token is malformed.
pub(super) fn read(cursor: &str) -> Result<Vec<(String, Place)>, Error> {
    cursor.split(',').map(str::trim).filter(|token| !token.is_empty()).map(read_place).collect()
}

fn read_place(text: &str) -> Result<(String, Place), Error> {
    let malformed = |cause| Error::new(ErrorKind::Invalid, cause).context("read the cursor");
    let (signed, reached) = match text.split_once('~') {
        Some((signed, reached)) => {
            (signed, reached.parse().map_err(|_| malformed("an offset is no number"))?)
        }
        None => (text, 0),
    };
    let place = Place::at(Some(Token::parse(signed)?));
    let name = signed.split(':').next().unwrap_or_default();
    let topic = percent_encoding::percent_decode_str(name)
        .decode_utf8()
        .map_err(|_| malformed("a topic is not UTF-8"))?;
    Ok((topic.into_owned(), Place { reached: reached.max(place.reached), ..place }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(epoch: u64, offset: u64) -> Token {
        Token::parse(&format!("user/ann:{epoch:016x}:{offset}:mac")).unwrap()
    }

    fn place(epoch: u64, offset: u64, reached: u64) -> Place {
        Place { token: Some(token(epoch, offset)), reached }
    }

    #[test]
    fn malformed_tokens_are_refused() {
        for text in [
            "",
            "a",
            "a:1:2",
            "a:1:2:",
            ":1:2:m",
            "a:g:2:m",
            "a:1:-2:m",
            "a:1:2:m:x",
            "a:1:2:m,b",
            "a:1:2:m~3",
        ] {
            assert!(Token::parse(text).is_err(), "{text}");
        }
        assert!(read("a:1:2:m~x").is_err() && read("%ff:1:2:m").is_err());
    }

    #[test]
    fn a_cursor_is_read_as_it_was_written() {
        let cursor = "a%3Ab:00000000000000ff:17:mac~20,c:1:5:mac";
        let places = read(cursor).unwrap();
        assert_eq!((places[0].0.as_str(), places[0].1.reached), ("a:b", 20));
        assert_eq!((places[1].0.as_str(), places[1].1.reached), ("c", 5));
        let written: Vec<_> = places.iter().filter_map(|(_, place)| place.cursor()).collect();
        assert_eq!(written.join(","), cursor);
    }

    #[test]
    fn a_resumed_position_keeps_its_offset() {
        let at = place(1, 5, 9);
        assert_eq!(at.resumed(Some(token(1, 9))), Some(place(1, 9, 9)));
        assert_eq!(at.resumed(Some(token(1, 12))), Some(at.clone()), "the events up to 12 have not arrived");
        assert_eq!(at.resumed(Some(token(2, 1))), None);
        assert_eq!(at.resumed(None), None);
    }

    #[test]
    fn a_position_never_moves_back_within_an_epoch() {
        assert_eq!(place(1, 5, 9).skipped_to(Some(token(1, 20))), place(1, 20, 20));
        assert_eq!(place(1, 5, 9).skipped_to(Some(token(1, 7))), place(1, 7, 9));
        assert_eq!(place(1, 5, 9).skipped_to(Some(token(2, 3))), place(2, 3, 3));
        assert_eq!(place(1, 5, 9).skipped_to(None), Place::default());
    }
}
