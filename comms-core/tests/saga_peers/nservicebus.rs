//! NServiceBus: a shipping policy, late time-outs, and messages without a saga.
//!
//! A time-out of NServiceBus is a message that a saga may also be started by. Here a timer is an input of its own and
//! needs an instance, so no timer can start a run. An NServiceBus saga is deleted when it is completed, and a message
//! that may start it then starts another one. Here the instance stays, and its id is not used again.

use comms_core::{
    clock::Clock,
    event::EventSource,
    saga::{Action, Definition, Effect, Input, Phase, TimerId},
};

use crate::{
    participants::{Answered, Data, RUN, Request, observed, step},
    table::{Row, check, explore},
};

/// An order is shipped when it is placed and billed.
fn shipping() -> Definition<Data> {
    Definition::builder("shipping-policy", 1)
        .start::<Request>(|placed| placed.data.clone())
        .parallel(["placed", "billed"].map(observed))
        .step(step("ship"))
        .build()
        .unwrap()
}

#[test]
fn the_shipping_policy() {
    let rows = [
        Row::completed(
            "an order is shipped once, when both events have come in any order",
            &[
                ("billed done", ""),
                ("placed done", "execute ship"),
                ("billed done", "ignored"),
                ("ship done", ""),
            ],
        ),
        Row::completed(
            "a time-out that comes after the completion changes nothing",
            &[
                ("placed done", ""),
                ("billed done", "execute ship"),
                ("ship done", ""),
                ("timer ship/execute/1/limit", "ignored"),
                ("timer placed/execute/1/limit", "ignored"),
                ("ship done", "ignored"),
                ("cancel", "refused"),
            ],
        ),
        Row::failed(
            "of two time-outs that fire together, each counts once",
            "placed",
            &[
                ("timer placed/execute/1/limit", ""),
                ("timer billed/execute/1/limit", ""),
                ("timer placed/execute/1/limit", "ignored"),
                ("timer billed/execute/1/limit", "ignored"),
            ],
        ),
        Row::at(
            "the time-out of a former attempt does not end the present one",
            "ship",
            Phase::Running,
            &[
                ("placed done", ""),
                ("billed done", "execute ship"),
                ("timer ship/execute/1/limit", ""),
                ("timer ship/execute/1/limit", "ignored"),
                ("timer ship/execute/1/retry", "execute ship"),
                ("timer ship/execute/1/limit", "ignored"),
                ("timer ship/execute/1/retry", "ignored"),
                ("timer ship/execute/9/limit", "ignored"),
                ("timer unknown/execute/1/limit", "ignored"),
            ],
        ),
        Row::at(
            "an event that comes after the time-out of its own step counts while the run waits",
            "placed + billed",
            Phase::Compensating,
            &[("timer placed/execute/1/limit", ""), ("placed done", "")],
        )
        .because("placed"),
    ];
    check(&shipping(), "", &rows);
    assert!(explore(&shipping()).completed > 0);
}

#[test]
fn only_the_start_event_starts_a_run() {
    let (definition, peers) = (shipping(), EventSource::new("peers", Clock::system()));
    let billed = peers.message(&Answered::new("billed", Action::Execute, true)).unwrap();
    assert_eq!(definition.start_on(&billed).unwrap(), None);
    assert_eq!(definition.correlate(&billed).unwrap().as_deref(), Some(RUN), "the coordinator can report it");
    let placed = peers.message(&Request { run: RUN.into(), data: Data::default() }).unwrap();
    let started = definition.start_on(&placed).unwrap().unwrap();
    assert!(!definition.transition(&started.instance, &Input::Message(&placed)).unwrap().changed);
}

/// Two copies of the start event that are handled at the same time send the same messages, of which inboxes discard one.
/// For the same reason an id is not used for a second run.
#[test]
fn a_run_that_is_started_twice_sends_the_same_commands() {
    let definition = Definition::<Data>::builder("shipping", 1).step(step("ship")).build().unwrap();
    let start = || definition.start(RUN, Data::default()).unwrap();
    let [Effect::Send(command), Effect::SetTimer(timer, _)] = &start().effects[..] else { panic!() };
    assert_eq!(command.id, "shipping/7/ship/execute/1");
    assert_eq!(*timer, TimerId::from("ship/execute/1/limit".to_owned()));
    assert_eq!(start(), start());
}
