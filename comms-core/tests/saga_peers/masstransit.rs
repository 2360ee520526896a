//! MassTransit: the state machines of Sample-Library, and the order of Sample-ForkJoint.
//!
//! A state machine of MassTransit fails on an event that its state does not expect, unless the event is ignored by name.
//! Here such an event changes nothing. A state machine chooses its next state from the data: a book that is returned in
//! time charges no fine. A definition has no conditional step: the application starts the saga only for a late book.

use comms_core::saga::{Definition, Phase};

use crate::{
    participants::{Data, observed, step, undone_unseen},
    table::{Row, check, explore},
};

/// A composite event: the member has reserved the book and checked it out.
fn thank_you() -> Definition<Data> {
    Definition::builder("thank-you", 1)
        .parallel(["reserved", "checked-out"].map(observed))
        .step(step("letter"))
        .build()
        .unwrap()
}

#[test]
fn a_composite_event() {
    let rows = [
        Row::at(
            "both events in their order",
            "letter",
            Phase::Running,
            &[("reserved done", ""), ("checked-out done", "execute letter")],
        ),
        Row::at(
            "both events out of order",
            "letter",
            Phase::Running,
            &[("checked-out done", ""), ("reserved done", "execute letter")],
        ),
        Row::completed(
            "a repeated event does not count twice, and the composite event happens once",
            &[
                ("reserved done", ""),
                ("reserved done", "ignored"),
                ("checked-out done", "execute letter"),
                ("checked-out done", "ignored"),
                ("letter done", ""),
                ("reserved done", "ignored"),
            ],
        ),
        Row::at(
            "the event of another member does not count",
            "reserved + checked-out",
            Phase::Running,
            &[("reserved done", ""), ("other-run checked-out done", "ignored")],
        ),
        // The state machine waits for ever.
        Row::failed(
            "a run that gets only one of the events ends at its time limit",
            "checked-out",
            &[
                ("reserved done", ""),
                ("timer checked-out/execute/1/limit", ""),
                ("checked-out done", "ignored"),
            ],
        ),
    ];
    check(&thank_you(), "", &rows);
}

/// A reserved book is checked out in time, or the reservation is cancelled.
fn reservation() -> Definition<Data> {
    Definition::builder("reservation", 1)
        .step(undone_unseen(step("book")))
        .step(observed("check-out"))
        .build()
        .unwrap()
}

#[test]
fn a_reservation_with_an_expiry() {
    let rows = [
        Row::failed(
            "a reservation that expires is cancelled",
            "check-out",
            &[
                ("book done", ""),
                ("timer check-out/execute/1/limit", "compensate book"),
                ("check-out done", "ignored"),
            ],
        ),
        Row::completed(
            "an expiry that fires after the check-out changes nothing",
            &[("book done", ""), ("check-out done", ""), ("timer check-out/execute/1/limit", "ignored")],
        ),
        Row::completed(
            "a check-out that comes before the confirmation of the reservation counts",
            &[("check-out done", ""), ("timer check-out/execute/1/limit", "ignored"), ("book done", "")],
        ),
        Row::failed("a book that cannot be reserved needs no cancellation", "book", &[("book failed", "")]),
        // Sample-Library cancels at once. Here the member may be at the desk with the book already.
        Row::failed(
            "a cancelled reservation waits for the check-out that it awaits, until its time limit",
            "cancel",
            &[("book done", ""), ("cancel", ""), ("timer check-out/execute/1/limit", "compensate book")],
        ),
        Row::failed(
            "a reservation that is cancelled earlier does not wait for the check-out",
            "cancel",
            &[("cancel", ""), ("book done", "compensate book")],
        ),
    ];
    check(&reservation(), "execute book", &rows);
    assert!(explore(&reservation()).failed > 0);
}

/// A request with the three results `Completed`, `Faulted` and `TimeoutExpired`, and one attempt.
fn fine() -> Definition<Data> {
    let fine = step("fine").attempts(1, comms_core::resilience::Backoff::default());
    Definition::builder("fine", 1).step(fine).build().unwrap()
}

#[test]
fn a_request() {
    let rows = [
        Row::completed(
            "the time-out of a request that has completed changes nothing",
            &[("fine done", ""), ("timer fine/execute/1/limit", "ignored"), ("fine failed", "ignored")],
        ),
        Row::failed(
            "a request that has faulted",
            "fine",
            &[("fine failed", ""), ("timer fine/execute/1/limit", "ignored")],
        ),
        Row::failed(
            "a response after the time-out changes nothing",
            "fine",
            &[("timer fine/execute/1/limit", ""), ("fine done", "ignored")],
        ),
    ];
    check(&fine(), "execute fine", &rows);
}

/// The lines of an order are prepared together.
fn order() -> Definition<Data> {
    Definition::builder("order", 1)
        .parallel(["burger", "fry", "shake"].map(|name| undone_unseen(step(name))))
        .build()
        .unwrap()
}

#[test]
fn an_order_of_three_lines() {
    let rows = [
        Row::completed(
            "the order completes with its last line, in any order",
            &[("shake done", ""), ("burger done", ""), ("shake done", "ignored"), ("fry done", "")],
        ),
        // The sample keeps the completed lines and reports them with the faulted ones.
        Row::failed(
            "a faulted line waits for the others, which are compensated",
            "fry",
            &[("fry failed", ""), ("shake done", ""), ("burger done", "compensate burger, compensate shake")],
        ),
        Row::failed(
            "an order with only faulted lines",
            "fry",
            &[("fry failed", ""), ("shake failed", ""), ("burger failed", "")],
        ),
    ];
    check(&order(), "execute burger, execute fry, execute shake", &rows);
}
