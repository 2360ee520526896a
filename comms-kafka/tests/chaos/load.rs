//! The producer of the records, and what the broker has acknowledged.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, ClientContext, Message as _,
    error::KafkaError,
    producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer},
    types::RDKafkaErrorCode,
};

use crate::ledger::now;

const KEYS: u32 = 1_000;
const PAYLOAD: usize = 100;

/// The place of a record in the log, and the time of its acknowledgement.
#[derive(Clone, Copy, Debug)]
pub struct Ack {
    pub partition: i32,
    pub offset: i64,
    pub time: u64,
}

/// The acknowledgements by the index of the record. A record without one has `None`.
pub type Acks = Vec<Option<Ack>>;

/// What is published.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    /// Records per second.
    pub rate: u32,
    /// Gives 10% of the records the key 0, which no other record has.
    pub hot: bool,
    /// The number of records, or the load runs until it is stopped.
    pub count: Option<u32>,
}

impl Flow {
    pub fn key(self, index: u32) -> u32 {
        if self.hot && index.is_multiple_of(10) {
            return 0;
        }
        1 + (index.wrapping_mul(2_654_435_761) >> 8) % KEYS
    }
}

/// Returns the number of the key, and the index of the record.
pub fn decode(payload: &[u8]) -> (u32, u32) {
    let number = |at: usize| u32::from_le_bytes(payload[at..at + 4].try_into().unwrap());
    (number(0), number(4))
}

fn encode(key: u32, index: u32) -> [u8; PAYLOAD] {
    let mut payload = [0; PAYLOAD];
    payload[..4].copy_from_slice(&key.to_le_bytes());
    payload[4..8].copy_from_slice(&index.to_le_bytes());
    payload
}

struct Reports(Arc<Mutex<Acks>>);

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(message) => {
                let (_, index) = decode(message.payload().unwrap());
                let ack = Ack { partition: message.partition(), offset: message.offset(), time: now() };
                let mut acks = self.0.lock().unwrap();
                let length = acks.len().max(index as usize + 1);
                acks.resize(length, None);
                acks[index as usize] = Some(ack);
            }
            Err((error, _)) => println!("a record was not acknowledged: {error}"),
        }
    }
}

/// A producer that runs in a thread of its own.
pub struct Load {
    acks: Arc<Mutex<Acks>>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<u32>,
}

impl Load {
    /// The first record has the index `first`, so that a second load goes on with the indexes of an earlier one.
    pub fn start(client: &ClientConfig, topic: &str, flow: Flow, acks: &Arc<Mutex<Acks>>) -> Self {
        let mut client = client.clone();
        client.set("enable.idempotence", "true").set("linger.ms", "5").set("message.timeout.ms", "120000");
        client.set("partitioner", "murmur2_random").set("topic.metadata.refresh.interval.ms", "2000");
        let producer = client.create_with_context(Reports(acks.clone())).unwrap();
        let (acks, stop) = (acks.clone(), Arc::new(AtomicBool::new(false)));
        let first = u32::try_from(acks.lock().unwrap().len()).unwrap();
        let (topic, over) = (topic.to_owned(), stop.clone());
        let thread = thread::spawn(move || produce(&producer, &topic, flow, first, &over));
        Self { acks, stop, thread }
    }

    /// Stops at once, or after the given number of records. Returns how many records were not acknowledged.
    pub fn finish(self, now: bool) -> usize {
        self.stop.store(now, Ordering::Relaxed);
        let sent = self.thread.join().unwrap() as usize;
        let mut acks = self.acks.lock().unwrap();
        let length = acks.len().max(sent);
        acks.resize(length, None);
        acks.iter().filter(|ack| ack.is_none()).count()
    }
}

/// Returns the index after the last record.
fn produce(
    producer: &ThreadedProducer<Reports>,
    topic: &str,
    flow: Flow,
    first: u32,
    over: &AtomicBool,
) -> u32 {
    let began = Instant::now();
    let mut index = first;
    while !over.load(Ordering::Relaxed) && flow.count.is_none_or(|count| index < first + count) {
        let due = Duration::from_secs(1) * (index - first) / flow.rate;
        if let Some(wait) = due.checked_sub(began.elapsed()) {
            thread::sleep(wait.max(Duration::from_millis(5)));
        }
        let key = flow.key(index);
        let (name, payload) = (format!("key-{key}"), encode(key, index));
        match producer.send(BaseRecord::to(topic).key(&name).payload(&payload)) {
            Ok(()) => index += 1,
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                thread::sleep(Duration::from_millis(5));
            }
            Err((error, _)) => panic!("{error}"),
        }
    }
    producer.flush(Duration::from_secs(120)).unwrap();
    index
}
