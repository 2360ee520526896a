//! Prints an error with its causes, each text once.

use std::{
    error::Error as StdError,
    fmt::{self, Write as _},
    panic::{AssertUnwindSafe, catch_unwind},
};

/// One cause in the chain of an [`Error`](super::Error): its text and the next cause.
#[derive(Debug)]
pub(super) struct Link {
    text: String,
    next: Option<Box<Link>>,
}

impl Link {
    /// Returns the chain below the printed text `shown`, outermost first: `contexts`, then `cause` and its sources.
    ///
    /// Some errors print their source as part of their text (`sqlx::Error::Database`, a custom `io::Error`). A cause
    /// whose text is part of the text before it is left out, so that a printed chain contains each text once.
    pub(super) fn chain<'a>(
        shown: &str,
        contexts: impl Iterator<Item = &'a str>,
        cause: Option<&'a (dyn StdError + 'static)>,
    ) -> Option<Box<Self>> {
        let causes = std::iter::successors(cause, |&cause| cause.source()).map(text);
        let mut printed = shown.to_owned();
        let mut texts = Vec::new();
        for text in contexts.map(str::to_owned).chain(causes) {
            if !repeats(&printed, &text) {
                printed.extend([": ", &text]);
                texts.push(text);
            }
        }
        texts.into_iter().rev().fold(None, |next, text| Some(Box::new(Self { text, next })))
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl StdError for Link {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.next.as_deref().map(|next| next as &(dyn StdError + 'static))
    }
}

/// Returns the text of `cause`, or a substitute if its `Display` fails or panics.
///
/// A consumer prints the errors of its handlers outside of the code that catches a handler's panic, so a panic here
/// would end the consumer's lane.
pub(super) fn text(cause: &(dyn StdError + 'static)) -> String {
    let print = || {
        let mut text = String::new();
        write!(text, "{cause}").is_ok().then_some(text)
    };
    let text = catch_unwind(AssertUnwindSafe(print)).ok().flatten();
    text.unwrap_or_else(|| "an error that cannot be printed".to_owned())
}

/// Returns whether `printed` contains `text` as whole words.
fn repeats(printed: &str, text: &str) -> bool {
    let is_boundary = |c: Option<char>| !c.is_some_and(char::is_alphanumeric);
    printed.match_indices(text).any(|(at, _)| {
        is_boundary(printed[..at].chars().next_back())
            && is_boundary(printed[at + text.len()..].chars().next())
    })
}

/// Displays an error and its causes in one line.
pub(super) struct Chain<'a>(pub(super) &'a (dyn StdError + Send + Sync));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut next = self.0.source();
        while let Some(cause) = next {
            write!(f, ": {cause}")?;
            next = cause.source();
        }
        Ok(())
    }
}
