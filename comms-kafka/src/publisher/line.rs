//! The way of a publisher's messages: the two producers, the topics, and the hand-overs that are still wanted.

use rdkafka::{
    ClientConfig,
    config::FromClientConfigAndContext,
    error::KafkaError,
    producer::{BaseProducer, BaseRecord, Producer as _, PurgeConfig},
    types::RDKafkaErrorCode,
};
use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
};
use tokio_util::sync::CancellationToken;

use super::{
    acks::Slot,
    limits,
    reports::{Reports, serve},
    room::{Bound, Room},
    topic::{Parcel, SendError, Sender, Topic, is_missing},
};
use crate::{error::classify, record};
use comms_core::{Error, Message, clock::Clock};

pub(super) type Producer = BaseProducer<Reports>;

/// What the publisher, its delivery reports and its look-ups share. It holds no producer, because each producer
/// holds it.
pub(super) struct Line {
    pub(super) room: Room,
    /// The publisher is gone, and there will be no more reports.
    pub(super) closed: CancellationToken,
    /// What the shared producer puts in one batch at most, bytes.
    pub(super) batch_bytes: usize,
    topics: Mutex<HashMap<Arc<str>, Arc<Topic>>>,
    calls: Mutex<Calls>,
    producers: OnceLock<Weak<Producers>>,
}

/// The hand-overs. Locked for the whole of each, so that none is in progress when abandoned messages are taken back.
#[derive(Default)]
struct Calls {
    /// Hand-overs with a caller that waits for the answers.
    live: usize,
    /// A caller has dropped its acknowledgements since the last purge.
    abandoned: bool,
    /// A look-up of limits is under way.
    looking: bool,
}

impl Line {
    pub(super) fn new(bound: Bound, batch_bytes: usize) -> Self {
        Self {
            room: Room::new(bound),
            closed: CancellationToken::new(),
            batch_bytes,
            topics: Mutex::default(),
            calls: Mutex::default(),
            producers: OnceLock::new(),
        }
    }

    pub(super) fn producers(&self) -> Option<Arc<Producers>> {
        self.producers.get()?.upgrade()
    }

    /// Looks for the limits of topics, if no look-up is under way: messages wait for them.
    pub(super) fn look_up(&self, producers: &Arc<Producers>) {
        let mut calls = self.calls();
        if !calls.looking {
            calls.looking = true;
            limits::look_up(producers);
        }
    }

    /// The topics whose limit is wanted. None ends the look-up.
    pub(super) fn wanted(&self) -> Vec<Arc<Topic>> {
        let mut calls = self.calls();
        let mut wanted = self.topics();
        wanted.retain(|topic| topic.wants_limit());
        calls.looking = !wanted.is_empty();
        wanted
    }

    /// Takes out of the shared producer's queue what must not overtake a message that came back; all of it is sent
    /// again, in order, by its topics. Waits for no hand-over: the client sends the rest of the queue in a moment.
    pub(super) fn gather(&self, producers: &Arc<Producers>) {
        let topics = self.topics();
        topics.iter().for_each(|topic| topic.gather());
        producers.batched.purge(PurgeConfig::default().queue());
        topics.iter().for_each(|topic| topic.gathered(&**producers));
        if topics.iter().any(|topic| topic.wants_limit()) {
            self.look_up(producers);
        }
    }

    /// A caller has its answers, or wants none any more. When no caller is left that waits, the messages of those
    /// that have gone are taken out of the queues; what is on the wire stays.
    pub(super) fn ended(&self, answered: bool) {
        let mut calls = self.calls();
        calls.live -= 1;
        calls.abandoned |= !answered;
        if calls.live > 0 || !calls.abandoned {
            return;
        }
        calls.abandoned = false;
        let Some(producers) = self.producers() else { return };
        self.topics().iter().for_each(|topic| topic.abandon(&*producers));
        producers.all().iter().for_each(|producer| producer.purge(PurgeConfig::default().queue()));
    }

    fn topic(&self, name: &Arc<str>) -> Arc<Topic> {
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(topic) = topics.get(name) {
            return topic.clone();
        }
        topics.entry(name.clone()).or_insert_with(|| Arc::new(Topic::new(name.clone()))).clone()
    }

