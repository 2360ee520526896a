//! The stored form of an instance, and the definitions of running instances.

use serde_json::{Value, json};

use super::data::{Do, ID, Order, Placed, did, order, result, step, undoable};
use crate::{
    ErrorKind,
    clock::Clock,
    event::{Event, EventSource},
    saga::{Definition, Definitions, Input, Instance, Phase, SetupError},
    testing::SagaTest,
};

/// The JSON form is read by later versions: add fields, and never change these.
#[test]
fn the_json_form_of_an_instance_is_stable() {
    let mut saga = SagaTest::start(&order(), ID, Order::default());
    saga.event(&did::<'P'>(true)).event(&did::<'I'>(false)).timer("payment/compensate/1/limit");
    let golden = json!({
        "saga": "order", "version": 1, "id": "7", "phase": "compensating", "state": "PaymentCancelled",
        "steps": [
            {"name": "payment", "status": "compensating", "attempts": 1, "compensations": 1, "waiting": true,
             "reason": "no reply within 1s, attempt 1"},
            {"name": "inventory", "status": "failed", "attempts": 1, "compensations": 0, "reason": "refused"},
            {"name": "shipping", "status": "skipped", "attempts": 0, "compensations": 0},
        ],
        "cause": {"step": "inventory", "reason": "refused"},
        "data": {"payment": "7"},
    });
    assert_eq!(serde_json::to_value(saga.instance()).unwrap(), golden);
    assert_eq!(&serde_json::from_value::<Instance<Order>>(golden).unwrap(), saga.instance());
}

#[test]
fn unknown_fields_are_ignored_and_added_fields_may_be_missing() {
    let mut stored = serde_json::to_value(order().start(ID, Order::default()).unwrap().instance).unwrap();
    stored["new"] = json!(1);
    stored["steps"][0]["new"] = json!(1);
    for optional in ["attempts", "compensations"] {
        stored["steps"][1].as_object_mut().unwrap().remove(optional);
    }
    let instance: Instance<Order> = serde_json::from_value(stored).unwrap();
    assert_eq!(instance, order().start(ID, Order::default()).unwrap().instance);
}

#[test]
fn an_instance_of_another_definition_is_refused() {
    let instance = order().start(ID, Order::default()).unwrap().instance;
    let paid = EventSource::new("peers", Clock::system()).message(&did::<'P'>(true)).unwrap();
    let one_step =
        |name, version| Definition::builder(name, version).step(undoable::<'P'>("payment")).build().unwrap();
    for other in [one_step("order", 2), one_step("return", 1), one_step("order", 1)] {
        let error = other.transition(&instance, &Input::Message(&paid)).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Misconfigured, "{other:?}");
    }
}

fn json_instance(definition: &Definition<Order>) -> Instance<Value> {
    let instance = definition.start(ID, Order::default()).unwrap().instance;
    serde_json::from_value(serde_json::to_value(instance).unwrap()).unwrap()
}

