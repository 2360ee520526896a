//! JSON pointers (RFC 6901).

use serde_path_to_error::{Path, Segment};

/// Returns the pointer to `token` below `parent`.
pub(super) fn child(parent: &str, token: &str) -> String {
    format!("{parent}/{}", token.replace('~', "~0").replace('/', "~1"))
}

/// Returns the last token of `pointer` if `pointer` is a direct child of `parent`.
pub(super) fn direct_child(parent: &str, pointer: &str) -> Option<String> {
    let token = pointer.strip_prefix(parent)?.strip_prefix('/')?;
    (!token.contains('/')).then(|| token.replace("~1", "/").replace("~0", "~"))
}

/// Returns whether the places are equal, or one contains the other.
pub(super) fn overlap(a: &str, b: &str) -> bool {
    let (short, long) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    long.strip_prefix(short).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Returns the pointer to the place at which a parser stopped.
pub(super) fn from_path(path: &Path) -> String {
    path.iter().fold(String::new(), |parent, segment| match segment {
        Segment::Seq { index } => child(&parent, &index.to_string()),
        Segment::Map { key } => child(&parent, key),
        Segment::Enum { variant } => child(&parent, variant),
        Segment::Unknown => parent,
    })
}

/// Converts the place in garde's notation, `price.minor` or `items[0].name`.
pub(super) fn from_garde_path(path: &garde::Path) -> String {
    let text = path.to_string();
    let tokens = text.split(['.', '[', ']']).filter(|token| !token.is_empty());
    tokens.fold(String::new(), |parent, token| child(&parent, token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_escapes_its_tokens() {
        assert_eq!(child("/a", "b/c~d"), "/a/b~1c~0d");
        assert_eq!(direct_child("/a", "/a/b~1c~0d").as_deref(), Some("b/c~d"));
        assert_eq!(direct_child("/a", "/a/b/c"), None);
        assert_eq!(direct_child("/a", "/ab"), None);
    }

    #[test]
    fn places_overlap_if_one_contains_the_other() {
        for (a, b, overlaps) in
            [("", "/a", true), ("/a", "/a/b", true), ("/a", "/ab", false), ("/a", "/a", true)]
        {
            assert_eq!((overlap(a, b), overlap(b, a)), (overlaps, overlaps), "{a} {b}");
        }
    }

    #[test]
    fn a_garde_path_becomes_a_pointer() {
        let path = garde::Path::new("items").join(0_usize).join("name");
        assert_eq!(from_garde_path(&path), "/items/0/name");
        assert_eq!(from_garde_path(&garde::Path::empty()), "");
    }
}
