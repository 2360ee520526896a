//! The queue when it is full.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    Item,
    queue::{Queue, QueueLimits},
};
use crate::{
    message::{Encoding, Message},
    meters::Meters,
    topic::{SlowConsumer, Topic, TopicOptions},
};

fn topic(policy: SlowConsumer) -> Arc<Topic> {
    let options = TopicOptions::default().without_history().slow_consumer(policy);
    Arc::new(Topic { name: "t".into(), options })
}

fn message(topic: &Arc<Topic>, meters: &Arc<Meters>) -> Item {
    let body = br#"{"id":"1","event":"e","data":{}}"#;
    Item::Message(Arc::new(Message::event(topic.clone(), None, body, meters).unwrap()))
}

#[test]
fn a_queue_that_drops_the_oldest_takes_pings_and_keeps_confirmations() {
    let (meters, topic) = (Arc::new(Meters::new()), topic(SlowConsumer::DropOldest));
    let limits = QueueLimits { bytes: 1_000_000, frames: 3 };
    let mut queue = Queue::new(limits, Encoding::Json, meters.clone());
    let confirmation = Bytes::from_static(br#"{"type":"subscribed"}"#);
    let confirmation = Message::control(topic.clone(), None, confirmation, &meters);
    assert!(queue.push(Item::Message(Arc::new(confirmation))));
    for _ in 0..5 {
        assert!(queue.push(message(&topic, &meters)));
    }
    for _ in 0..64 {
        assert!(queue.push(Item::Raw(Bytes::from_static(b"ping"))));
    }
    assert!(!queue.push(Item::Raw(Bytes::from_static(b"ping"))), "a bound");
    let items = queue.pull(usize::MAX);
    assert!(matches!(&items[0], Item::Message(message) if message.head.is_none()), "the confirmation");
    assert!(matches!(&items[1], Item::Missed(..)));
}

#[test]
fn a_queue_without_a_policy_refuses_what_does_not_fit() {
    let (meters, topic) = (Arc::new(Meters::new()), topic(SlowConsumer::Disconnect));
    let limits = QueueLimits { bytes: 1_000_000, frames: 2 };
    let mut queue = Queue::new(limits, Encoding::Json, meters.clone());
    assert!(queue.push(message(&topic, &meters)) && queue.push(message(&topic, &meters)));
    assert!(!queue.push(message(&topic, &meters)));
    assert!(meters.queued_bytes() > 0);
    drop(queue);
    assert_eq!(meters.queued_bytes(), 0);
}
