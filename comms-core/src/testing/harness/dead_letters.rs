//! The wrapper of the publisher of dead letters: it records each acknowledged dead letter in the ledger.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;

use super::ledger::Ledger;
use crate::{Error, ErrorKind, Headers, Message, MessageParts, Publisher, transport::Acks, wire};

/// The dead letters of a group, in the order of their acknowledgements.
pub(super) struct DeadLetters {
    pub(super) inner: Arc<dyn Publisher>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) group: Arc<str>,
    /// The names of the transport with those of the test.
    pub(super) topics: HashMap<Arc<str>, Arc<str>>,
    pub(super) written: Mutex<Vec<Message>>,
}

impl DeadLetters {
    pub(super) fn written(&self) -> Vec<Message> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn record(&self, letter: &Message, is_written: bool) {
        let letter = self.with_names_of_the_test(letter);
        if !is_written {
            return self.ledger.refused(&self.group, &letter);
        }
        let kind = letter.headers().text(wire::DLQ_ERROR_KIND).and_then(kind_of);
        self.written.lock().unwrap_or_else(PoisonError::into_inner).push(letter.clone());
        self.ledger.dead_lettered(&self.group, &letter, kind);
    }

    fn with_names_of_the_test(&self, letter: &Message) -> Message {
        let original = letter.headers().text(wire::DLQ_TOPIC).unwrap_or_default();
        let Some((theirs, ours)) = self.topics.get_key_value(original) else {
            return letter.clone();
        };
        let mut headers = Headers::from(letter.headers());
        headers.insert(wire::DLQ_TOPIC, &**ours);
        headers.insert(wire::DLQ_GROUP, &*self.group);
        let topic = letter.topic().replacen(&**theirs, ours, 1);
        Message::new(MessageParts { topic: &topic, headers: headers.view(), ..letter.parts() })
    }
}

fn kind_of(text: &str) -> Option<ErrorKind> {
    ErrorKind::ALL.into_iter().find(|kind| kind.as_str() == text)
}

/// A shared [`DeadLetters`], as the transport gets it.
pub(super) struct RecordedPublisher(pub(super) Arc<DeadLetters>);

#[async_trait]
impl Publisher for RecordedPublisher {
    fn enqueue(&self, batch: &mut VecDeque<Message>) -> Acks {
        let letters: Vec<_> = batch.iter().cloned().collect();
        let (acks, shared) = (self.0.inner.enqueue(batch), self.0.clone());
        Box::pin(async move {
            let results = acks.await;
            letters.iter().zip(&results).for_each(|(letter, result)| shared.record(letter, result.is_ok()));
            results
        })
    }

    async fn ready(&self) -> Result<(), Error> {
        self.0.inner.ready().await
    }

    async fn flush(&self) -> Result<(), Error> {
        self.0.inner.flush().await
    }
}
