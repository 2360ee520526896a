//! Stages, replies, attempts and identities.

use std::time::Duration;

use super::data::{
    Did, ID, Order, Placed, Step, did, order, parallel, result, steady, step, undid, undoable,
};
use crate::{
    ErrorKind, Message, MessageParts,
    clock::Clock,
    event::{self, EventSource, Versions},
    saga::{Definition, Effect, Input, Phase, Reply, StepStatus, TimerId},
    testing::SagaTest,
};

fn peers() -> EventSource {
    EventSource::new("peers", Clock::system())
}

#[test]
fn the_stages_run_in_order() {
    let mut saga = SagaTest::start(&order(), ID, Order::default());
    saga.assert_sent(&["execute payment"]).assert_state("PaymentProcessing");
    saga.event(&did::<'P'>(true)).assert_sent(&["execute inventory"]).assert_state("PaymentProcessing");
    assert_eq!(saga.instance().data.payment.as_deref(), Some(ID), "the reply is stored in the data");
    saga.event(&did::<'I'>(true)).assert_sent(&["execute shipping"]).assert_state("ShippingProcessing");
    saga.event(&did::<'S'>(true)).assert_sent(&[]).assert_state("Completed").assert_phase(Phase::Completed);
    assert_eq!(saga.effects(), [Effect::CancelTimer(TimerId::from("shipping/execute/1/limit".to_owned()))]);
}

#[test]
fn the_steps_of_a_parallel_stage_run_together() {
    let mut saga = SagaTest::start(&parallel(), ID, Order::default());
    saga.assert_sent(&["execute payment", "execute inventory"]).assert_state("PaymentProcessing + inventory");
    saga.event(&did::<'I'>(true)).assert_sent(&[]).assert_phase(Phase::Running);
    saga.event(&did::<'P'>(true)).assert_sent(&["execute shipping"]).assert_state("shipping");
}

#[test]
fn the_command_and_its_time_limit_are_effects() {
    let started = order().start(ID, Order::default()).unwrap();
    let [Effect::Send(command), Effect::SetTimer(timer, after)] = &started.effects[..] else {
        panic!("{:?}", started.effects)
    };
    assert_eq!((command.id.as_str(), command.attempt), ("order/7/payment/execute/1", 1));
    assert_eq!((timer.as_str(), *after), ("payment/execute/1/limit", Duration::from_secs(1)));
    let message = command.message(&EventSource::new("order-service", Clock::system()));
    assert_eq!(
        (message.source(), message.topic(), message.key()),
        ("order-service", "payment.commands", Some(&b"7"[..]))
    );
    assert_eq!(event::read::<super::data::Do<'P'>>(&message).unwrap().unwrap().0, ID);
    assert_eq!(message.headers().text("idempotency-key"), Some("order/7/payment/execute"));
}

#[test]
fn an_attempt_without_a_reply_is_followed_by_another_with_the_same_idempotency_key() {
    let mut saga = SagaTest::start(&order(), ID, Order::default());
    saga.timer("payment/execute/1/limit").assert_sent(&[]).assert_phase(Phase::Running);
    let retry = TimerId::from("payment/execute/1/retry".to_owned());
    assert_eq!(saga.effects(), [Effect::SetTimer(retry, Duration::from_secs(10))]);
    saga.timer("payment/execute/1/limit").assert_unchanged();
    saga.timer("payment/execute/1/retry").assert_sent(&["execute payment"]);
    let [Effect::Send(second), Effect::SetTimer(..)] = saga.effects() else { panic!("{:?}", saga.effects()) };
    assert_eq!((second.attempt, second.id.as_str()), (2, "order/7/payment/execute/2"));
    assert_eq!(second.idempotency_key, "order/7/payment/execute");
    saga.timer("payment/execute/1/retry").assert_unchanged();
}

#[test]
fn a_reply_during_the_backoff_counts() {
    let mut saga = SagaTest::start(&order(), ID, Order::default());
    saga.timer("payment/execute/1/limit").event(&did::<'P'>(true)).assert_sent(&["execute inventory"]);
    assert!(
        saga.effects().contains(&Effect::CancelTimer(TimerId::from("payment/execute/1/retry".to_owned())))
    );
}

#[test]
fn jitter_differs_between_runs_and_repeats_with_the_transition() {
    let step = step::<'P'>("payment").attempts(2, crate::resilience::Backoff::default());
    let definition = Definition::builder("order", 1).step(step).build().unwrap();
    let timer = Input::Timer(TimerId::from("payment/execute/1/limit".to_owned()));
    let wait = |id: String| {
        let started = definition.start(id, Order::default()).unwrap();
        match definition.transition(&started.instance, &timer).unwrap().effects[..] {
            [Effect::SetTimer(_, wait)] => wait.as_millis(),
            ref other => panic!("{other:?}"),
        }
    };
    let waits: std::collections::BTreeSet<_> = (0..100).map(|run| wait(run.to_string())).collect();
    assert!(waits.len() > 50 && waits.iter().all(|wait| (800..=1_200).contains(wait)), "{waits:?}");
    assert_eq!(wait("1".into()), wait("1".into()));
}

