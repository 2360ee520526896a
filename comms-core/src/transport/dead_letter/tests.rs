//! Dead letters that the publisher refuses.
#![allow(clippy::disallowed_methods, reason = "the tests wait for real time or for tokio's paused time")]

use super::*;
use crate::{
    Headers, MessageParts, Position,
    transport::{Acks, Receipt},
    wire,
};
use std::{
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

/// A publisher that refuses messages over `max_bytes`, and the first `failures` messages with `kind`.
struct LimitedPublisher {
    max_bytes: usize,
    failures: AtomicU32,
    kind: ErrorKind,
    sent: Mutex<Vec<Message>>,
}

impl LimitedPublisher {
    fn new(max_bytes: usize, failures: u32, kind: ErrorKind) -> Arc<Self> {
        Arc::new(Self { max_bytes, failures: failures.into(), kind, sent: Mutex::default() })
    }

    fn accept(&self, message: Message) -> Result<Receipt, Error> {
        let failing = |n: u32| n.checked_sub(1);
        if self.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, failing).is_ok() {
            return Err(Error::new(self.kind, "no"));
        }
        if message.size() > self.max_bytes {
            return Err(Error::invalid("too large"));
        }
        self.sent.lock().unwrap().push(message);
        Ok(Receipt::default())
    }
}

#[crate::async_trait]
impl Publisher for LimitedPublisher {
    fn enqueue(&self, batch: &mut VecDeque<Message>) -> Acks {
        let results = batch.drain(..).map(|message| self.accept(message)).collect();
        Box::pin(std::future::ready(results))
    }
    async fn ready(&self) -> Result<(), Error> {
        Ok(())
    }
    async fn flush(&self) -> Result<(), Error> {
        Ok(())
    }
}

fn delivery(header: usize, payload: usize) -> Delivery {
    let mut headers = Headers::new();
    headers.append("large", vec![b'x'; header]);
    let message = Message::new(MessageParts {
        source: "shop",
        id: "1",
        topic: "orders",
        key: Some(b"k"),
        headers: headers.view(),
        payload: Some(&vec![0; payload]),
    });
    Delivery::new(message, "billing").at(Position::at(3, 512).with_timestamp(1))
}

async fn write(publisher: &Arc<LimitedPublisher>, holds: &Holds, delivery: &Delivery) -> Form {
    let dead_letters =
        DeadLetters::new(publisher.clone(), Backoff::default(), Clock::system(), holds.clone());
    dead_letters.write(delivery, &Error::invalid("cannot be read"), 1, std::future::pending()).await.unwrap()
}

#[tokio::test]
async fn a_dead_letter_is_written_in_the_largest_form_that_the_topic_accepts() {
    let holds = Holds::new(Clock::system());
    for (header, payload, form) in
        [(10, 10, Form::Whole), (10, 100_000, Form::WithoutPayload), (100_000, 10, Form::Reference)]
    {
        let publisher = LimitedPublisher::new(20_000, 0, ErrorKind::Invalid);
        assert_eq!(write(&publisher, &holds, &delivery(header, payload)).await, form);
        let sent = publisher.sent.lock().unwrap();
        assert_eq!(sent.len(), 1);
        assert_eq!(sent[0].headers().text(wire::DLQ_OFFSET), Some("512"));
        assert_eq!(sent[0].headers().text(wire::DLQ_PAYLOAD_OMITTED).is_some(), form != Form::Whole);
        assert_eq!(sent[0].headers().text(wire::DLQ_HEADERS_OMITTED).is_some(), form == Form::Reference);
    }
    assert!(holds.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_refused_dead_letter_holds_the_delivery_until_it_is_written() {
    for kind in [ErrorKind::Misconfigured, ErrorKind::Fatal, ErrorKind::NotExecuted, ErrorKind::Invalid] {
        let holds = Holds::new(Clock::system());
        // The publisher returns `Invalid` for each of the three forms, so two attempts need six failures.
        let publisher = LimitedPublisher::new(20_000, 6, kind);
        let (delivery, shared) = (delivery(10, 10), holds.clone());
        let writing = write(&publisher, &holds, &delivery);
        let checking = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let hold = shared.list().pop().expect("a hold");
            assert_eq!((&*hold.group, &*hold.topic), ("billing", "orders"));
            assert!(hold.reason.contains("orders.dlq"), "{}", hold.reason);
            let expected = if kind == ErrorKind::NotExecuted { kind } else { ErrorKind::Misconfigured };
            assert_eq!(hold.kind, expected);
        };
        let (form, ()) = tokio::join!(writing, checking);
        assert_eq!(form, Form::Whole, "{kind}");
        assert!(holds.is_empty());
    }
}
