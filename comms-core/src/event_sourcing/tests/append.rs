//! The outcome of an append, and the texts of conflicts.

use super::*;
use crate::{ErrorKind, MessageParts};

fn outcome(expected: Expected, events: usize, head: u64, stored: &[Option<u64>]) -> Result<Appended, Error> {
    let stream = Stream::new("account", "1");
    let events = vec![Message::new(MessageParts::default()); events];
    Append { stream: &stream, expected, events: &events, messages: &[] }.outcome(head, stored)
}

#[test]
fn an_append_is_new_repeated_or_a_conflict() {
    let new = |first, last| Some((first, last, false));
    let repeated = |first, last| Some((first, last, true));
    for (expected, events, head, stored, wanted) in [
        (Expected::Any, 2, 3, &[][..], new(4, 5)),
        (Expected::NoStream, 1, 0, &[], new(1, 1)),
        (Expected::Version(3), 0, 3, &[], new(4, 3)),
        (Expected::Version(3), 1, 4, &[], None),
        (Expected::NoStream, 1, 1, &[], None),
        (Expected::Version(3), 2, 9, &[Some(4), Some(5)], repeated(4, 5)),
        (Expected::Any, 1, 9, &[Some(4)], repeated(4, 4)),
        (Expected::NoStream, 1, 9, &[Some(1)], repeated(1, 1)),
        (Expected::Version(2), 2, 9, &[Some(4), Some(5)], None),
        (Expected::Version(3), 2, 9, &[Some(4)], None),
        (Expected::Any, 2, 9, &[Some(4), Some(6)], None),
        (Expected::Any, 2, 9, &[Some(5), Some(4)], None),
        (Expected::Any, 2, 9, &[None, Some(1)], None),
        (Expected::Any, 1, 0, &[None], None),
        (Expected::Version(u64::MAX), 1, 9, &[Some(4)], None),
        (Expected::Version(u64::MAX), 1, 9, &[], None),
    ] {
        let result = outcome(expected, events, head, stored);
        let observed = result.as_ref().ok().map(|it| (it.first, it.last, it.repeated));
        assert_eq!(observed, wanted, "{expected:?}, {events} events, head {head}, stored {stored:?}");
        assert!(result.map_or_else(|error| error.kind == ErrorKind::Conflict, |_| true));
    }
}

#[test]
fn a_conflict_names_both_versions() {
    let text = |expected, head| {
        let error = outcome(expected, 1, head, &[]).unwrap_err().context("deposit");
        VersionConflict::of(&error).unwrap().to_string()
    };
    let expected = "the stream account/1 has version 4, expected was version 3";
    assert_eq!(text(Expected::Version(3), 4), expected);
    assert_eq!(text(Expected::Version(3), 0), "the stream account/1 has no events, expected was version 3");
    assert_eq!(text(Expected::NoStream, 2), "the stream account/1 has version 2, expected was a new stream");
    assert_eq!(VersionConflict::of(&outcome(Expected::Any, 1, 0, &[None]).unwrap_err()), None);
}
