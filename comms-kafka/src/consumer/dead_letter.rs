//! Dead letters: records that will not be handled, carried aside whole, with the reason.

use std::{collections::VecDeque, fmt, sync::Arc};

use comms_core::{Backoff, Clock, Delivery, Error, ErrorKind, Message, Publisher, wire};

/// The longest error text in a header, bytes.
const ERROR_LIMIT: usize = 1024;

/// The topic for the dead letters of `topic`: `<topic>.dlq`, one for all groups, so that it can be
/// provisioned ahead; the header `dlq_group` says whose letter it is.
#[must_use]
pub fn dlq_topic(topic: &str) -> String {
    format!("{topic}.dlq")
}

/// Where a record stood.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) partition: i32,
    pub(super) offset: i64,
    /// Milliseconds since 1970, if the record has one.
    pub(super) timestamp: Option<i64>,
}

/// The letter for `delivery`: its key, payload and headers as they are, and the story in further headers.
pub(super) fn letter(
    delivery: &Delivery,
    place: Place,
    error: &Error,
    attempts: u32,
    clock: &Clock,
) -> Message {
    let mut letter = delivery.message.clone();
    let reason = error.chain().to_string();
    let reason = &reason[..reason.floor_char_boundary(ERROR_LIMIT)];
    let story = [
        (wire::DLQ_TOPIC, Some(letter.destination.to_string())),
        (wire::DLQ_PARTITION, Some(place.partition.to_string())),
        (wire::DLQ_OFFSET, Some(place.offset.to_string())),
        (wire::DLQ_TIMESTAMP, place.timestamp.map(|millis| millis.to_string())),
        (wire::DLQ_GROUP, Some(delivery.group.to_string())),
        (wire::DLQ_ATTEMPTS, Some(attempts.to_string())),
        (wire::DLQ_ERROR_KIND, Some(error.kind.to_string())),
        (wire::DLQ_ERROR, Some(reason.to_owned())),
        (wire::DLQ_FAILED_AT, Some(clock.rfc3339())),
    ];
    for (name, value) in story {
        letter.headers.remove(name);
        if let Some(value) = value {
            letter.headers.append(name, value);
        }
    }
    letter.destination = dlq_topic(&letter.destination).into();
    letter
}

/// Carries letters away.
pub(super) struct DeadLetters {
    publisher: Arc<dyn Publisher>,
    backoff: Backoff,
    clock: Clock,
}

impl DeadLetters {
    pub(super) fn new(publisher: Arc<dyn Publisher>, backoff: Backoff, clock: Clock) -> Self {
        Self { publisher, backoff, clock }
    }

    /// Resolves when `letter` is acknowledged. Tries for as long as it is polled: the record's offset is held
    /// meanwhile, and whoever owns the record drops this when the assignment ends. A letter that is refused for
    /// good, being too large, goes without its payload: its headers say where the record stands.
    ///
    /// # Errors
    /// `Fatal` where the publisher can take nothing more, or refuses the letter even so.
    pub(super) async fn carry(&self, letter: &Message) -> Result<(), Error> {
        let mut letter = letter.clone();
        let mut attempt = 1;
        loop {
            let error = match self.publish(&letter).await {
                Err(error) if error.kind == ErrorKind::Invalid => {
                    tracing::error!(topic = %letter.destination, error = %error.chain(), "a dead letter goes without its payload");
                    let Some(payload) = letter.payload.take() else { return Err(Error::fatal(error)) };
                    letter.headers.insert(wire::DLQ_PAYLOAD_OMITTED, payload.len().to_string());
                    continue;
                }
                Err(error) if error.kind != ErrorKind::Fatal => error,
                end => return end,
            };
            tracing::error!(topic = %letter.destination, attempt, error = %error.chain(), "a dead letter was not taken; its offset is held");
            tokio::time::sleep(self.backoff.delay(attempt, &self.clock)).await;
            attempt = attempt.saturating_add(1);
        }
    }