#[test]
fn a_run_stays_on_its_version_and_a_new_run_gets_the_newest() {
    let shorter = |version| {
        let start = Definition::builder("order", version).start::<Placed>(|_| Order::default());
        start.step(step::<'P'>("payment")).build().unwrap()
    };
    let definitions = Definitions::new().register(shorter(9)).unwrap();
    let definitions = definitions.register(order()).unwrap().register(shorter(2)).unwrap();
    let peers = EventSource::new("peers", Clock::system());
    let [placed, paid] =
        [peers.message(&Placed { order: ID.into() }).unwrap(), peers.message(&did::<'P'>(true)).unwrap()];
    let started = definitions.start_on("order", &placed).unwrap().unwrap();
    assert_eq!(started.instance.version, 9);
    assert!(definitions.start_on("order", &paid).unwrap().is_none());
    assert!(definitions.start_on("return", &placed).unwrap().is_none());

    let old = definitions.transition(&json_instance(&order()), &Input::Message(&paid)).unwrap();
    assert_eq!(
        (old.instance.version, old.instance.phase, &old.instance.data["payment"]),
        (1, Phase::Running, &json!("7"))
    );
    let new = definitions.transition(&started.instance, &Input::Message(&paid)).unwrap();
    assert_eq!(new.instance.phase, Phase::Completed);

    assert_eq!(
        definitions.correlate(&paid).unwrap().into_iter().collect::<Vec<_>>(),
        [("order", ID.to_owned())]
    );
    assert!(definitions.events().contains("inventory.did"));
    assert_eq!(format!("{definitions:?}"), r#"{"order": [1, 2, 9]}"#);
}

/// The answer of the participant in a second version.
#[derive(serde::Serialize, serde::Deserialize)]
struct NewDid(String, bool);

impl Event for NewDid {
    const TYPE: &'static str = "payment.did";
    const VERSION: u32 = 2;
    fn key(&self) -> String {
        self.0.clone()
    }
}

#[test]
fn a_version_that_cannot_read_a_message_does_not_hide_the_runs_of_another() {
    let reply = crate::saga::Step::<Order>::command("payment", |saga| Do::<'P'>(saga.id.clone()))
        .reply::<NewDid>(|_, did| result(did.1))
        .time_limit(std::time::Duration::from_secs(1));
    let newer = Definition::builder("order", 2).step(reply).build().unwrap();
    let definitions = Definitions::new().register(order()).unwrap().register(newer).unwrap();
    let peers = EventSource::new("peers", Clock::system());
    let run = || vec![("order", ID.to_owned())];
    let [old, new] =
        [peers.message(&did::<'P'>(true)).unwrap(), peers.message(&NewDid(ID.into(), true)).unwrap()];
    for message in [&old, &new] {
        assert_eq!(definitions.correlate(message).unwrap().into_iter().collect::<Vec<_>>(), run());
    }
    let only_old = Definitions::new().register(order()).unwrap();
    assert_eq!(only_old.correlate(&new).unwrap_err().kind, ErrorKind::Misconfigured);
}

/// Otherwise the message would count as handled, and the run of the saga that cannot read it would miss its reply.
#[test]
fn a_saga_that_reads_a_message_does_not_hide_another_that_cannot() {
    let reply = crate::saga::Step::<Order>::observe("payment").reply::<NewDid>(|_, did| result(did.1));
    let reader = Definition::builder("audit", 1).step(reply.time_limit(std::time::Duration::from_secs(1)));
    let definitions =
        Definitions::new().register(order()).unwrap().register(reader.build().unwrap()).unwrap();
    let newer = EventSource::new("peers", Clock::system()).message(&NewDid(ID.into(), true)).unwrap();
    let error = definitions.correlate(&newer).unwrap_err();
    assert_eq!(
        (error.kind, error.to_string().contains("saga order")),
        (ErrorKind::Misconfigured, true),
        "{error}"
    );
}

#[test]
fn each_registered_version_has_a_name_and_a_diagram() {
    let newer = Definition::builder("order", 2)
        .step(
            super::data::Step::observe("delivery")
                .reply::<super::data::Did<'D'>>(|_, did| result(did.1))
                .time_limit(std::time::Duration::from_secs(1)),
        )
        .build()
        .unwrap();
    let expected = [(1, order().mermaid()), (2, newer.mermaid())];
    let definitions = Definitions::new().register(newer).unwrap().register(order()).unwrap();
    assert_eq!(definitions.names().collect::<Vec<_>>(), ["order"]);
    assert_eq!(definitions.diagrams("order").into_iter().collect::<Vec<_>>(), expected);
    assert!(definitions.diagrams("orders").is_empty());
}

#[test]
fn a_definition_is_registered_once_and_a_missing_one_is_reported() {
    let definitions = Definitions::new().register(order()).unwrap();
    let twice = definitions.clone().register(order()).unwrap_err();
    assert_eq!(twice, SetupError::DuplicateDefinition("order".into(), 1));
    let paid = EventSource::new("peers", Clock::system()).message(&did::<'P'>(true)).unwrap();
    let transition = |instance: Instance<Value>| definitions.transition(&instance, &Input::Message(&paid));
    let newer = Instance { version: 2, ..json_instance(&order()) };
    assert_eq!(transition(newer).unwrap_err().kind, ErrorKind::Misconfigured);
    let other = Instance { data: json!([1]), ..json_instance(&order()) };
    assert_eq!(transition(other).unwrap_err().kind, ErrorKind::Misconfigured);
}

#[test]
fn timers_are_those_of_the_registered_version() {
    let definitions = Definitions::new().register(order()).unwrap();
    let mut instance = json_instance(&order());
    let timers = definitions.timers(&instance).unwrap();
    let named: Vec<_> = timers.iter().map(|(timer, wait)| (timer.as_str(), wait.as_secs())).collect();
    assert_eq!(named, [("payment/execute/1/limit", 1)]);
    instance.version = 9;
    assert_eq!(definitions.timers(&instance).unwrap_err().kind, ErrorKind::Misconfigured);
}

/// Only an event of another service can come before its run, and only if an event starts the run.
#[test]
fn only_replies_of_observed_steps_can_come_before_the_start() {
    use super::data::{Did, Step};
    let steps = || {
        let observed = Step::observe("stock").reply::<Did<'I'>>(|_, did| result(did.1));
        let observed = observed.time_limit(std::time::Duration::from_secs(1));
        Definition::builder("order", 1).step(undoable::<'P'>("payment")).step(observed)
    };
    let by_event = steps().start::<Did<'S'>>(|_| Order::default());
    let definitions = Definitions::new().register(by_event.build().unwrap()).unwrap();
    let peers = EventSource::new("peers", Clock::system());
    assert!(definitions.observes("order", &peers.message(&did::<'I'>(true)).unwrap()).unwrap());
    assert!(!definitions.observes("order", &peers.message(&did::<'P'>(true)).unwrap()).unwrap());
    assert!(!definitions.observes("other", &peers.message(&did::<'I'>(true)).unwrap()).unwrap());
    let by_application = Definitions::new().register(steps().build().unwrap()).unwrap();
    assert!(!by_application.observes("order", &peers.message(&did::<'I'>(true)).unwrap()).unwrap());
}

#[test]
fn a_run_of_a_definition_that_is_not_registered_does_not_start() {
    let definitions = Definitions::new().register(order()).unwrap();
    let started = definitions.start(&order(), ID, Order::default()).unwrap();
    assert_eq!(started.instance, json_instance(&order()));
    let other = Definition::builder("order", 2).step(step::<'P'>("payment")).build().unwrap();
    let error = definitions.start(&other, ID, Order::default()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Misconfigured);
}
