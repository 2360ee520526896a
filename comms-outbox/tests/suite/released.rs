//! Released messages of a destination that is refused stop none of another destination.

use std::{collections::HashMap, sync::Arc, sync::Mutex, time::Duration};

use comms_core::{Error, Message};

use super::{
    Backend,
    gate::{Accepted, Gate},
    message_to, run, send, until,
};

type Refusals = Arc<Mutex<HashMap<&'static str, fn() -> Error>>>;

/// A gate that refuses destinations by a table.
fn gate(accepted: &Accepted) -> (Arc<Gate>, Refusals) {
    let (gate, refusals) = (Gate::new(accepted, Duration::ZERO), Refusals::default());
    let table = refusals.clone();
    gate.judge(move |message: &Message| table.lock().unwrap().get(&*message.topic).map(|error| error()));
    (gate, refusals)
}

fn invalid() -> Error {
    Error::invalid("schema unknown")
}

fn missing() -> Error {
    Error::misconfigured("topic b does not exist")
}

/// Four keys of `b` are parked and one of `a`, behind them.
async fn park<B: Backend>(backend: &B, refusals: &Refusals) {
    refusals.lock().unwrap().extend([("a", invalid as fn() -> Error), ("b", invalid)]);
    let rows: Vec<_> = (0..4).map(|n| message_to("b", "k", &n.to_string())).collect();
    send(backend, &rows).await;
    send(backend, &[message_to("a", "k", "0")]).await;
    until("all are parked", async || backend.parked().await.len() == 5).await;
    refusals.lock().unwrap().clear();
    refusals.lock().unwrap().insert("b", missing);
}

async fn a_comes_and_b_follows<B: Backend>(backend: &B, accepted: &Accepted, refusals: &Refusals) {
    assert_eq!(backend.release(Some("k")).await, 5);
    until("the released message to a comes", async || accepted.to("a") == ["0"]).await;
    assert_eq!(accepted.to("b").len(), 0);
    refusals.lock().unwrap().clear();
    until("b comes", async || backend.parked().await.is_empty()).await;
    assert_eq!(accepted.first_by_lane()[&("b".to_owned(), "k".to_owned())][..4], ["0", "1", "2", "3"]);
}

/// More released messages than a page has, to a destination that is held.
pub async fn released_messages_of_a_held_destination_stop_no_other<B: Backend>() {
    let (backend, accepted) = (B::start().await, Accepted::default());
    let (gate, refusals) = gate(&accepted);
    let relay = run(backend.relay(gate.clone()).page(2));
    park(&backend, &refusals).await;
    send(&backend, &[message_to("b", "other", "4")]).await;
    until("b is held", async || !backend.branches().await.is_empty()).await;
    a_comes_and_b_follows(&backend, &accepted, &refusals).await;
    relay.stop().await;
}

/// The same where the relay learns only from the released messages that the destination is refused.
pub async fn released_messages_that_are_refused_stop_no_other_destination<B: Backend>() {
    let (backend, accepted) = (B::start().await, Accepted::default());
    let (gate, refusals) = gate(&accepted);
    let relay = run(backend.relay(gate.clone()).page(2));
    park(&backend, &refusals).await;
    a_comes_and_b_follows(&backend, &accepted, &refusals).await;
    relay.stop().await;
}