#[test]
fn repeated_foreign_and_early_messages_change_nothing() {
    let mut saga = SagaTest::start(&order(), ID, Order::default());
    saga.event(&did::<'I'>(true)).assert_unchanged();
    saga.event(&did::<'X'>(true)).assert_unchanged();
    saga.event(&Did::<'P'>("8".into(), true)).assert_unchanged();
    saga.event(&Placed { order: ID.into() }).assert_unchanged();
    saga.event(&undid::<'P'>(true)).assert_unchanged();
    saga.event(&did::<'P'>(true)).event(&did::<'P'>(true)).assert_unchanged();
    saga.event(&did::<'P'>(false)).assert_unchanged();
    saga.event(&did::<'I'>(true)).event(&did::<'S'>(true)).assert_phase(Phase::Completed);
    for _ in 0..2 {
        saga.event(&did::<'S'>(false)).assert_unchanged();
        saga.timer("shipping/execute/1/limit").assert_unchanged();
    }
}

#[test]
fn an_ignored_event_leaves_the_data() {
    let step = Step::command("payment", |saga| super::data::Do::<'P'>(saga.id.clone()))
        .reply::<Did<'P'>>(|order, did| {
            order.payment = Some("pending".into());
            if did.1 { Reply::Done } else { Reply::Ignored }
        })
        .time_limit(Duration::from_secs(1));
    let definition = Definition::builder("order", 1).step(step).build().unwrap();
    let mut saga = SagaTest::start(&definition, ID, Order::default());
    saga.event(&did::<'P'>(false)).assert_unchanged();
    assert_eq!(saga.instance().data.payment, None);
    saga.event(&did::<'P'>(true)).assert_phase(Phase::Completed);
    assert_eq!(saga.instance().data.payment.as_deref(), Some("pending"));
}

/// A tracker of services that follow each other's events.
fn tracker() -> Definition<Order> {
    let observe = |name| Step::observe(name).time_limit(Duration::from_secs(1)).attempts(2, steady());
    Definition::builder("tracker", 1)
        .start::<Placed>(|_| Order::default())
        .step(
            observe("payment")
                .reply::<Did<'P'>>(|_, did| result(did.1))
                .compensate(|saga| super::data::Undo::<'P'>(saga.id.clone())),
        )
        .step(observe("shipping").reply::<Did<'S'>>(|_, did| result(did.1)))
        .build()
        .unwrap()
}

#[test]
fn an_observed_event_counts_before_the_turn_of_its_step() {
    let mut saga = SagaTest::start(&tracker(), ID, Order::default());
    saga.assert_sent(&[]).assert_state("payment");
    saga.event(&did::<'S'>(true)).assert_state("payment");
    saga.event(&did::<'P'>(true)).assert_state("Completed");

    let mut saga = SagaTest::start(&tracker(), ID, Order::default());
    saga.event(&did::<'S'>(false)).assert_phase(Phase::Compensating).assert_sent(&[]);
    saga.event(&did::<'P'>(true)).assert_sent(&["compensate payment"]).assert_state("Failed");
}

#[test]
fn an_observed_step_has_one_attempt() {
    let mut saga = SagaTest::start(&tracker(), ID, Order::default());
    saga.timer("payment/execute/1/limit").assert_sent(&["compensate payment"]).assert_state("Failed");
    assert_eq!(saga.instance().step("payment").unwrap().status, StepStatus::Compensated);
}

#[test]
fn a_run_starts_on_its_event_with_the_key_as_its_id() {
    let (definition, placed) = (order(), peers().message(&Placed { order: ID.into() }).unwrap());
    let started = definition.start_on(&placed).unwrap().unwrap();
    assert_eq!((started.instance.id.as_str(), started.changed), (ID, true));
    assert_eq!(started.instance, definition.start(ID, Order::default()).unwrap().instance);
    assert_eq!(definition.start_on(&peers().message(&did::<'P'>(true)).unwrap()).unwrap(), None);
    assert_eq!(definition.correlate(&placed).unwrap().as_deref(), Some(ID));
    assert_eq!(definition.correlate(&peers().message(&did::<'X'>(true)).unwrap()).unwrap(), None);
    let events: Vec<_> = definition.events().collect();
    assert_eq!(
        events,
        ["order.placed", "payment.did", "payment.undid", "inventory.did", "inventory.undid", "shipping.did"]
    );
}

