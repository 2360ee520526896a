//! The order of a topic's messages through refused batches and changes of the producer.

use super::*;
use crate::publisher::acks::PendingAcks;
use comms_core::{MessageParts, transport::Receipt};
use std::sync::Arc;

/// A client that records the messages that it queues.
#[derive(Default)]
struct RecordingClient(Mutex<Vec<(String, SentMessage)>>);

impl Sender for RecordingClient {
    fn send(&self, message: &Message, sent: Box<SentMessage>) -> Result<(), (SendError, Box<SentMessage>)> {
        self.0.lock().unwrap().push((message.id().to_owned(), *sent));
        Ok(())
    }
    fn release(&self, _: usize) {}
}

impl RecordingClient {
    /// Returns the messages sent since the last call: `id`, or `id!` for an unbatched one.
    fn take_sent(&self) -> (Vec<String>, Vec<SentMessage>) {
        let sent = std::mem::take(&mut *self.0.lock().unwrap());
        let shown = |id: String, unbatched| if unbatched { format!("{id}!") } else { id };
        sent.into_iter().map(|(id, sent)| (shown(id, sent.unbatched), sent)).unzip()
    }
}

fn message(id: &str) -> Message {
    Message::new(MessageParts { source: "test", id, topic: "t", ..MessageParts::default() })
}

struct Fixture {
    topic: Arc<Topic>,
    client: RecordingClient,
    acks: Arc<PendingAcks>,
}

impl Fixture {
    fn new() -> Self {
        let (acks, _) = PendingAcks::new();
        Self { topic: Arc::new(Topic::new("t".into())), client: RecordingClient::default(), acks }
    }

    fn push(&self, ids: &[&str]) {
        for id in ids {
            self.topic.push(&self.client, message(id), self.acks.slot(1));
        }
    }

    fn resend(&self, reason: ResendReason, id: &str, sent: SentMessage) -> bool {
        self.topic.resend(&self.client, reason, || message(id), sent.slot).unwrap()
    }

    fn acknowledge(&self, all: Vec<SentMessage>) {
        for sent in all {
            self.topic.finished(Some(&self.client), true, false);
            sent.slot.complete(Ok(Receipt::default()));
        }
    }
}

#[test]
fn messages_wait_in_order_until_the_limit_is_known() {
    let fixture = Fixture::new();
    fixture.push(&["1", "2"]);
    assert!(fixture.topic.needs_limit() && fixture.client.take_sent().0.is_empty());
    fixture.topic.set_route(&fixture.client, Route::Unbatched);
    fixture.push(&["3"]);
    assert_eq!(fixture.client.take_sent().0, ["1!", "2!", "3!"]);
}

#[test]
fn a_batch_that_is_too_large_is_sent_again_unbatched_before_later_messages() {
    let fixture = Fixture::new();
    fixture.topic.set_route(&fixture.client, Route::Batched);
    fixture.push(&["1", "2", "3", "4"]);
    let (ids, sent) = fixture.client.take_sent();
    assert_eq!(ids, ["1", "2", "3", "4"]);
    let [one, two, three, four] = <[_; 4]>::try_from(sent).unwrap();
    assert!(fixture.resend(ResendReason::BatchTooLarge, "1", one), "the first one needs a purge");
    fixture.push(&["5"]);
    assert!(!fixture.resend(ResendReason::BatchTooLarge, "2", two));
    assert!(!fixture.resend(ResendReason::Purged, "3", three));
    assert!(fixture.client.take_sent().0.is_empty(), "the fourth is still in flight");
    fixture.acknowledge(vec![four]);
    let (ids, sent) = fixture.client.take_sent();
    assert_eq!(ids, ["1!", "2!", "3!"]);
    fixture.acknowledge(sent);
    fixture.push(&["6"]);
    assert_eq!(fixture.client.take_sent().0, ["5!", "6!"], "the topic stays unbatched");
}

#[test]
fn a_topic_returns_to_batches_after_an_invalid_neighbor() {
    let fixture = Fixture::new();
    fixture.topic.set_route(&fixture.client, Route::Batched);
    fixture.push(&["1"]);
    let one = fixture.client.take_sent().1.remove(0);
    assert!(fixture.resend(ResendReason::InvalidNeighbor, "1", one));
    fixture.push(&["2"]);
    fixture.topic.end_recall(&fixture.client);
    let (ids, sent) = fixture.client.take_sent();
    assert_eq!(ids, ["1!"]);
    fixture.acknowledge(sent);
    assert_eq!(fixture.client.take_sent().0, ["2"]);
}

#[test]
fn messages_purged_because_of_another_topic_are_sent_again_in_order() {
    let fixture = Fixture::new();
    fixture.topic.set_route(&fixture.client, Route::Batched);
    fixture.push(&["1", "2"]);
    let [one, two] = <[_; 2]>::try_from(fixture.client.take_sent().1).unwrap();
    fixture.topic.begin_recall();
    fixture.push(&["3"]);
    assert!(!fixture.resend(ResendReason::Purged, "2", two));
    fixture.acknowledge(vec![one]);
    let (ids, sent) = fixture.client.take_sent();
    assert_eq!(ids, ["2"]);
    fixture.acknowledge(sent);
    assert_eq!(fixture.client.take_sent().0, ["3"]);
}

#[test]
fn queued_messages_are_dropped_when_their_callers_are_gone() {
    let fixture = Fixture::new();
    fixture.push(&["1", "2"]);
    fixture.topic.abandon(&fixture.client);
    assert!(!fixture.topic.needs_limit());
    fixture.topic.set_route(&fixture.client, Route::Batched);
    assert!(fixture.client.take_sent().0.is_empty());
}

/// A client that has learned that the topic does not exist.
struct TopicMissing;

impl Sender for TopicMissing {
    fn send(&self, _: &Message, sent: Box<SentMessage>) -> Result<(), (SendError, Box<SentMessage>)> {
        Err((SendError::TopicMissing(Error::misconfigured("no such topic")), sent))
    }
    fn release(&self, _: usize) {}
}

#[test]
fn a_topic_deleted_during_a_resend_has_its_limit_looked_up_again() {
    let fixture = Fixture::new();
    fixture.topic.set_route(&fixture.client, Route::Batched);
    fixture.push(&["1", "2"]);
    let [one, two] = <[_; 2]>::try_from(fixture.client.take_sent().1).unwrap();
    assert!(fixture.resend(ResendReason::InvalidNeighbor, "1", one));
    fixture.push(&["3"]);
    assert!(
        fixture.topic.finished(Some(&TopicMissing), false, true),
        "3 waits, and no `enqueue` call follows that would start the look-up"
    );
    drop(two);
    fixture.topic.set_route(&fixture.client, Route::Batched);
    let (ids, sent) = fixture.client.take_sent();
    assert_eq!(ids, ["1!"]);
    fixture.acknowledge(sent);
    let (ids, sent) = fixture.client.take_sent();
    assert_eq!(ids, ["3"]);
    fixture.acknowledge(sent);

    // The client itself reports the missing topic when it is given the message.
    fixture.push(&["4"]);
    let four = fixture.client.take_sent().1.remove(0);
    fixture.topic.begin_recall();
    fixture.push(&["5"]);
    let first =
        fixture.topic.resend(&TopicMissing, ResendReason::InvalidNeighbor, || message("4"), four.slot);
    assert!(!first.unwrap());
    assert!(fixture.topic.needs_limit(), "4 is refused, and 5 waits");
}
