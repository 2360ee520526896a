//! The promises of [`Publisher`]: messages are taken in order, answered one by one, and bounded in number.

use std::{collections::VecDeque, future::Future, sync::Arc};

use bytes::Bytes;

use crate::{Error, Headers, Message, Publisher};

use super::{
    Broken,
    check::{Suite, ensure, ensure_eq, unique},
};

/// A publisher under test, and a way to read what arrived.
pub trait PublisherFixture: Send + Sync {
    /// What is tested.
    type Publisher: Publisher;

    /// A publisher with nothing in it.
    ///
    /// # Errors
    /// Returns the transport's errors.
    fn publisher(&self) -> impl Future<Output = Result<Self::Publisher, Error>> + Send;

    /// Makes an empty topic of this name, where the transport needs one made.
    ///
    /// # Errors
    /// Returns the transport's errors.
    fn topic(&self, name: &str) -> impl Future<Output = Result<(), Error>> + Send;

    /// What has arrived there, in order per key.
    ///
    /// # Errors
    /// Returns the transport's errors.
    fn arrived(&self, topic: &str) -> impl Future<Output = Result<Vec<Message>, Error>> + Send;

    /// How many messages one [`enqueue`](Publisher::enqueue) takes while none is answered; `None` where the bound is not
    /// in messages, and then the check is skipped. A publisher that may answer while `enqueue` runs must reserve the room
    /// of a call at once, or it takes more than this.
    fn bound(&self) -> Option<usize> {
        None
    }

    /// Turns `message` into one that the transport refuses for good (too large, say); `None` where there is no such
    /// message, and then the check is skipped.
    fn refusable(&self, message: Message) -> Option<Message> {
        let _ = message;
        None
    }
}

/// Checks every promise.
///
/// # Errors
/// Returns [`Broken`] with every promise that was broken, and what was observed.
pub async fn all<F: PublisherFixture>(fixture: &F) -> Result<(), Broken> {
    let mut suite = Suite::new("Publisher");
    suite.check("a key keeps its order through partial takes", in_order(fixture)).await;
    suite.check("each message taken has one answer, in order", one_answer_each(fixture)).await;
    suite.check("the refusal of one loses no other", refusal(fixture)).await;
    suite.check("flush waits for all that was taken", flush(fixture)).await;
    suite
        .check("no more is taken than fits, and the rest stays with the caller", backpressure(fixture))
        .await;
    suite.check("dropped acknowledgements cost no other caller a message", dropped(fixture)).await;
    suite.end()
}

/// Offers 500 messages of five keys until all are taken, and awaits the answers in reverse, because the order is settled
/// before. Each key arrives in its order.
///
/// # Errors
/// Returns [`Broken`] if a message is not acknowledged or a key changes its order.
pub async fn in_order<F: PublisherFixture>(fixture: &F) -> Result<(), Broken> {
    let (publisher, to) = begin(fixture).await?;
    let messages: Vec<_> = (0..500).map(|n| message(&to, &format!("k{}", n % 5), n)).collect();
    let mut batch: VecDeque<_> = messages.iter().cloned().collect();
    let mut answers = VecDeque::new();
    while !batch.is_empty() {
        publisher.ready().await?;
        // A few at a time, and then what is left of them first.
        let mut few: VecDeque<_> = batch.drain(..batch.len().min(70)).collect();
        answers.push_front(publisher.enqueue(&mut few));
        few.append(&mut batch);
        batch = few;
    }
    for answer in answers {
        answer.await.into_iter().try_for_each(|result| result.map(drop))?;
    }
    let arrived = fixture.arrived(&to).await?;
    ensure_eq(arrived.len(), messages.len(), "how many arrived")?;
    for key in 0..5 {
        let of_key = |messages: &[Message]| -> Vec<Arc<str>> {
            let key = format!("k{key}");
            messages
                .iter()
                .filter(|m| m.key.as_deref() == Some(key.as_bytes()))
                .map(|m| m.id.clone())
                .collect()
        };
        ensure_eq(of_key(&arrived), of_key(&messages), "the order of a key")?;
    }
    Ok(())
}

/// There is one answer for each message taken, and none for an empty batch.
///
/// # Errors
/// Returns [`Broken`] if there are more or fewer answers than messages taken, or a ready publisher takes none.
pub async fn one_answer_each<F: PublisherFixture>(fixture: &F) -> Result<(), Broken> {
    let (publisher, to) = begin(fixture).await?;
    ensure_eq(publisher.enqueue(&mut VecDeque::new()).await.len(), 0, "answers for an empty batch")?;
    let mut batch: VecDeque<_> = (0..20).map(|n| message(&to, "k", n)).collect();
    let mut taken_in_all = 0;
    while !batch.is_empty() {
        publisher.ready().await?;
        let before = batch.len();
        let answers = publisher.enqueue(&mut batch);
        let taken = before - batch.len();
        ensure(taken > 0, "a publisher that is ready takes at least one")?;
        ensure_eq(answers.await.len(), taken, "answers to what was taken")?;
        taken_in_all += taken;
    }
    ensure_eq(fixture.arrived(&to).await?.len(), taken_in_all, "how many arrived")
}

