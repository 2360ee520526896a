//! Idempotency keys.
#![cfg(feature = "fingerprint")]

use serde::de::DeserializeOwned;
use tower::{Service, ServiceBuilder, ServiceExt};

use super::*;
use crate::{ErrorKind, context::Context, testing::CommitFaults};

type Sent = CommandRequest<Add>;

fn service(
    counters: &Counters,
) -> IdempotentCommandFn<
    FaultyUnit<MemoryUnit>,
    impl Fn(Sent, Scoped<MemoryTx>) -> CommandFuture<u64> + Clone + use<>,
> {
    let run = counters.clone();
    let function = move |request, tx| -> CommandFuture<u64> { Box::pin(run.clone().add(request, tx)) };
    command_fn(counters.unit.clone(), function).idempotent("add")
}

fn keyed(caller: Caller, by: u64, key: &str) -> Sent {
    CommandRequest::new(caller, Add { by }).with_idempotency_key(key).unwrap()
}

#[tokio::test]
async fn a_repetition_gets_the_reply_of_the_first_request() {
    let counters = Counters::new();
    let service = service(&counters);
    for _ in 0..3 {
        assert_eq!(service.clone().oneshot(keyed(user("ann"), 1, "k")).await.unwrap(), 1);
    }
    assert_eq!(service.clone().oneshot(keyed(user("ann"), 1, "other")).await.unwrap(), 2);
    assert_eq!((counters.calls(), counters.value().await), (2, 2));
    let context = Context::default().with_idempotency_key("k").unwrap();
    assert_eq!(service.clone().oneshot(add(1).with_key_of(&context)).await.unwrap(), 1);
    let error = service.oneshot(keyed(user("ann"), 2, "k")).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert!(error.to_string().contains("used for another request"), "{error}");
    assert_eq!(counters.calls(), 2);
}

#[tokio::test]
async fn a_key_belongs_to_one_caller_and_one_operation() {
    let counters = Counters::new();
    let run = counters.clone();
    let other = command_fn(counters.unit.clone(), move |request, tx| run.clone().add(request, tx));
    let (service, other) = (service(&counters), other.idempotent("add-twice"));
    for (n, caller) in
        [user("ann"), user("bob"), Caller::new(AuthType::ServiceAccount, "ann")].into_iter().enumerate()
    {
        let value = service.clone().oneshot(keyed(caller, 1, "k")).await.unwrap();
        assert_eq!(value, n as u64 + 1, "no reply of another caller");
    }
    assert_eq!(other.oneshot(keyed(user("ann"), 1, "k")).await.unwrap(), 4);
}

#[tokio::test]
async fn a_missing_key_an_invalid_key_and_a_key_without_a_caller_are_refused() {
    let counters = Counters::new();
    let service = service(&counters);
    let refused = async |request| {
        let error = service.clone().oneshot(request).await.unwrap_err();
        (error.kind, error.public_text().unwrap())
    };
    assert_eq!(refused(add(1)).await, (ErrorKind::Invalid, "add needs an idempotency key".to_owned()));
    for key in ["", "  ", "käse", &"x".repeat(256)] {
        assert_eq!(add(1).with_idempotency_key(key).unwrap_err().kind, ErrorKind::Invalid);
        let request = CommandRequest { idempotency_key: Some(key.into()), ..add(1) };
        assert_eq!(refused(request).await.0, ErrorKind::Invalid, "{key:?}");
    }
    for caller in [Caller::anonymous(), user("")] {
        assert_eq!(refused(keyed(caller, 1, "k")).await.0, ErrorKind::Unauthenticated);
    }
    assert_eq!(counters.calls(), 0);
    let optional = service.clone().optional_key();
    for value in [1, 2] {
        assert_eq!(optional.clone().oneshot(add(1)).await.unwrap(), value);
    }
    assert_eq!(optional.clone().oneshot(keyed(user("ann"), 1, "k")).await.unwrap(), 3);
    assert_eq!(optional.oneshot(keyed(user("ann"), 1, "k")).await.unwrap(), 3);
}

