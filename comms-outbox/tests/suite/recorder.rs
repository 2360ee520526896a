//! A publisher that records its messages, and returns results on demand.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use comms_core::{
    Error, Message, Publisher, async_trait,
    transport::{Acks, Receipt},
};
use tokio::sync::Semaphore;

/// The messages by number. The flag is true once a message has a result.
#[derive(Default)]
struct Log {
    next: u64,
    entries: Vec<(u64, Message, bool)>,
}

type Judge = Box<dyn Fn(&Message) -> Result<(), Error> + Send + Sync>;

pub struct Recorder {
    log: Arc<Mutex<Log>>,
    judge: Mutex<Judge>,
    /// The time from a hand-over to its result.
    delay: Duration,
    /// The most messages without a result.
    bound: usize,
    room: Arc<Semaphore>,
}

impl Recorder {
    pub fn new() -> Arc<Self> {
        Self::with(Duration::ZERO, 100_000)
    }

    pub fn with(delay: Duration, bound: usize) -> Arc<Self> {
        let judge: Judge = Box::new(|_| Ok(()));
        let room = Arc::new(Semaphore::new(bound));
        Arc::new(Self { log: Arc::default(), judge: Mutex::new(judge), delay, bound, room })
    }

    pub fn judge(&self, judge: impl Fn(&Message) -> Result<(), Error> + Send + Sync + 'static) {
        *self.judge.lock().unwrap() = Box::new(judge);
    }

    pub fn seen(&self) -> Vec<Message> {
        self.log.lock().unwrap().entries.iter().map(|(_, message, _)| message.clone()).collect()
    }

    pub fn count(&self) -> usize {
        self.log.lock().unwrap().entries.len()
    }

    /// Simulates a crash of the process: messages without a result were never sent.
    pub fn drop_unacknowledged(&self) {
        self.log.lock().unwrap().entries.retain(|(_, _, answered)| *answered);
    }

    pub fn payloads(&self) -> Vec<String> {
        self.seen().iter().map(payload).collect()
    }

    /// Returns the payloads by key, in the order of their first delivery.
    pub fn first_by_key(&self) -> HashMap<String, Vec<String>> {
        let (mut known, mut keys) = (HashSet::new(), HashMap::<_, Vec<_>>::new());
        let seen = self.seen();
        for message in &seen {
            if known.insert(message.id()) {
                let key = message.key().map(String::from_utf8_lossy).unwrap_or_default();
                keys.entry(key.into_owned()).or_default().push(payload(message));
            }
        }
        keys
    }
}

pub fn payload(message: &Message) -> String {
    String::from_utf8(message.payload().unwrap().to_vec()).unwrap()
}

#[async_trait]
impl Publisher for Recorder {
    fn enqueue(&self, batch: &mut VecDeque<Message>) -> Acks {
        let (mut results, mut permits, mut numbers) = (Vec::new(), Vec::new(), Vec::new());
        while !batch.is_empty() {
            let Ok(permit) = self.room.clone().try_acquire_owned() else { break };
            let Some(message) = batch.pop_front() else { break };
            results.push((self.judge.lock().unwrap())(&message).map(|()| Receipt::default()));
            permits.push(permit);
            let mut log = self.log.lock().unwrap();
            numbers.push(log.next);
            let entry = (log.next, message, self.delay.is_zero());
            log.entries.push(entry);
            log.next += 1;
        }
        // Like a broker's client, it sends the messages even if the acknowledgements are dropped.
        let (delay, log) = (self.delay, self.log.clone());
        let answer = tokio::spawn(async move {
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
                let mut log = log.lock().unwrap();
                for number in numbers {
                    if let Ok(at) = log.entries.binary_search_by_key(&number, |(number, _, _)| *number) {
                        log.entries[at].2 = true;
                    }
                }
            }
            drop(permits);
            results
        });
        Box::pin(async move { answer.await.unwrap() })
    }

    async fn ready(&self) -> Result<(), Error> {
        self.room.acquire().await.map(drop).map_err(Error::fatal)
    }

    async fn flush(&self) -> Result<(), Error> {
        let all = u32::try_from(self.bound).unwrap();
        self.room.acquire_many(all).await.map(drop).map_err(Error::fatal)
    }
}
