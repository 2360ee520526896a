//! Event sets, and the assertions of aggregates.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;
use crate::{ErrorKind, MessageParts, clock::Clock, testing::aggregate::given, wire};

fn message(event_type: &str, payload: &str) -> Message {
    let source = EventSource::new("bank", Clock::system());
    let message = source.message(&Closed {}).unwrap();
    let message = message.with_headers(|headers| headers.insert(wire::CE_TYPE, event_type));
    Message::new(MessageParts { payload: Some(payload.as_bytes()), ..message.parts() })
}

#[test]
fn an_event_set_reads_every_version_of_its_events() {
    let decode = |event_type: &str, payload: &str| AccountEvent::decode(&message(event_type, payload));
    assert_eq!(decode("account.deposited.v1", r#"{"euros":3}"#).unwrap(), deposited(300));
    assert_eq!(decode("account.deposited.v2", r#"{"cents":3}"#).unwrap(), deposited(3));
    assert_eq!(decode("account.closed.v1", "{}").unwrap(), AccountEvent::Closed(Closed {}));
    for (event_type, payload, kind) in [
        ("account.deposited.v3", "{}", ErrorKind::Misconfigured),
        ("account.renamed.v1", "{}", ErrorKind::Misconfigured),
        ("account.deposited.v2", "{}", ErrorKind::Invalid),
        ("account.deposited.v1", "{}", ErrorKind::Invalid),
        ("account.closed.v01", "{}", ErrorKind::Invalid),
    ] {
        let error = decode(event_type, payload).unwrap_err();
        assert_eq!(error.kind, kind, "{event_type} {payload}: {error}");
    }
    let unknown = decode("account.renamed.v1", "{}").unwrap_err();
    assert!(unknown.to_string().contains("account.renamed.v1"), "{unknown}");
}

#[test]
fn a_decision_follows_from_the_events() {
    let state = given::<Account>([deposited(1)]).when(Command::Deposit(vec![2])).then(&[deposited(2)]);
    assert_eq!(state.cents, 3);
    let closed = given::<Account>([AccountEvent::Closed(Closed {})]);
    let error = closed.when(Command::Close).then_error(ErrorKind::Conflict);
    assert!(error.to_string().contains("closed"), "{error}");
}

/// Returns the text of the panic of `assertion`.
fn panic_text<T>(assertion: impl FnOnce() -> T) -> String {
    *catch_unwind(AssertUnwindSafe(assertion)).err().unwrap().downcast().unwrap()
}

#[test]
fn a_failed_assertion_names_the_difference() {
    let deposit = || given::<Account>([]).when(Command::Deposit(vec![1, 2]));
    let text = panic_text(|| deposit().then(&[deposited(1), deposited(3), deposited(4)]));
    let [one, two, three, four] = [1, 2, 3, 4].map(deposited);
    let expected = format!("  = {one:?}\n  - {three:?}\n  + {two:?}\n  - {four:?}");
    assert!(text.ends_with(&expected), "{text}");
    let text = panic_text(|| deposit().then_error(ErrorKind::Conflict));
    assert!(text.contains("was not refused") && text.contains("cents: 1"), "{text}");
    let refused = || given::<Account>([AccountEvent::Closed(Closed {})]).when(Command::Close);
    let text = panic_text(|| refused().then(&[]));
    assert!(text.contains("refused: conflict: the account is closed"), "{text}");
    let text = panic_text(|| refused().then_error(ErrorKind::Invalid));
    assert!(text.contains("the account is closed"), "{text}");
}

/// An event set without its second variant in `decode`.
#[derive(Debug, PartialEq)]
struct Forgotten;

impl EventSet for Forgotten {
    fn message(&self, source: &EventSource) -> Result<Message, Error> {
        source.message(&Closed {})
    }

    fn decode(message: &Message) -> Result<Self, Error> {
        one_of(message).versions(&DEPOSITED, |_| Self).decode()
    }
}

#[derive(Default)]
struct Forgetful;

impl Aggregate for Forgetful {
    const CATEGORY: &'static str = "forgetful";
    type Command = ();
    type Event = Forgotten;
    fn decide(&self, (): ()) -> Result<Vec<Forgotten>, Error> {
        Ok(vec![Forgotten])
    }
    fn evolve(&mut self, _: &Forgotten) {}
}

#[test]
fn an_event_that_cannot_be_read_back_fails_the_assertion() {
    let text = panic_text(|| given::<Forgetful>([]).when(()).then(&[Forgotten]));
    assert!(text.contains("account.closed.v1"), "{text}");
    let text = panic_text(|| given::<Forgetful>([Forgotten]));
    assert!(text.contains("account.closed.v1"), "{text}");
}