    async fn publish(&self, letter: &Message) -> Result<(), Error> {
        let mut batch = VecDeque::from([letter.clone()]);
        loop {
            let acks = self.publisher.enqueue(&mut batch);
            if batch.is_empty() {
                let answer = acks.await.pop();
                return answer.unwrap_or_else(|| Err(Error::indeterminate("no answer"))).map(|_| ());
            }
            self.publisher.ready().await?;
        }
    }
}

impl fmt::Debug for DeadLetters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetters").field("backoff", &self.backoff).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{sync::Mutex, time::Duration};

    /// Refuses what has a payload, as a publisher does that finds it too large.
    struct Narrow(Mutex<Vec<Message>>);

    #[comms_core::async_trait]
    impl Publisher for Narrow {
        fn enqueue(&self, batch: &mut VecDeque<Message>) -> comms_core::Acks {
            let taken: Vec<Message> = batch.drain(..).collect();
            let answer = |message: &Message| match message.payload {
                Some(_) => Err(Error::invalid("too large")),
                None => Ok(comms_core::Receipt::default()),
            };
            let answers = taken.iter().map(answer).collect();
            self.0.lock().unwrap().extend(taken);
            Box::pin(std::future::ready(answers))
        }
        async fn ready(&self) -> Result<(), Error> {
            Ok(())
        }
        async fn flush(&self) -> Result<(), Error> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_letter_that_is_too_large_goes_without_its_payload() {
        let narrow = Arc::new(Narrow(Mutex::default()));
        let letters = DeadLetters::new(narrow.clone(), Backoff::default(), Clock::system());
        let letter = Message {
            source: "shop".into(),
            id: "1".into(),
            destination: "orders.dlq".into(),
            key: None,
            headers: comms_core::Headers::new(),
            payload: Some(vec![0; 9].into()),
        };
        letters.carry(&letter).await.unwrap();
        let sent = narrow.0.lock().unwrap();
        let last = sent.last().unwrap();
        assert_eq!((last.payload.as_ref(), last.headers.text(wire::DLQ_PAYLOAD_OMITTED)), (None, Some("9")));
    }

    #[test]
    fn a_letter_has_the_whole_record_and_the_story() {
        let message = Message {
            source: "shop".into(),
            id: "1".into(),
            destination: "orders".into(),
            key: Some("k".into()),
            headers: [("x", "y"), (wire::DLQ_TIMESTAMP, "of an earlier letter")].into_iter().collect(),
            payload: None,
        };
        let delivery = Delivery::new(message, "billing", "orders/3@512");
        let place = Place { partition: 3, offset: 512, timestamp: None };
        let error = Error::invalid("ä".repeat(2_000));
        let letter = letter(&delivery, place, &error, 4, &Clock::manual(Duration::ZERO));
        assert_eq!((&*letter.destination, letter.key.as_deref()), ("orders.dlq", Some(&b"k"[..])));
        assert_eq!(letter.payload, None);
        let text = |name| letter.headers.text(name).unwrap();
        assert_eq!(text("x"), "y");
        assert_eq!(
            (text(wire::DLQ_TOPIC), text(wire::DLQ_PARTITION), text(wire::DLQ_OFFSET)),
            ("orders", "3", "512")
        );
        assert_eq!((text(wire::DLQ_GROUP), text(wire::DLQ_ATTEMPTS)), ("billing", "4"));
        assert_eq!(
            (text(wire::DLQ_ERROR_KIND), text(wire::DLQ_FAILED_AT)),
            ("invalid", "1970-01-01T00:00:00.000Z")
        );
        assert!((ERROR_LIMIT - 1..=ERROR_LIMIT).contains(&text(wire::DLQ_ERROR).len()));
        assert_eq!(letter.headers.get(wire::DLQ_TIMESTAMP), None);
    }
}
