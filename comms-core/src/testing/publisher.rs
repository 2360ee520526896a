//! The conformance suite of [`Publisher`]: messages are taken in order, each has one result, and their number is
//! bounded.

use std::{collections::VecDeque, future::Future};

use crate::{Error, Message, MessageParts, Publisher, transport::Acks};

use super::{
    Broken,
    check::{Suite, ensure, ensure_eq, unique},
};

/// A publisher under test, and access to the messages that its transport received.
pub trait PublisherFixture: Send + Sync {
    /// The type of the publisher under test.
    type Publisher: Publisher;

    /// Returns a publisher without messages in flight.
    ///
    /// # Errors
    /// Returns the error of the transport. The suite reports every error, whatever its kind.
    fn publisher(&self) -> impl Future<Output = Result<Self::Publisher, Error>> + Send;

    /// Creates the empty topic `name`, if the transport needs topics to be created.
    ///
    /// # Errors
    /// Returns the error of the transport. The suite reports every error, whatever its kind.
    fn topic(&self, name: &str) -> impl Future<Output = Result<(), Error>> + Send;

    /// Returns the messages that have arrived in `topic`. Messages of one key are in the order of their arrival.
    ///
    /// # Errors
    /// Returns the error of the transport. The suite reports every error, whatever its kind.
    fn arrived(&self, topic: &str) -> impl Future<Output = Result<Vec<Message>, Error>> + Send;

    /// Returns how many messages one call of [`enqueue`](Publisher::enqueue) takes if none is in flight.
    ///
    /// The default, `None`, skips the check of the bound; return `None` if the limit of the publisher is not a number
    /// of messages. A publisher that may acknowledge messages while `enqueue` runs must reserve the capacity of the
    /// call before it takes the first message, or one call takes more messages than this bound.
    fn bound(&self) -> Option<usize> {
        None
    }

    /// Returns `message` changed so that the transport refuses it for good, for example because it is too large.
    ///
    /// The default, `None`, skips the check of refusals; return `None` if the transport refuses no message.
    fn refusable(&self, message: Message) -> Option<Message> {
        let _ = message;
        None
    }
}

/// Checks every guarantee.
///
/// # Errors
/// Returns [`Broken`] with every violated guarantee and what was observed.
pub async fn all<F: PublisherFixture>(fixture: &F) -> Result<(), Broken> {
    let mut suite = Suite::new("Publisher");
    suite.check("a key keeps its order if batches are taken in part", key_keeps_its_order(fixture)).await;
    suite.check("each message taken has one result", each_message_has_one_result(fixture)).await;
    suite.check("a refused message affects no other message", refusal_affects_one_message(fixture)).await;
    suite.check("flush waits for every message taken", flush_waits_for_every_message(fixture)).await;
    suite.check("the number of messages in flight is bounded", messages_in_flight_are_bounded(fixture)).await;
    suite
        .check(
            "dropped acknowledgements affect no other caller",
            dropped_acks_affect_no_other_caller(fixture),
        )
        .await;
    suite.finish()
}

/// Checks that each of five keys keeps its order. The check offers 500 messages until all are taken, and awaits the
/// acknowledgements in reverse, because the order is settled when `enqueue` returns.
///
/// # Errors
/// Returns [`Broken`] if a message is not acknowledged, does not arrive, or arrives out of order.
pub async fn key_keeps_its_order<F: PublisherFixture>(fixture: &F) -> Result<(), Broken> {
    let (publisher, topic) = start(fixture).await?;
    let messages: Vec<_> = (0..500).map(|n| message(&topic, &format!("k{}", n % 5), n)).collect();
    let mut batch: VecDeque<_> = messages.iter().cloned().collect();
    let mut pending = VecDeque::new();
    while !batch.is_empty() {
        publisher.ready().await?;
        // Offer at most 70 messages at a time. The messages that are not taken are offered first in the next round.
        let mut offered: VecDeque<_> = batch.drain(..batch.len().min(70)).collect();
        pending.push_front(publisher.enqueue(&mut offered));
        offered.append(&mut batch);
        batch = offered;
    }
    for acks in pending {
        all_acknowledged(acks).await?;
    }
    let arrived = fixture.arrived(&topic).await?;
    ensure_eq(
        arrived.len(),
        messages.len(),
        "the number of messages that arrive is the number acknowledged",
    )?;
    for key in (0..5).map(|n| format!("k{n}")) {
        let ids = |messages: &[Message]| -> Vec<String> {
            let of_key = messages.iter().filter(|message| message.key() == Some(key.as_bytes()));
            of_key.map(|message| message.id().to_owned()).collect()
        };
        let guarantee = format!("the messages of key {key} arrive in the order in which they were enqueued");
        ensure_eq(ids(&arrived), ids(&messages), &guarantee)?;
    }
    Ok(())
}

