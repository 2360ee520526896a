//! What a builder refuses.

use std::time::Duration;

use super::data::{Order, Step, Undid, result, steady, step, undoable};
use crate::{
    ErrorKind,
    saga::{Definition, DefinitionBuilder, SetupError},
};

fn saga() -> DefinitionBuilder<Order> {
    Definition::builder("order", 1)
}

fn a() -> Step {
    step::<'P'>("a")
}

fn refused(builder: DefinitionBuilder<Order>) -> SetupError {
    builder.build().unwrap_err()
}

#[test]
fn a_faulty_definition_is_refused() {
    let name = || "a".to_owned();
    assert_eq!(refused(Definition::builder("order", 0).step(a())), SetupError::VersionZero);
    for text in ["", "a b", "a/b", "ä"] {
        assert_eq!(refused(Definition::builder(text, 1).step(a())), SetupError::Name(text.into()));
        assert_eq!(refused(saga().step(step::<'P'>(text))), SetupError::Name(text.into()));
    }
    let start = |saga: DefinitionBuilder<Order>| saga.start::<Undid<'P'>>(|_| Order::default());
    let twice = refused(start(start(saga())).step(a()));
    assert_eq!(twice, SetupError::TwoStarts("payment.undid", "payment.undid"));
    assert_eq!(refused(saga()), SetupError::NoStep);
    assert_eq!(refused(saga().step(a()).parallel([])), SetupError::NoStep);
    assert_eq!(refused(saga().step(a()).step(a())), SetupError::DuplicateStep(name()));
    assert_eq!(refused(saga().step(a().time_limit(Duration::ZERO))), SetupError::NoTimeLimit(name()));
    assert_eq!(refused(saga().step(a().attempts(0, steady()))), SetupError::NoAttempts(name()));
    assert_eq!(refused(saga().step(Step::observe("a"))), SetupError::NoReply(name()));
    let reply = a().compensated_by::<Undid<'P'>>(|_, undid| result(undid.1));
    assert_eq!(refused(saga().step(reply)), SetupError::NoCompensation(name()));
    assert_eq!(
        refused(saga().step(a()).correlate::<Undid<'X'>>(|_| String::new())),
        SetupError::UnusedEvent("other.undid")
    );
}

#[test]
fn a_faulty_pivot_is_refused() {
    let b = || step::<'I'>("b");
    let [a_name, b_name] = ["a", "b"].map(str::to_owned);
    let two = saga().step(a().pivot()).step(b().pivot());
    assert_eq!(refused(two), SetupError::TwoPivots(a_name.clone(), b_name.clone()));
    assert_eq!(refused(saga().parallel([a().pivot(), b()])), SetupError::ParallelPivot(a_name.clone()));
    let later = saga().step(a().pivot()).step(undoable::<'I'>("b"));
    assert_eq!(refused(later), SetupError::CompensationAfterPivot(b_name));
    let observed =
        Step::observe("a").reply::<Undid<'P'>>(|_, _| result(true)).time_limit(Duration::from_secs(1));
    assert_eq!(refused(saga().step(observed.pivot())), SetupError::ObservedPivot(a_name));
}

#[test]
fn a_setup_error_is_invalid() {
    let error = crate::Error::from(refused(saga()));
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert_eq!(error.to_string(), "invalid: a saga and a parallel stage need at least one step");
}