    fn topics(&self) -> Vec<Arc<Topic>> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One hand-over in progress.
pub(super) struct HandOver<'a> {
    producers: &'a Arc<Producers>,
    calls: MutexGuard<'a, Calls>,
    /// The topic of the message before: most go to the same.
    last: Option<Arc<Topic>>,
    wants_limit: bool,
}

impl HandOver<'_> {
    /// Takes `message`, for which there is room.
    pub(super) fn push(&mut self, message: Message, slot: Slot) {
        let last = self.last.take().filter(|topic| topic.name == message.topic);
        let topic = last.unwrap_or_else(|| self.producers.line.topic(&message.topic));
        self.wants_limit |= topic.push(&**self.producers, message, slot);
        self.last = Some(topic);
    }

    /// Ends the hand-over; [`Line::ended`] is called once for it.
    pub(super) fn end(mut self) {
        self.calls.live += 1;
        if self.wants_limit && !self.calls.looking {
            self.calls.looking = true;
            limits::look_up(self.producers);
        }
    }
}

/// The producers of one publisher.
pub(super) struct Producers {
    pub(super) line: Arc<Line>,
    /// Settings without those of a batch.
    pub(super) settings: ClientConfig,
    pub(super) batched: Arc<Producer>,
    /// One message in a batch. Made when a topic needs it.
    alone: Mutex<Option<Arc<Producer>>>,
    clock: Clock,
}

impl Producers {
    pub(super) fn new(settings: ClientConfig, line: Arc<Line>, clock: Clock) -> Result<Arc<Self>, Error> {
        let batched = start(&settings, &line, "kafka-publisher")?;
        let producers = Arc::new(Self { line, settings, batched, alone: Mutex::default(), clock });
        let _ = producers.line.producers.set(Arc::downgrade(&producers));
        Ok(producers)
    }

    pub(super) fn hand_over(self: &Arc<Self>) -> HandOver<'_> {
        HandOver { producers: self, calls: self.line.calls(), last: None, wants_limit: false }
    }

    /// The producers that there are.
    pub(super) fn all(&self) -> Vec<Arc<Producer>> {
        [Some(self.batched.clone()), self.lock().clone()].into_iter().flatten().collect()
    }

    fn alone(&self) -> Result<Arc<Producer>, Error> {
        let mut alone = self.lock();
        if let Some(producer) = &*alone {
            return Ok(producer.clone());
        }
        let mut settings = self.settings.clone();
        settings.set("batch.num.messages", "1").set("linger.ms", "0");
        Ok(alone.insert(start(&settings, &self.line, "kafka-alone")?).clone())
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Producer>>> {
        self.alone.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sender for Producers {
    fn send(&self, message: &Message, parcel: Box<Parcel>) -> Result<(), (SendError, Box<Parcel>)> {
        let producer = match parcel.alone {
            false => self.batched.clone(),
            true => match self.alone() {
                Ok(producer) => producer,
                Err(error) => return Err((SendError::Refused(error), parcel)),
            },
        };
        let mut record = BaseRecord::<[u8], [u8], _>::with_opaque_to(&message.topic, parcel)
            .headers(record::headers(message))
            .timestamp(self.clock.unix_millis());
        record.key = message.key.as_deref();
        record.payload = message.payload.as_deref();
        producer.send(record).map_err(|(error, record)| {
            let reason = match (error.rdkafka_error_code(), fatal(&producer)) {
                (_, Some(fatal)) => SendError::Refused(fatal),
                (Some(RDKafkaErrorCode::QueueFull), _) => SendError::Full,
                (code, _) if is_missing(code) => SendError::Missing(classify(error)),
                _ => SendError::Refused(classify(error)),
            };
            (reason, record.delivery_opaque)
        })
    }

    fn give_room(&self, size: usize) {
        self.line.room.give(size);
    }
}

/// Why `producer` can take no message any more.
pub(super) fn fatal(producer: &Producer) -> Option<Error> {
    let (code, reason) = producer.client().fatal_error()?;
    Some(Error::fatal(KafkaError::MessageProduction(code)).context(reason))
}

fn start(settings: &ClientConfig, line: &Arc<Line>, name: &str) -> Result<Arc<Producer>, Error> {
    let producer = Producer::from_config_and_context(settings, Reports::new(line.clone()));
    let producer = Arc::new(producer.map_err(classify)?);
    serve(producer.clone(), name)?;
    Ok(producer)
}

impl fmt::Debug for Producers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producers").field("room", &self.line.room).finish_non_exhaustive()
    }
}