/// Checks that there is one result for each message taken, and none for an empty batch.
///
/// # Errors
/// Returns [`Broken`] if there are more or fewer results than messages taken, a publisher that is ready takes none, or
/// a message does not arrive.
pub async fn each_message_has_one_result<F: PublisherFixture>(fixture: &F) -> Result<(), Broken> {
    let (publisher, topic) = start(fixture).await?;
    let results = publisher.enqueue(&mut VecDeque::new()).await;
    ensure_eq(results.len(), 0, "the number of results of an empty batch is 0")?;
    let mut batch: VecDeque<_> = (0..20).map(|n| message(&topic, "k", n)).collect();
    let mut taken_in_all = 0;
    while !batch.is_empty() {
        publisher.ready().await?;
        let offered = batch.len();
        let acks = publisher.enqueue(&mut batch);
        let taken = offered - batch.len();
        let observed = format!("no message was taken of {offered} offered");
        ensure(taken > 0, "enqueue takes at least one message after ready has resolved", observed)?;
        ensure_eq(acks.await.len(), taken, "the number of results is the number of messages taken")?;
        taken_in_all += taken;
    }
    let arrived = fixture.arrived(&topic).await?.len();
    ensure_eq(arrived, taken_in_all, "the number of messages that arrive is the number taken")
}

/// Checks that a refused message fails in its place, and that the messages before and after it arrive.
///
/// # Errors
/// Returns [`Broken`] if another message fails or does not arrive, or the refused message is acknowledged or arrives.
pub async fn refusal_affects_one_message<F: PublisherFixture>(fixture: &F) -> Result<(), Broken> {
    let (publisher, topic) = start(fixture).await?;
    let Some(refused) = fixture.refusable(message(&topic, "b", 1)) else { return Ok(()) };
    let mut batch = VecDeque::from([message(&topic, "a", 0), refused, message(&topic, "c", 2)]);
    let mut results = Vec::new();
    while !batch.is_empty() {
        publisher.ready().await?;
        results.extend(publisher.enqueue(&mut batch).await);
    }
    let acknowledged: Vec<_> = results.iter().map(Result::is_ok).collect();
    let guarantee = "of three messages the second is refused, and the others are acknowledged";
    ensure_eq(acknowledged, vec![true, false, true], guarantee)?;
    let arrived = fixture.arrived(&topic).await?;
    let mut keys: Vec<_> = arrived.iter().map(Message::key).collect();
    keys.sort();
    let expected = ["a", "c"].map(|key| Some(key.as_bytes())).to_vec();
    ensure_eq(
        keys,
        expected,
        "the messages before and after a refused one arrive, and the refused one does not",
    )
}

/// Checks that `flush` resolves after every message taken has arrived, even if the acknowledgements are not polled.
///
/// # Errors
/// Returns [`Broken`] if a message has not arrived when `flush` resolves, or a result is missing afterwards.
pub async fn flush_waits_for_every_message<F: PublisherFixture>(fixture: &F) -> Result<(), Broken> {
    let (publisher, topic) = start(fixture).await?;
    publisher.flush().await?;
    publisher.ready().await?;
    let mut batch: VecDeque<_> = (0..50).map(|n| message(&topic, "k", n)).collect();
    let acks = publisher.enqueue(&mut batch);
    let taken = 50 - batch.len();
    publisher.flush().await?;
    let arrived = fixture.arrived(&topic).await?.len();
    ensure_eq(arrived, taken, "every message taken has arrived when flush resolves")?;
    ensure_eq(acks.await.len(), taken, "the number of results after a flush is the number of messages taken")
}

