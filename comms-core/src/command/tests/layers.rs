//! Authorization and validation.

use tower::{Service, ServiceBuilder, ServiceExt, limit::ConcurrencyLimitLayer};

use super::*;
use crate::ErrorKind;

fn is_small(command: &Add, errors: &mut FieldErrors) {
    errors.require(command.by > 0, "/by", "must be above 0");
    errors.require(command.by % 10 == 7 || command.by < 100, "/by", "must be below 100, or end in 7");
}

/// The service with both checks, in the documented order.
fn checked(counters: &Counters) -> impl Service<CommandRequest<Add>, Response = u64, Error = Error> + Clone {
    let run = counters.clone();
    ServiceBuilder::new()
        .layer(authorize(|caller: &Caller, command: &Add| caller.has_scope("add") || command.by == 7))
        .layer(validate(is_small))
        .service(command_fn(counters.unit.clone(), move |request, tx| run.clone().add(request, tx)))
}

#[tokio::test]
async fn an_invalid_command_never_reaches_the_handler() {
    let counters = Counters::new();
    let service = ServiceBuilder::new().layer(validate(|command: &Add, errors: &mut FieldErrors| {
        errors.require(command.by > 0, "/by", "must be above 0");
        errors.require(command.by % 2 == 1, "/by", "must be odd");
    }));
    let run = counters.clone();
    let service =
        service.service(command_fn(counters.unit.clone(), move |request, tx| run.clone().add(request, tx)));
    let error = service.clone().oneshot(add(0)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid);
    let fields: Vec<_> = FieldErrors::of(&error).unwrap().iter().cloned().collect();
    assert_eq!(
        fields.iter().map(|field| &*field.detail).collect::<Vec<_>>(),
        ["must be above 0", "must be odd"]
    );
    assert_eq!(error.public_text().unwrap(), "/by must be above 0; /by must be odd");
    assert_eq!(FieldErrors::of(&error.context("add")).unwrap().iter().count(), 2);
    assert_eq!((counters.calls(), counters.value().await), (0, 0));
    assert_eq!(service.oneshot(add(3)).await.unwrap(), 3);
    assert_eq!((counters.calls(), counters.value().await), (1, 3));
}

#[tokio::test]
async fn a_caller_without_the_right_gets_no_other_answer() {
    let counters = Counters::new();
    let service = checked(&counters);
    let send = |caller: Caller, by| service.clone().oneshot(CommandRequest::new(caller, Add { by }));
    for (caller, kind) in [
        (user("bob"), ErrorKind::PermissionDenied),
        (user("bob").with_scopes("address admin"), ErrorKind::PermissionDenied),
        (Caller::anonymous(), ErrorKind::Unauthenticated),
        (user(""), ErrorKind::Unauthenticated),
        (Caller::new(AuthType::Unknown, "bob"), ErrorKind::Unauthenticated),
    ] {
        // The first command is invalid too, which the caller does not learn.
        for by in [0, 1] {
            assert_eq!(send(caller.clone(), by).await.unwrap_err().kind, kind, "{caller:?}");
        }
    }
    assert_eq!(counters.calls(), 0);
    let ann = user("ann").with_scopes("read add");
    assert_eq!(send(ann.clone(), 0).await.unwrap_err().kind, ErrorKind::Invalid);
    assert_eq!(send(ann, 1).await.unwrap(), 1);
    // A rule may permit a command to everybody.
    assert_eq!(send(Caller::anonymous(), 7).await.unwrap(), 8);
}

#[tokio::test]
async fn a_refused_command_releases_the_permit_of_the_inner_service() {
    let counters = Counters::new();
    let run = counters.clone();
    let mut service = ServiceBuilder::new()
        .layer(validate(is_small))
        .layer(ConcurrencyLimitLayer::new(1))
        .service(command_fn(counters.unit.clone(), move |request, tx| run.clone().add(request, tx)));
    let mut other = service.clone();
    let refused = service.ready().await.unwrap().call(add(0)).await;
    assert_eq!(refused.unwrap_err().kind, ErrorKind::Invalid);
    assert_eq!(other.ready().await.unwrap().call(add(1)).await.unwrap(), 1);
}

#[tokio::test]
async fn an_error_of_the_handler_rolls_the_transaction_back() {
    let counters = Counters::new();
    let run = counters.clone();
    let service = command_fn(counters.unit.clone(), move |request: CommandRequest<Add>, tx| {
        let run = run.clone();
        async move {
            run.add(request, tx).await?;
            Err::<(), _>(Error::not_found("no such account"))
        }
    });
    assert_eq!(service.oneshot(add(1)).await.unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!((counters.calls(), counters.value().await), (1, 0));
}

#[tokio::test]
async fn the_events_of_a_command_name_its_caller() {
    use crate::event_sourcing::{Audit, EventStore, Read};
    let counters = Counters::new();
    let run = counters.clone();
    let service = command_fn(counters.unit.clone(), move |request, tx| run.clone().add(request, tx));
    service.oneshot(add(1)).await.unwrap();
    let mut tx = counters.unit.begin().await.unwrap();
    let stream = counters.repository.stream("1");
    let events = counters.unit.read(&mut tx, &stream, Read::default()).await.unwrap();
    assert_eq!(Audit::of(&events[0].message), Some(user("ann").audit()));
}

#[cfg(feature = "jwt")]
#[test]
fn a_token_names_the_caller_and_its_scopes() {
    let claims =
        serde_json::json!({ "sub": "ann", "iss": "i", "aud": "a", "exp": 1, "scope": ["add", "read"] });
    let caller = Caller::of_claims(AuthType::AppUser, &serde_json::from_value(claims).unwrap());
    assert_eq!(caller, user("ann").with_scopes("add read"));
    assert!(caller.has_scope("read") && !caller.has_scope("rea"));
}