/// A refused message has its answer in its place, and the messages before and behind it arrive.
///
/// # Errors
/// Returns [`Broken`] if the refusal is not in its place, or another message does not arrive.
pub async fn refusal<F: PublisherFixture>(fixture: &F) -> Result<(), Broken> {
    let (publisher, to) = begin(fixture).await?;
    let Some(refused) = fixture.refusable(message(&to, "b", 1)) else { return Ok(()) };
    let mut batch = VecDeque::from([message(&to, "a", 0), refused, message(&to, "c", 2)]);
    let mut results = Vec::new();
    while !batch.is_empty() {
        publisher.ready().await?;
        results.extend(publisher.enqueue(&mut batch).await);
    }
    let kept: Vec<_> = results.iter().map(Result::is_ok).collect();
    ensure_eq(kept, vec![true, false, true], "which were acknowledged")?;
    let mut arrived: Vec<_> = fixture.arrived(&to).await?.iter().map(|m| m.key.clone()).collect();
    arrived.sort();
    ensure_eq(arrived, ["a", "c"].map(|key| Some(Bytes::from(key))).to_vec(), "which arrived")
}

/// A flush resolves when every message has arrived, also if the answers are not polled.
///
/// # Errors
/// Returns [`Broken`] if a message has not arrived when the flush resolves.
pub async fn flush<F: PublisherFixture>(fixture: &F) -> Result<(), Broken> {
    let (publisher, to) = begin(fixture).await?;
    publisher.flush().await?;
    publisher.ready().await?;
    let mut batch: VecDeque<_> = (0..50).map(|n| message(&to, "k", n)).collect();
    let answers = publisher.enqueue(&mut batch);
    let taken = 50 - batch.len();
    publisher.flush().await?;
    ensure_eq(fixture.arrived(&to).await?.len(), taken, "how many arrived when it was flushed")?;
    ensure_eq(answers.await.len(), taken, "answers after the flush")
}

/// Messages that are not taken are the last ones offered, unchanged; after the answers there is room again.
///
/// # Errors
/// Returns [`Broken`] if more is taken than the bound, the rest is changed, or no room comes back.
pub async fn backpressure<F: PublisherFixture>(fixture: &F) -> Result<(), Broken> {
    let Some(bound) = fixture.bound() else { return Ok(()) };
    let (publisher, to) = begin(fixture).await?;
    let offered: Vec<_> = (0..bound + 7).map(|n| message(&to, "k", n)).collect();
    let mut batch: VecDeque<_> = offered.iter().cloned().collect();
    let answers = publisher.enqueue(&mut batch);
    ensure(batch.len() >= 7, "no more is taken than the bound")?;
    let taken = offered.len() - batch.len();
    ensure(batch == &offered[taken..], "the rest stays with the caller, in order")?;
    answers.await.into_iter().try_for_each(|result| result.map(drop))?;
    publisher.ready().await?;
    let left = batch.len();
    let answers = publisher.enqueue(&mut batch);
    ensure(batch.len() < left, "after the answers there is room again")?;
    answers.await.into_iter().try_for_each(|result| result.map(drop))?;
    Ok(())
}

/// Drops the acknowledgements of one hand-over beside another one. The messages of the other arrive, and the publisher
/// has room again.
///
/// # Errors
/// Returns [`Broken`] if the other hand-over is not acknowledged, its messages do not arrive, or the publisher does not
/// empty.
pub async fn dropped<F: PublisherFixture>(fixture: &F) -> Result<(), Broken> {
    let (publisher, to) = begin(fixture).await?;
    let mut sent = Vec::new();
    for round in 0..3 {
        publisher.ready().await?;
        let mut given_up: VecDeque<_> = (0..5).map(|n| message(&to, "given up", n)).collect();
        drop(publisher.enqueue(&mut given_up));
        publisher.ready().await?;
        let mut kept: VecDeque<_> = (0..5).map(|n| message(&to, "kept", round * 5 + n)).collect();
        let offered: Vec<_> = kept.iter().cloned().collect();
        let answers = publisher.enqueue(&mut kept);
        publisher.ready().await?;
        let mut given_up: VecDeque<_> = [message(&to, "given up", 5)].into();
        drop(publisher.enqueue(&mut given_up));
        answers.await.into_iter().try_for_each(|result| result.map(drop))?;
        sent.extend(offered.into_iter().filter(|message| !kept.contains(message)));
    }
    publisher.flush().await?;
    let arrived = fixture.arrived(&to).await?;
    ensure(sent.iter().all(|message| arrived.contains(message)), "the messages of the other caller arrive")
}

async fn begin<F: PublisherFixture>(fixture: &F) -> Result<(F::Publisher, String), Error> {
    let to = unique("t");
    fixture.topic(&to).await?;
    Ok((fixture.publisher().await?, to))
}

fn message(to: &str, key: &str, number: usize) -> Message {
    Message {
        source: "suite".into(),
        id: unique("m").into(),
        topic: to.into(),
        key: Some(Bytes::copy_from_slice(key.as_bytes())),
        headers: Headers::new(),
        payload: Some(number.to_string().into()),
    }
}