/// Checks that `enqueue` takes at most [`PublisherFixture::bound`] messages, leaves the others in the batch unchanged,
/// and takes messages again after the acknowledgements.
///
/// # Errors
/// Returns [`Broken`] if more messages are taken, the batch is changed otherwise, or no message is taken after the
/// acknowledgements.
pub async fn messages_in_flight_are_bounded<F: PublisherFixture>(fixture: &F) -> Result<(), Broken> {
    let Some(bound) = fixture.bound() else { return Ok(()) };
    let (publisher, topic) = start(fixture).await?;
    let offered: Vec<_> = (0..bound + 7).map(|n| message(&topic, "k", n)).collect();
    let mut batch: VecDeque<_> = offered.iter().cloned().collect();
    let acks = publisher.enqueue(&mut batch);
    let taken = offered.len() - batch.len();
    ensure(
        taken <= bound,
        "enqueue takes at most the bound of the fixture",
        format!("{taken} messages were taken, the bound is {bound}"),
    )?;
    ensure(
        batch == &offered[taken..],
        "the messages that are not taken stay in the batch, in order",
        format!("{taken} messages were taken, and the batch is not the rest of the messages offered"),
    )?;
    all_acknowledged(acks).await?;
    publisher.ready().await?;
    let left = batch.len();
    let acks = publisher.enqueue(&mut batch);
    ensure(
        batch.len() < left,
        "enqueue takes messages again after the acknowledgements",
        format!("no message was taken of {left} offered"),
    )?;
    all_acknowledged(acks).await
}

/// Checks that the messages of one caller arrive although another caller drops the acknowledgements of its messages,
/// and that `flush` resolves afterwards.
///
/// # Errors
/// Returns [`Broken`] if a message whose acknowledgement is awaited fails or does not arrive, or `ready` or `flush`
/// fails.
pub async fn dropped_acks_affect_no_other_caller<F: PublisherFixture>(fixture: &F) -> Result<(), Broken> {
    let (publisher, topic) = start(fixture).await?;
    let mut acknowledged = Vec::new();
    for round in 0..3 {
        publisher.ready().await?;
        let mut abandoned: VecDeque<_> = (0..5).map(|n| message(&topic, "abandoned", n)).collect();
        drop(publisher.enqueue(&mut abandoned));
        publisher.ready().await?;
        let mut batch: VecDeque<_> = (0..5).map(|n| message(&topic, "awaited", round * 5 + n)).collect();
        let offered: Vec<_> = batch.iter().cloned().collect();
        let acks = publisher.enqueue(&mut batch);
        publisher.ready().await?;
        drop(publisher.enqueue(&mut [message(&topic, "abandoned", 5)].into()));
        all_acknowledged(acks).await?;
        acknowledged.extend(offered.into_iter().filter(|message| !batch.contains(message)));
    }
    publisher.flush().await?;
    let arrived = fixture.arrived(&topic).await?;
    let missing = acknowledged.iter().filter(|message| !arrived.contains(message)).count();
    ensure_eq(missing, 0, "the number of acknowledged messages that did not arrive is 0")
}

async fn all_acknowledged(acks: Acks) -> Result<(), Broken> {
    match acks.await.into_iter().find_map(Result::err) {
        None => Ok(()),
        Some(error) => Err(Broken::new("each valid message is acknowledged", error.chain())),
    }
}

/// Creates a topic, and returns a publisher and the topic's name.
async fn start<F: PublisherFixture>(fixture: &F) -> Result<(F::Publisher, String), Error> {
    let topic = unique("t");
    fixture.topic(&topic).await?;
    Ok((fixture.publisher().await?, topic))
}

fn message(topic: &str, key: &str, number: usize) -> Message {
    Message::new(MessageParts {
        source: "suite",
        id: &unique("m"),
        topic,
        key: Some(key.as_bytes()),
        payload: Some(number.to_string().as_bytes()),
        ..MessageParts::default()
    })
}