/// The first step has only a compensation: the service that starts the run has executed it.
#[test]
fn the_event_that_starts_a_run_settles_the_step_that_observes_it() {
    let order = Step::observe("order")
        .reply::<Placed>(
            |_, placed| if placed.order == ID { Reply::Done } else { Reply::Failed("old".into()) },
        )
        .compensate(|saga| super::data::Undo::<'X'>(saga.id.clone()))
        .time_limit(Duration::from_secs(1));
    let definition = Definition::builder("order", 1)
        .start::<Placed>(|_| Order::default())
        .step(order)
        .step(step::<'P'>("payment"))
        .build()
        .unwrap();
    let start = |order: &str| {
        let placed = peers().message(&Placed { order: order.into() }).unwrap();
        definition.start_on(&placed).unwrap().unwrap()
    };
    let started = start(ID);
    let [Effect::Send(command), Effect::SetTimer(timer, _)] = &started.effects[..] else {
        panic!("{:?}", started.effects)
    };
    assert_eq!((command.step.as_str(), timer.as_str()), ("payment", "payment/execute/1/limit"));
    SagaTest::given(&definition, started.instance)
        .event(&Placed { order: ID.into() })
        .assert_unchanged()
        .event(&did::<'P'>(false))
        .assert_sent(&["compensate order"])
        .assert_state("Failed");
    let ended = start("8");
    assert_eq!((ended.instance.phase, &ended.effects[..]), (Phase::Failed, &[][..]));
}

#[test]
fn an_event_is_correlated_and_read_as_the_builder_says() {
    let old = Versions::<Did<'P'>>::json().build().unwrap();
    let definition = Definition::<Order>::builder("order", 1)
        .start::<Placed>(|_| Order::default())
        .versions(old)
        .correlate::<Did<'P'>>(|did| did.0.trim_start_matches("payment-").to_owned())
        .correlate::<Placed>(|placed| format!("order-{}", placed.order))
        .step(undoable::<'P'>("payment"))
        .build()
        .unwrap();
    let placed = peers().message(&Placed { order: ID.into() }).unwrap();
    let started = definition.start_on(&placed).unwrap().unwrap().instance;
    assert_eq!(started.id, "order-7");
    let paid = peers().message(&Did::<'P'>("payment-order-7".into(), true)).unwrap();
    assert_eq!(definition.correlate(&paid).unwrap().as_deref(), Some("order-7"));
    assert_eq!(
        definition.transition(&started, &Input::Message(&paid)).unwrap().instance.phase,
        Phase::Completed
    );
}

#[test]
fn a_message_that_cannot_be_read_is_an_error_of_its_kind() {
    let (definition, paid) = (order(), peers().message(&did::<'P'>(true)).unwrap());
    let started = definition.start(ID, Order::default()).unwrap().instance;
    let kind =
        |message: &Message| definition.transition(&started, &Input::Message(message)).unwrap_err().kind;
    let newer = paid.with_headers(|headers| headers.insert("ce_type", "payment.did.v2"));
    assert_eq!(kind(&newer), ErrorKind::Misconfigured);
    assert_eq!(definition.correlate(&newer).unwrap_err().kind, ErrorKind::Misconfigured);
    let broken = Message::new(MessageParts { payload: Some(b"{"), ..paid.parts() });
    assert_eq!(kind(&broken), ErrorKind::Invalid);
}

#[test]
fn an_id_that_makes_no_idempotency_key_is_refused() {
    let longest = "x".repeat(255 - "order//inventory/compensate".len());
    assert!(order().start(longest.as_str(), Order::default()).is_ok());
    for id in [longest + "x", "x".repeat(300), "ü".into(), "a\nb".into()] {
        let error = order().start(id.as_str(), Order::default()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid);
        assert!(error.to_string().contains("idempotency key"), "{error}");
        let message = peers().message(&Placed { order: id }).unwrap();
        assert_eq!(order().start_on(&message).unwrap_err().kind, ErrorKind::Invalid);
    }
}

/// The number of attempts is reduced while the fourth one runs.
#[test]
fn fewer_attempts_than_have_begun_end_the_step() {
    let definition = |attempts| {
        let mail = step::<'I'>("mail").attempts(attempts, steady());
        Definition::builder("order", 1).step(mail).build().unwrap()
    };
    let mut saga = definition(5).start(ID, Order::default()).unwrap().instance;
    let timer = |name: &str| Input::Timer(TimerId::from(format!("mail/execute/{name}")));
    for name in ["1/limit", "1/retry", "2/limit", "2/retry", "3/limit", "3/retry"] {
        let next = definition(5).transition(&saga, &timer(name)).unwrap();
        assert!(next.changed, "{name}");
        saga = next.instance;
    }
    let ended = definition(3).transition(&saga, &timer("4/limit")).unwrap().instance;
    assert_eq!((ended.phase, ended.steps[0].status), (Phase::Failed, StepStatus::Unknown));
    let waits = definition(5).transition(&saga, &timer("4/limit")).unwrap().instance;
    assert!(waits.steps[0].waiting);
}
