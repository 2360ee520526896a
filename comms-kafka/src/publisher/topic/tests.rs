//! The order of a topic's messages through refusals and changes of the producer.

use super::*;
use crate::publisher::acks::Batch;
use comms_core::Headers;
use std::sync::Arc;

/// A client that keeps what it is given.
#[derive(Default)]
struct Client(Mutex<Vec<(String, Parcel)>>);

impl Sender for Client {
    fn send(&self, message: &Message, parcel: Box<Parcel>) -> Result<(), (SendError, Box<Parcel>)> {
        self.0.lock().unwrap().push((message.id.to_string(), *parcel));
        Ok(())
    }
    fn give_room(&self, _: usize) {}
}

impl Client {
    /// What was sent since the last call, as `id` or `id!` where it was sent alone.
    fn sent(&self) -> (Vec<String>, Vec<Parcel>) {
        let sent = std::mem::take(&mut *self.0.lock().unwrap());
        let shown = |id: String, alone| if alone { format!("{id}!") } else { id };
        sent.into_iter().map(|(id, parcel)| (shown(id, parcel.alone), parcel)).unzip()
    }
}

fn message(id: &str) -> Message {
    Message {
        source: "test".into(),
        id: id.into(),
        topic: "t".into(),
        key: None,
        headers: Headers::new(),
        payload: None,
    }
}

struct Fixture {
    topic: Arc<Topic>,
    client: Client,
    batch: Arc<Batch>,
}

impl Fixture {
    fn new() -> Self {
        let (batch, _) = Batch::new();
        Self { topic: Arc::new(Topic::new("t".into())), client: Client::default(), batch }
    }

    fn push(&self, ids: &[&str]) {
        for id in ids {
            self.topic.push(&self.client, message(id), self.batch.slot(1));
        }
    }

    fn back(&self, reason: Return, id: &str, parcel: Parcel) -> bool {
        self.topic.returned(&self.client, reason, || message(id), parcel.slot).unwrap()
    }

    fn done(&self, parcels: Vec<Parcel>) {
        for parcel in parcels {
            self.topic.answered(Some(&self.client), true, false);
            parcel.slot.answer(Ok(comms_core::transport::Receipt::default()));
        }
    }
}

#[test]
fn messages_wait_in_order_until_the_limit_is_known() {
    let fixture = Fixture::new();
    fixture.push(&["1", "2"]);
    assert!(fixture.topic.wants_limit() && fixture.client.sent().0.is_empty());
    fixture.topic.set_route(&fixture.client, Route::Alone);
    fixture.push(&["3"]);
    assert_eq!(fixture.client.sent().0, ["1!", "2!", "3!"]);
}

#[test]
fn a_refused_batch_goes_first_and_alone_and_nothing_overtakes_it() {
    let fixture = Fixture::new();
    fixture.topic.set_route(&fixture.client, Route::Batched);
    fixture.push(&["1", "2", "3", "4"]);
    let (ids, parcels) = fixture.client.sent();
    assert_eq!(ids, ["1", "2", "3", "4"]);
    let [one, two, three, four] = <[_; 4]>::try_from(parcels).unwrap();
    assert!(fixture.back(Return::BatchTooLarge, "1", one), "the first asks for a purge");
    fixture.push(&["5"]);
    assert!(!fixture.back(Return::BatchTooLarge, "2", two));
    assert!(!fixture.back(Return::Purged, "3", three));
    assert!(fixture.client.sent().0.is_empty(), "the fourth is still in flight");
    fixture.done(vec![four]);
    let (ids, parcels) = fixture.client.sent();
    assert_eq!(ids, ["1!", "2!", "3!"]);
    fixture.done(parcels);
    fixture.push(&["6"]);
    assert_eq!(fixture.client.sent().0, ["5!", "6!"], "the topic stays with the single batches");
}

#[test]
fn after_a_bad_neighbour_the_topic_returns_to_batches() {
    let fixture = Fixture::new();
    fixture.topic.set_route(&fixture.client, Route::Batched);
    fixture.push(&["1"]);
    let one = fixture.client.sent().1.remove(0);
    assert!(fixture.back(Return::BadNeighbour, "1", one));
    fixture.push(&["2"]);
    fixture.topic.gathered(&fixture.client);
    let (ids, parcels) = fixture.client.sent();
    assert_eq!(ids, ["1!"]);
    fixture.done(parcels);
    assert_eq!(fixture.client.sent().0, ["2"]);
}

#[test]
fn what_is_purged_for_another_topic_is_sent_again_in_order() {
    let fixture = Fixture::new();
    fixture.topic.set_route(&fixture.client, Route::Batched);
    fixture.push(&["1", "2"]);
    let [one, two] = <[_; 2]>::try_from(fixture.client.sent().1).unwrap();
    fixture.topic.gather();
    fixture.push(&["3"]);
    assert!(!fixture.back(Return::Purged, "2", two));
    fixture.done(vec![one]);
    let (ids, parcels) = fixture.client.sent();
    assert_eq!(ids, ["2"]);
    fixture.done(parcels);
    assert_eq!(fixture.client.sent().0, ["3"]);
}

#[test]
fn what_waits_is_given_up_with_its_caller() {
    let fixture = Fixture::new();
    fixture.push(&["1", "2"]);
    fixture.topic.abandon(&fixture.client);
    assert!(!fixture.topic.wants_limit());
    fixture.topic.set_route(&fixture.client, Route::Batched);
    assert!(fixture.client.sent().0.is_empty());
}

/// A client that learned that the topic is gone.
struct Gone;

impl Sender for Gone {
    fn send(&self, _: &Message, parcel: Box<Parcel>) -> Result<(), (SendError, Box<Parcel>)> {
        Err((SendError::Missing(Error::misconfigured("no such topic")), parcel))
    }
    fn give_room(&self, _: usize) {}
}

/// The topic is deleted while a refused batch is sent again: what waits behind it is not forgotten.
#[test]
fn a_topic_that_is_gone_in_between_has_its_limit_looked_up_for_what_waits() {
    let fixture = Fixture::new();
    fixture.topic.set_route(&fixture.client, Route::Batched);
    fixture.push(&["1", "2"]);
    let [one, two] = <[_; 2]>::try_from(fixture.client.sent().1).unwrap();
    assert!(fixture.back(Return::BadNeighbour, "1", one));
    fixture.push(&["3"]);
    assert!(
        fixture.topic.answered(Some(&Gone), false, true),
        "3 waits, and no hand-over comes to ask for it"
    );
    drop(two);
    fixture.topic.set_route(&fixture.client, Route::Batched);
    let (ids, parcels) = fixture.client.sent();
    assert_eq!(ids, ["1!"]);
    fixture.done(parcels);
    let (ids, parcels) = fixture.client.sent();
    assert_eq!(ids, ["3"]);
    fixture.done(parcels);

    // The same where the client itself knows it, at the moment of sending.
    fixture.push(&["4"]);
    let four = fixture.client.sent().1.remove(0);
    fixture.topic.gather();
    fixture.push(&["5"]);
    let back = fixture.topic.returned(&Gone, Return::BadNeighbour, || message("4"), four.slot);
    assert!(!back.unwrap());
    assert!(fixture.topic.wants_limit(), "4 is refused, and 5 waits");
}
