//! The printed form of errors, and the text for clients.

use std::{error::Error as StdError, fmt, io};

use super::*;

/// An error that prints its source as part of its text, as `sqlx::Error::Database` does.
#[derive(Debug)]
struct Wrapping(&'static str, io::Error);

impl fmt::Display for Wrapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0, self.1)
    }
}

impl StdError for Wrapping {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.1)
    }
}

fn database() -> Wrapping {
    Wrapping("error returned from database", io::Error::other("duplicate key in orders_pkey"))
}

fn rejected() -> Error {
    Rejection::new("payments", Guard::Breaker, None).into()
}

#[test]
fn a_chain_is_printed_once_by_anyhow_and_by_chain() {
    let table: [(Error, &str); 9] = [
        (Error::invalid("price is negative"), "invalid: price is negative"),
        (
            Error::invalid("price is negative").context("place order"),
            "invalid: place order: price is negative",
        ),
        (
            Error::invalid("price is negative").context("item 3").context("place order"),
            "invalid: place order: item 3: price is negative",
        ),
        (rejected(), "rejected: payments: the circuit breaker is open"),
        (rejected().context("ask"), "rejected: ask: payments: the circuit breaker is open"),
        (
            Error::internal(Error::not_executed("connection refused").context("load keys")).context("start"),
            "internal: start: not_executed: load keys: connection refused",
        ),
        (Error::internal(database()), "internal: error returned from database: duplicate key in orders_pkey"),
        (
            Error::internal(database()).context("insert order"),
            "internal: insert order: error returned from database: duplicate key in orders_pkey",
        ),
        (
            Error::internal(Error::internal(Wrapping("pool", io::Error::other(database())))).context("begin"),
            "internal: begin: internal: pool: error returned from database: duplicate key in orders_pkey",
        ),
    ];
    for (error, expected) in table {
        assert_eq!(error.chain().to_string(), expected);
        assert_eq!(format!("{:#}", anyhow::Error::new(error)), expected);
    }
}

#[test]
fn display_prints_the_outermost_text_and_anyhow_lists_each_cause_once() {
    let error = Error::invalid(database()).context("insert order");
    assert_eq!(error.to_string(), "invalid: insert order");
    let printed = format!("{:?}", anyhow::Error::new(error));
    assert_eq!(printed.matches("duplicate key").count(), 1, "{printed}");
    assert_eq!(printed.matches("insert order").count(), 1, "{printed}");
}

#[test]
fn a_text_within_a_word_is_not_a_repetition() {
    let error = Error::internal("x").context("the index");
    assert_eq!(error.chain().to_string(), "internal: the index: x");
}

#[test]
fn cause_returns_the_original_error_below_every_context() {
    let error = Error::invalid(database()).context("insert").context("place order");
    assert!(error.cause().is::<Wrapping>());
    let nested = Error::internal(rejected().context("ask")).context("pay");
    assert_eq!(nested.rejection().map(|rejection| rejection.guard), Some(Guard::Breaker));
}

#[test]
fn public_text_is_only_a_text_of_a_public_kind() {
    for kind in ErrorKind::ALL {
        let text = Error::new(kind, "the quantity must be positive").context("place order").public_text();
        assert_eq!(text.as_deref(), kind.is_public().then_some("the quantity must be positive"), "{kind}");
        let text = Error::new(kind, format!("row {}", 7)).public_text();
        assert_eq!(text.is_some(), kind.is_public(), "{kind}");
        assert_eq!(Error::new(kind, database()).context("place order").public_text(), None, "{kind}");
        assert_eq!(Error::new(kind, io::Error::other("secret")).public_text(), None, "{kind}");
        assert_eq!(Error::new(kind, Error::invalid("inner")).public_text(), None, "{kind}");
    }
    assert!(rejected().public_text().is_some());
}

#[test]
fn the_kinds_without_effect_are_those_of_the_table() {
    use ErrorKind::{Fatal, Indeterminate, Internal, Misconfigured};
    for kind in ErrorKind::ALL {
        let may_have_happened = matches!(kind, Indeterminate | Misconfigured | Internal | Fatal);
        assert_eq!(kind.is_without_effect(), !may_have_happened, "{kind}");
    }
}

/// An error whose `Display` panics, or fails (`to_string` then panics).
#[derive(Debug)]
struct Unprintable {
    panics: bool,
}

impl fmt::Display for Unprintable {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        assert!(!self.panics, "no text");
        Err(fmt::Error)
    }
}

impl StdError for Unprintable {}

#[test]
fn an_error_whose_display_fails_is_printed_with_a_substitute() {
    for panics in [false, true] {
        let error = Error::misconfigured(Unprintable { panics });
        assert_eq!(error.chain().to_string(), "misconfigured: an error that cannot be printed");
        let nested = Error::internal(Error::invalid(Unprintable { panics })).context("place order");
        assert_eq!(
            nested.chain().to_string(),
            "internal: place order: invalid: an error that cannot be printed"
        );
        assert_eq!(Error::invalid(Unprintable { panics }).public_text(), None);
    }
}
