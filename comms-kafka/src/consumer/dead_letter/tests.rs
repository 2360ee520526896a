//! What becomes of a dead letter that the publisher refuses.

use super::*;
use comms_core::{
    Headers,
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

/// Refuses messages over `limit` bytes, and the first `failures` with `kind`.
struct Narrow {
    limit: usize,
    failures: AtomicU32,
    kind: ErrorKind,
    sent: Mutex<Vec<Message>>,
}

impl Narrow {
    fn new(limit: usize, failures: u32, kind: ErrorKind) -> Arc<Self> {
        Arc::new(Self { limit, failures: failures.into(), kind, sent: Mutex::default() })
    }

    fn answer(&self, message: Message) -> Result<Receipt, Error> {
        let failing = |n: u32| n.checked_sub(1);
        if self.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, failing).is_ok() {
            return Err(Error::new(self.kind, "no"));
        }
        if message.size() > self.limit {
            return Err(Error::invalid("too large"));
        }
        self.sent.lock().unwrap().push(message);
        Ok(Receipt::default())
    }
}

#[comms_core::async_trait]
impl Publisher for Narrow {
    fn enqueue(&self, batch: &mut VecDeque<Message>) -> Acks {
        let answers = batch.drain(..).map(|message| self.answer(message)).collect();
        Box::pin(std::future::ready(answers))
    }
    async fn ready(&self) -> Result<(), Error> {
        Ok(())
    }
    async fn flush(&self) -> Result<(), Error> {
        Ok(())
    }
}

fn delivery(header: usize, payload: usize) -> Delivery {
    let mut message = Message {
        source: "shop".into(),
        id: "1".into(),
        topic: "orders".into(),
        key: Some("k".into()),
        headers: Headers::new(),
        payload: Some(vec![0; payload].into()),
    };
    message.headers.append("large", vec![b'x'; header]);
    Delivery::new(message, "billing", "orders/3@512")
}

async fn write(narrow: &Arc<Narrow>, holds: &Holds, delivery: &Delivery) -> Form {
    let letters = DeadLetters::new(narrow.clone(), Backoff::default(), Clock::system(), holds.clone());
    let place = Place { partition: 3, offset: 512, timestamp: Some(1) };
    letters
        .write(delivery, place, &Error::invalid("cannot be read"), 1, std::future::pending())
        .await
        .unwrap()
}

#[tokio::test]
async fn a_dead_letter_is_written_as_whole_as_the_topic_allows() {
    let holds = Holds::new(Clock::system());
    for (header, payload, form) in
        [(10, 10, Form::Whole), (10, 100_000, Form::WithoutPayload), (100_000, 10, Form::Reference)]
    {
        let narrow = Narrow::new(20_000, 0, ErrorKind::Invalid);
        assert_eq!(write(&narrow, &holds, &delivery(header, payload)).await, form);
        let sent = narrow.sent.lock().unwrap();
        assert_eq!(sent.len(), 1);
        assert_eq!(sent[0].headers.text(wire::DLQ_OFFSET), Some("512"));
        assert_eq!(sent[0].headers.text(wire::DLQ_PAYLOAD_OMITTED).is_some(), form != Form::Whole);
        assert_eq!(sent[0].headers.text(wire::DLQ_HEADERS_OMITTED).is_some(), form == Form::Reference);
    }
    assert!(holds.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_that_is_refused_is_held_with_the_reason_and_written_when_it_can_be() {
    for kind in [ErrorKind::Misconfigured, ErrorKind::Fatal, ErrorKind::NotExecuted, ErrorKind::Invalid] {
        let holds = Holds::new(Clock::system());
        // An `Invalid` is answered to each of the three forms.
        let narrow = Narrow::new(20_000, 6, kind);
        let (delivery, seen) = (delivery(10, 10), holds.clone());
        let writing = write(&narrow, &holds, &delivery);
        let looking = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let hold = seen.list().pop().expect("a hold");
            assert_eq!((&*hold.group, &*hold.topic), ("billing", "orders"));
            assert!(hold.reason.contains("orders.dlq"), "{}", hold.reason);
            let expected = if kind == ErrorKind::NotExecuted { kind } else { ErrorKind::Misconfigured };
            assert_eq!(hold.kind, expected);
        };
        let (form, ()) = tokio::join!(writing, looking);
        assert_eq!(form, Form::Whole, "{kind}");
        assert!(holds.is_empty());
    }
}
