//! Commands through their layers.

use comms_core::{
    Error, ErrorKind, Scoped, UnitOfWork,
    clock::Clock,
    command::{Caller, CommandRequest, command_fn, retry_conflicts},
    event_sourcing::{AuthType, EventStore},
    idempotency::Replies,
};
use tower::{Service, ServiceBuilder, ServiceExt};

use super::{Backend, events::counters};

/// Adds the number to the counter of the caller's team, and returns its value.
fn additions<U: EventStore + Replies>(
    unit: U,
) -> impl Service<CommandRequest<u64>, Response = u64, Error = Error, Future: Send> + Clone + Send + use<U> {
    let counters = counters(unit.clone());
    let add = move |request: CommandRequest<u64>, mut tx: Scoped<U::Tx>| {
        let counters = counters.audited(request.caller.audit());
        async move { Ok(counters.execute(&mut tx, "1", request.command).await?.state.0) }
    };
    ServiceBuilder::new()
        .layer(retry_conflicts("add", &Clock::system()))
        .service(command_fn(unit, add).idempotent("add"))
}

/// Eight clients of two users send ten commands each. The clients of a user send the same keys, and repeat a command
/// until they have its reply.
pub async fn concurrent_commands_have_one_effect_for_each_key<B: Backend<Unit: EventStore>>() {
    let backend = B::start().await;
    let service = additions(backend.unit());
    let client = |n: usize| {
        let (service, user) = (service.clone(), ["ann", "bob"][n % 2]);
        tokio::spawn(async move {
            let mut values = Vec::new();
            for key in 0..10 {
                let request = CommandRequest::new(Caller::new(AuthType::AppUser, user), 1);
                let request = request.with_idempotency_key(&key.to_string()).unwrap();
                let value = loop {
                    match service.clone().oneshot(request.clone()).await {
                        Ok(value) => break value,
                        Err(error) => assert_eq!(error.kind, ErrorKind::Conflict, "{}", error.chain()),
                    }
                };
                values.push(value);
            }
            values
        })
    };
    let mut values = Vec::new();
    for task in (0..8).map(client).collect::<Vec<_>>() {
        values.push(task.await.unwrap());
    }
    for (n, of_client) in values.iter().enumerate() {
        assert_eq!(of_client, &values[n % 2], "one reply for each key of a user");
    }
    let mut different = values[..2].concat();
    different.sort_unstable();
    assert_eq!(different, (1..=20).collect::<Vec<_>>(), "one effect for each key of a user");
    let mut tx = backend.unit().begin().await.unwrap();
    assert_eq!(counters(backend.unit()).load(&mut tx, "1").await.unwrap().version, 20);
}
