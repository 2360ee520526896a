//! FTGO: the sagas that create, cancel and revise an order.
//!
//! The authorization of the card is the pivot: FTGO has no steps after it that may fail. Its first step has only a
//! compensation. Here a step observes the event that the order is created.

use comms_core::{
    event,
    event::EventSource,
    saga::{Definition, Effect, Input, Phase},
};

use crate::{
    participants::{Answered, Data, RUN, Request, observed, step, undoable},
    table::{Row, check, explore},
};

fn create_order() -> Definition<Data> {
    Definition::builder("create-order", 1)
        .step(undoable(observed("order"), "order"))
        .step(step("consumer"))
        .step(undoable(step("ticket"), "ticket"))
        .step(step("card").pivot())
        .step(step("confirm-ticket"))
        .step(step("approve-order"))
        .build()
        .unwrap()
}

#[test]
fn the_saga_that_creates_an_order() {
    let rows = [
        Row::completed(
            "the ticket and the order are confirmed after the card is authorized",
            &[
                ("order done", "execute consumer"),
                ("consumer done", "execute ticket"),
                ("ticket done", "execute card"),
                ("card done", "execute confirm-ticket"),
                ("confirm-ticket done", "execute approve-order"),
                ("approve-order done", ""),
            ],
        ),
        Row::failed(
            "a consumer that may not order rejects the order",
            "consumer",
            &[
                ("order done", "execute consumer"),
                ("consumer failed", "compensate order"),
                ("order undone", ""),
            ],
        ),
        Row::failed(
            "a refused card cancels the ticket, and then rejects the order",
            "card",
            &[
                ("order done", "execute consumer"),
                ("consumer done", "execute ticket"),
                ("ticket done", "execute card"),
                ("card failed", "compensate ticket"),
                ("ticket undone", "compensate order"),
                ("order undone", ""),
            ],
        ),
        // FTGO waits for ever.
        Row::at(
            "a card without an answer is held with an alarm, and a late refusal compensates",
            "compensating ticket",
            Phase::Compensating,
            &[
                ("order done", "execute consumer"),
                ("consumer done", "execute ticket"),
                ("ticket done", "execute card"),
                ("cancel", "refused"),
                ("timer card/execute/1/limit", ""),
                ("timer card/execute/1/retry", "execute card"),
                ("timer card/execute/2/limit", ""),
                ("card failed", "compensate ticket"),
            ],
        )
        .because("card")
        .alarms(&["card"]),
        // FTGO would reject an order whose card is authorized.
        Row::at(
            "a refused confirmation is retried and then held, and compensates nothing",
            "approve-order",
            Phase::Running,
            &[
                ("order done", "execute consumer"),
                ("consumer done", "execute ticket"),
                ("ticket done", "execute card"),
                ("card done", "execute confirm-ticket"),
                ("confirm-ticket failed", ""),
                ("timer confirm-ticket/execute/1/retry", "execute confirm-ticket"),
                ("confirm-ticket failed", ""),
                ("force confirm-ticket failed", "refused"),
                ("retry", "execute confirm-ticket"),
                ("confirm-ticket done", "execute approve-order"),
            ],
        )
        .alarms(&["confirm-ticket"]),
    ];
    check(&create_order(), "", &rows);
    let explored = explore(&create_order());
    assert!(explored.completed > 0 && explored.failed > 0 && explored.held > 0, "{explored:?}");
}

/// The sagas that cancel and revise an order have the same steps: both services begin the change, the authorization
/// changes, and both services confirm.
fn change_order() -> Definition<Data> {
    Definition::builder("change-order", 1)
        .step(undoable(step("begin-order"), "begin-order"))
        .step(undoable(step("begin-ticket"), "begin-ticket"))
        .step(step("card").pivot())
        .step(step("confirm-ticket"))
        .step(step("confirm-order"))
        .build()
        .unwrap()
}

#[test]
fn the_sagas_that_cancel_and_revise_an_order() {
    let rows = [
        Row::completed(
            "both services begin the change, and confirm after the authorization",
            &[
                ("begin-order done", "execute begin-ticket"),
                ("begin-ticket done", "execute card"),
                ("card done", "execute confirm-ticket"),
                ("confirm-ticket done", "execute confirm-order"),
                ("confirm-order done", ""),
            ],
        ),
        Row::failed(
            "a kitchen that has begun to cook refuses, and the order keeps its state",
            "begin-ticket",
            &[
                ("begin-order done", "execute begin-ticket"),
                ("begin-ticket failed", "compensate begin-order"),
                ("begin-order undone", ""),
            ],
        ),
        Row::failed(
            "a kitchen without an answer may have begun, so its part is undone first",
            "begin-ticket",
            &[
                ("begin-order done", "execute begin-ticket"),
                ("timer begin-ticket/execute/1/limit", ""),
                ("timer begin-ticket/execute/1/retry", "execute begin-ticket"),
                ("timer begin-ticket/execute/2/limit", "compensate begin-ticket"),
                ("begin-ticket done", "ignored"),
                ("begin-ticket undone", "compensate begin-order"),
                ("begin-order undone", ""),
            ],
        ),
        Row::failed(
            "a refused authorization undoes the ticket, and then the order",
            "card",
            &[
                ("begin-order done", "execute begin-ticket"),
                ("begin-ticket done", "execute card"),
                ("card failed", "compensate begin-ticket"),
                ("begin-ticket undone", "compensate begin-order"),
                ("begin-order undone", ""),
            ],
        ),
    ];
    check(&change_order(), "execute begin-order", &rows);
    assert!(explore(&change_order()).held > 0);
}

#[test]
fn a_command_contains_what_an_earlier_reply_returned() {
    use comms_core::{clock::Clock, saga::Action};
    let (definition, peers) = (change_order(), EventSource::new("peers", Clock::system()));
    let started = definition.start(RUN, Data::default()).unwrap();
    let revised =
        Answered { value: Some("61.70".into()), ..Answered::new("begin-order", Action::Execute, true) };
    let revised = peers.message(&revised).unwrap();
    let transition = definition.transition(&started.instance, &Input::Message(&revised)).unwrap();
    let command = transition.effects.iter().find_map(|effect| match effect {
        Effect::Send(command) => Some(command),
        _ => None,
    });
    let request = event::read::<Request>(&command.unwrap().message(&peers)).unwrap().unwrap();
    assert_eq!(request.data.get("begin-order").map(String::as_str), Some("61.70"));
}
