//! A member of the group: a process of its own, started from this test binary.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use comms_core::{
    Delivery, Error, Message, Outcome, clock::Clock, handler_fn, resilience::Backoff,
    transport::AttemptConfig,
};
use comms_kafka::{Consumer, KafkaConfig, KafkaPublisher};
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    ledger::{Kind, Ledger},
    load,
};

/// The settings of a member, as JSON.
pub const MEMBER: &str = "COMMS_CHAOS_MEMBER";

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MemberConfig {
    pub process: u16,
    /// The member creates this file when it handles SIGTERM.
    pub ready: PathBuf,
    pub ledger: PathBuf,
    pub kafka: Vec<(String, String)>,
    pub brokers: String,
    pub topic: String,
    pub group: String,
    pub work: Work,
    /// Makes a part of the handlers hang, panic, block their thread, fail, or refuse their record.
    pub faults: bool,
    /// Makes every record of key 0 fail as a deployment fault until this file exists.
    pub repaired: Option<PathBuf>,
    pub max_gap: Option<usize>,
}

/// The time that a handler awaits.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum Work {
    Millis(u64),
    /// 10 ms for each second key, none for the others.
    Mixed,
}

/// Runs as the member of the settings in the environment until SIGTERM, if there are any.
pub async fn run() {
    let Ok(config) = std::env::var(MEMBER) else { return };
    let config: MemberConfig = serde_json::from_str(&config).unwrap();
    silence_expected_panics();
    let mut terminate = signal(SignalKind::terminate()).unwrap();
    std::fs::write(&config.ready, "").unwrap();
    let result = consumer(config)
        .run(async move {
            terminate.recv().await;
        })
        .await;
    result.unwrap();
}

/// The only place that depends on the settings of the consumer.
fn consumer(config: MemberConfig) -> Consumer {
    let mut kafka = KafkaConfig::new(&config.brokers);
    for (key, value) in &config.kafka {
        kafka = kafka.librdkafka(key, value);
    }
    let backoff = Backoff::new(Duration::from_millis(50), Duration::from_millis(500)).unwrap();
    let attempts = AttemptConfig::default().backoff(backoff).timeout(Duration::from_secs(1));
    let dead_letters = KafkaPublisher::new(&kafka_publisher(&config), Clock::system()).unwrap();
    let mut builder = Consumer::builder(&kafka, &*config.group)
        .dead_letter(Arc::new(dead_letters))
        .attempts(attempts)
        .drain(Duration::from_secs(3));
    if let Some(gap) = config.max_gap {
        builder = builder.max_gap(gap);
    }
    let topic = config.topic.clone();
    let ledger = Ledger::open(&config.ledger);
    let member = Arc::new(Member { config, ledger });
    let handler = handler_fn(move |delivery: Delivery| {
        let member = member.clone();
        async move { member.handle(&delivery).await }
    });
    builder.on(topic, handler).build().unwrap()
}

/// The settings of the group are not for a producer.
fn kafka_publisher(config: &MemberConfig) -> KafkaConfig {
    KafkaConfig::new(&config.brokers)
}

fn payload(message: &Message) -> &[u8] {
    message.payload().unwrap()
}

struct Member {
    config: MemberConfig,
    ledger: Ledger,
}

#[derive(PartialEq, Eq)]
enum Fault {
    Hang,
    Panic,
    Block,
    Fail,
}

impl Member {
    async fn handle(&self, delivery: &Delivery) -> Result<Outcome, Error> {
        let (key, index) = load::decode(payload(&delivery.message));
        let attempt = Attempt::begin(self, index);
        if key == 0 && self.config.repaired.as_deref().is_some_and(|file| !Path::exists(file)) {
            return Err(attempt.over(Kind::Fail, Error::misconfigured("not repaired yet")));
        }
        if self.config.faults && index % 1_000 == 5 {
            return Err(attempt.over(Kind::Refuse, Error::invalid("refused")));
        }
        match self.fault(index, delivery.attempt) {
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::Panic) => panic!("{PANIC}"),
            Some(Fault::Block) => std::thread::sleep(Duration::from_millis(200)),
            Some(Fault::Fail) => return Err(attempt.over(Kind::Fail, Error::indeterminate("failed"))),
            None => {}
        }
        let work = match self.config.work {
            Work::Millis(work) => work,
            Work::Mixed => u64::from(key % 2) * 10,
        };
        if work > 0 {
            tokio::time::sleep(Duration::from_millis(work)).await;
        }
        Ok(attempt.over(Kind::End, Outcome::Done))
    }

    /// Only first attempts have faults, so that the record is handled in the end.
    fn fault(&self, index: u32, attempt: u32) -> Option<Fault> {
        if !self.config.faults || attempt > 1 {
            return None;
        }
        match index % 1_000 {
            1 => Some(Fault::Hang),
            2 => Some(Fault::Panic),
            3 => Some(Fault::Block),
            4 => Some(Fault::Fail),
            _ => None,
        }
    }
}

/// An attempt that is in the ledger as begun. Dropping it appends that it was dropped.
struct Attempt<'a> {
    member: &'a Member,
    index: u32,
    over: bool,
}

impl<'a> Attempt<'a> {
    fn begin(member: &'a Member, index: u32) -> Self {
        member.ledger.append(Kind::Begin, member.config.process, index);
        Self { member, index, over: false }
    }

    /// Appends the end of the attempt, and returns `result`.
    fn over<T>(mut self, kind: Kind, result: T) -> T {
        self.over = true;
        self.member.ledger.append(kind, self.member.config.process, self.index);
        result
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if !self.over {
            self.member.ledger.append(Kind::Drop, self.member.config.process, self.index);
        }
    }
}

const PANIC: &str = "chaos: this handler panics";

fn silence_expected_panics() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if info.payload_as_str() != Some(PANIC) {
            print(info);
        }
    }));
}