/// The commit happens, and its answer is lost: the layers do not execute the command again, and the client does.
#[tokio::test]
async fn a_lost_answer_has_no_second_effect() {
    let counters = Counters::new();
    let service =
        ServiceBuilder::new().layer(retry_conflicts("add", &Clock::system())).service(service(&counters));
    counters.unit.lose_next_answer(Error::indeterminate("the connection was closed"));
    let lost = service.clone().oneshot(keyed(user("ann"), 1, "k")).await.unwrap_err();
    assert_eq!((lost.kind, counters.calls()), (ErrorKind::Indeterminate, 1));
    assert_eq!(service.oneshot(keyed(user("ann"), 1, "k")).await.unwrap(), 1);
    assert_eq!((counters.calls(), counters.value().await), (1, 1));
}

#[tokio::test]
async fn effect_and_reply_commit_together_or_not_at_all() {
    let counters = Counters::new();
    let service =
        ServiceBuilder::new().layer(retry_conflicts("add", &Clock::system())).service(service(&counters));
    counters.unit.fail_next_commit(Error::not_executed("the connection was closed"));
    let failed = service.clone().oneshot(keyed(user("ann"), 1, "k")).await;
    assert_eq!((failed.unwrap_err().kind, counters.value().await), (ErrorKind::NotExecuted, 0));
    // The conflict takes the admission of the key back as well.
    counters.unit.fail_next_commit(Error::conflict("a deadlock"));
    assert_eq!(service.oneshot(keyed(user("ann"), 1, "k")).await.unwrap(), 1);
    assert_eq!((counters.calls(), counters.value().await), (3, 1));
}

#[tokio::test]
async fn a_refused_command_stores_no_reply() {
    let counters = Counters::new();
    let run = counters.clone();
    let service = command_fn(counters.unit.clone(), move |request: Sent, tx| {
        let run = run.clone();
        async move {
            let value = run.add(request, tx).await?;
            if value < 3 { Err(Error::not_found("no such account")) } else { Ok(value) }
        }
    })
    .idempotent("add");
    assert!(service.clone().oneshot(keyed(user("ann"), 1, "k")).await.is_err());
    counters.repository.run("1", 2).await.unwrap();
    assert_eq!(service.oneshot(keyed(user("ann"), 1, "k")).await.unwrap(), 3);
}

#[tokio::test]
async fn equal_requests_at_the_same_time_have_one_effect() {
    let counters = Counters::new();
    let service = service(&counters);
    let tasks: Vec<_> =
        (0..10).map(|_| tokio::spawn(service.clone().oneshot(keyed(user("ann"), 1, "k")))).collect();
    for task in tasks {
        assert_eq!(task.await.unwrap().unwrap(), 1);
    }
    assert_eq!((counters.calls(), counters.value().await), (1, 1));
}

/// The right of the caller was withdrawn between the two requests.
#[tokio::test]
async fn a_stored_reply_is_for_callers_with_the_right() {
    let counters = Counters::new();
    let service = ServiceBuilder::new()
        .layer(authorize(|caller: &Caller, _: &Add| caller.has_scope("add")))
        .service(service(&counters));
    let ann = |scopes: &str| keyed(user("ann").with_scopes(scopes), 1, "k");
    assert_eq!(service.clone().oneshot(ann("add")).await.unwrap(), 1);
    assert_eq!(service.oneshot(ann("")).await.unwrap_err().kind, ErrorKind::PermissionDenied);
}

/// Serialized as a number, read as text.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Odd(u64);

impl<'de> Deserialize<'de> for Odd {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from).map(|_| Self(0))
    }
}

#[tokio::test]
async fn a_reply_that_does_not_decode_is_refused_before_the_commit() {
    async fn send<R>(counters: &Counters, reply: fn(u64) -> R) -> Result<R, Error>
    where
        R: Serialize + DeserializeOwned + Send + 'static,
    {
        let run = counters.clone();
        let mut service = command_fn(counters.unit.clone(), move |request: Sent, tx| {
            let run = run.clone();
            async move { run.add(request, tx).await.map(reply) }
        })
        .idempotent("add");
        service.ready().await?.call(keyed(user("ann"), 1, "k")).await
    }
    let counters = Counters::new();
    let error = send(&counters, Odd).await.unwrap_err();
    assert_eq!((error.kind, counters.value().await), (ErrorKind::Internal, 0), "{}", error.chain());
    // The reply of another program: the effect is not repeated.
    assert_eq!(send(&counters, |value| value).await.unwrap(), 1);
    let error = send(&counters, |value| value.to_string()).await.unwrap_err();
    assert_eq!((error.kind, counters.value().await), (ErrorKind::Internal, 1), "{}", error.chain());
}
