//! Released messages of a refused topic do not delay those of another topic.

use std::{collections::HashMap, sync::Arc, sync::Mutex, time::Duration};

use comms_core::{Error, Message};

use super::{
    Backend,
    gate::{Accepted, Gate},
    message_to, run, send, until,
};

type Refusals = Arc<Mutex<HashMap<&'static str, fn() -> Error>>>;

/// Returns a gate that refuses the topics in a table.
fn gate(accepted: &Accepted) -> (Arc<Gate>, Refusals) {
    let (gate, refusals) = (Gate::new(accepted, Duration::ZERO), Refusals::default());
    let table = refusals.clone();
    gate.judge(move |message: &Message| table.lock().unwrap().get(message.topic()).map(|error| error()));
    (gate, refusals)
}

fn invalid() -> Error {
    Error::invalid("schema unknown")
}

fn missing() -> Error {
    Error::misconfigured("topic b does not exist")
}

/// Parks four messages to `b`, and then one to `a`.
async fn park<B: Backend>(backend: &B, refusals: &Refusals) {
    refusals.lock().unwrap().extend([("a", invalid as fn() -> Error), ("b", invalid)]);
    let rows: Vec<_> = (0..4).map(|n| message_to("b", "k", &n.to_string())).collect();
    send(backend, &rows).await;
    send(backend, &[message_to("a", "k", "0")]).await;
    until("all are parked", async || backend.parked().await.len() == 5).await;
    refusals.lock().unwrap().clear();
    refusals.lock().unwrap().insert("b", missing);
}

async fn release_delivers_a_and_then_b<B: Backend>(backend: &B, accepted: &Accepted, refusals: &Refusals) {
    assert_eq!(backend.release(Some("k")).await, 5);
    until("the released message to a is delivered", async || accepted.to("a") == ["0"]).await;
    assert_eq!(accepted.to("b").len(), 0);
    refusals.lock().unwrap().clear();
    until("b is delivered", async || backend.parked().await.is_empty()).await;
    assert_eq!(accepted.first_by_lane()[&("b".to_owned(), "k".to_owned())][..4], ["0", "1", "2", "3"]);
}

/// There are more released messages to a held topic than a page has rows.
pub async fn released_messages_of_a_held_topic_do_not_delay_other_topics<B: Backend>() {
    let (backend, accepted) = (B::start().await, Accepted::default());
    let (gate, refusals) = gate(&accepted);
    let relay = run(backend.relay(gate.clone()).page(2));
    park(&backend, &refusals).await;
    send(&backend, &[message_to("b", "other", "4")]).await;
    until("b is held", async || !backend.branches().await.is_empty()).await;
    release_delivers_a_and_then_b(&backend, &accepted, &refusals).await;
    relay.stop().await;
}

/// As above, but the relay learns from the released messages that the topic is refused.
pub async fn released_messages_that_are_refused_do_not_delay_other_topics<B: Backend>() {
    let (backend, accepted) = (B::start().await, Accepted::default());
    let (gate, refusals) = gate(&accepted);
    let relay = run(backend.relay(gate.clone()).page(2));
    park(&backend, &refusals).await;
    release_delivers_a_and_then_b(&backend, &accepted, &refusals).await;
    relay.stop().await;
}
