//! A publisher that refuses topics on demand, and records only the messages that it accepted.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use comms_core::{
    Error, Message, Publisher, async_trait,
    transport::{Acks, Receipt},
};

use super::recorder::payload;

/// Returns the error with which a message is refused; `None`: accepted.
type Judge = Box<dyn Fn(&Message) -> Option<Error> + Send + Sync>;
type Lane = (String, Option<Vec<u8>>);

/// The messages that publishers accepted, in order. Shared by the publishers of several processes.
#[derive(Clone, Default)]
pub struct Accepted(Arc<Mutex<Vec<Message>>>);

impl Accepted {
    pub fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// Returns the payloads to `topic`, with repetitions.
    pub fn to(&self, topic: &str) -> Vec<String> {
        self.0.lock().unwrap().iter().filter(|m| m.topic() == topic).map(payload).collect()
    }

    pub fn ids(&self) -> Vec<String> {
        self.0.lock().unwrap().iter().map(|message| message.id().to_owned()).collect()
    }

    /// Returns the payloads by topic and key, in the order of their first delivery.
    pub fn first_by_lane(&self) -> HashMap<(String, String), Vec<String>> {
        let accepted = self.0.lock().unwrap();
        let (mut known, mut lanes) = (HashSet::new(), HashMap::<_, Vec<_>>::new());
        for message in accepted.iter().filter(|message| known.insert(message.id())) {
            let key = message.key().map(String::from_utf8_lossy).unwrap_or_default();
            lanes.entry((message.topic().to_string(), key.into_owned())).or_default().push(payload(message));
        }
        lanes
    }
}

/// A publisher that keeps the order of a key: after a refused message, later messages of its key are refused until it
/// is accepted.
pub struct Gate {
    accepted: Accepted,
    judge: Mutex<Judge>,
    /// The refused message of each key.
    blocked: Mutex<HashMap<Lane, String>>,
    refused: AtomicUsize,
    /// The time from a hand-over to its result.
    delay: Duration,
}

impl Gate {
    pub fn new(accepted: &Accepted, delay: Duration) -> Arc<Self> {
        Arc::new(Self {
            accepted: accepted.clone(),
            judge: Mutex::new(Box::new(|_| None)),
            blocked: Mutex::default(),
            refused: AtomicUsize::new(0),
            delay,
        })
    }

    pub fn judge(&self, judge: impl Fn(&Message) -> Option<Error> + Send + Sync + 'static) {
        *self.judge.lock().unwrap() = Box::new(judge);
    }

    /// Accepts every message from now on.
    pub fn heal(&self) {
        self.judge(|_| None);
    }

    pub fn refused(&self) -> usize {
        self.refused.load(Ordering::SeqCst)
    }

    fn answer(&self, message: Message) -> Result<Receipt, Error> {
        let lane = (message.topic().to_owned(), message.key().map(<[u8]>::to_vec));
        let mut blocked = self.blocked.lock().unwrap();
        let keyed = message.key().is_some();
        let behind = keyed && blocked.get(&lane).is_some_and(|id| *id != message.id());
        let error = if behind {
            Some(Error::not_executed("behind a refused message of its key"))
        } else {
            (self.judge.lock().unwrap())(&message)
        };
        let Some(error) = error else {
            blocked.remove(&lane);
            self.accepted.0.lock().unwrap().push(message);
            return Ok(Receipt::default());
        };
        self.refused.fetch_add(1, Ordering::SeqCst);
        if !behind && keyed {
            blocked.insert(lane, message.id().to_owned());
        }
        Err(error)
    }
}

#[async_trait]
impl Publisher for Gate {
    fn enqueue(&self, batch: &mut VecDeque<Message>) -> Acks {
        let results = batch.drain(..).map(|message| self.answer(message)).collect();
        let delay = self.delay;
        Box::pin(async move {
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            results
        })
    }

    async fn ready(&self) -> Result<(), Error> {
        Ok(())
    }

    async fn flush(&self) -> Result<(), Error> {
        Ok(())
    }
}

/// A publisher that takes every message, and never resolves a batch with a message to one topic.
pub struct Silent {
    topic: &'static str,
    gate: Arc<Gate>,
    waiting: AtomicUsize,
}

impl Silent {
    pub fn new(topic: &'static str, gate: Arc<Gate>) -> Self {
        Self { topic, gate, waiting: AtomicUsize::new(0) }
    }

    /// Returns the number of messages without a result.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Publisher for Silent {
    fn enqueue(&self, batch: &mut VecDeque<Message>) -> Acks {
        let (silent, mut others): (VecDeque<_>, _) =
            batch.drain(..).partition(|message| message.topic() == self.topic);
        if silent.is_empty() {
            return self.gate.enqueue(&mut others);
        }
        self.waiting.fetch_add(silent.len() + others.len(), Ordering::SeqCst);
        drop(self.gate.enqueue(&mut others));
        Box::pin(std::future::pending())
    }

    async fn ready(&self) -> Result<(), Error> {
        Ok(())
    }

    async fn flush(&self) -> Result<(), Error> {
        Ok(())
    }
}
