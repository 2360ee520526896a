//! One scenario: its topic, its group, its members, its producer, and the check at the end.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use comms_core::clock::Clock;

use crate::{
    broker::Broker,
    ledger::{Event, Kind, Ledger, Reader},
    load::{Acks, Flow, Load},
    member::{MemberConfig, Work},
    members::Members,
    oracle,
    report::Report,
    rng::Rng,
    watch::Watch,
};

/// The time limit to handle everything after the last action. It is above the session timeout (6 s), the longest stop of
/// a member (12 s) and the time to take up a change of a topic (30 s).
pub const SETTLE: Duration = Duration::from_secs(60);
const STALL: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug)]
pub enum Protocol {
    Range,
    Cooperative,
    Kip848,
}

impl Protocol {
    fn settings(self) -> Vec<(String, String)> {
        let classic = |strategy| {
            vec![
                ("session.timeout.ms", "6000"),
                ("heartbeat.interval.ms", "1000"),
                ("partition.assignment.strategy", strategy),
            ]
        };
        let settings = match self {
            Self::Range => classic("range"),
            Self::Cooperative => classic("cooperative-sticky"),
            Self::Kip848 => vec![("group.protocol", "consumer")],
        };
        let all = settings.into_iter().chain([("max.poll.interval.ms", "10000")]);
        all.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }
}

/// The settings of a scenario.
#[derive(Clone, Debug)]
pub struct Plan {
    pub name: &'static str,
    pub protocol: Protocol,
    pub work: Work,
    pub partitions: i32,
    pub flow: Flow,
    pub faults: bool,
    /// Holds the key 0 until [`World::repair`].
    pub held: bool,
    pub max_gap: Option<usize>,
}

impl Plan {
    pub fn new(name: &'static str, protocol: Protocol) -> Self {
        let flow = Flow { rate: 2_000, hot: false, count: None };
        let (work, partitions) = (Work::Millis(0), 6);
        Self { name, protocol, work, partitions, flow, faults: false, held: false, max_gap: None }
    }
}

/// Returns how long a scenario disturbs the members: `COMMS_CHAOS_SECONDS`, or 12 s.
pub fn duration() -> Duration {
    let given = std::env::var("COMMS_CHAOS_SECONDS");
    Duration::from_secs(given.map_or(12, |text| text.parse().expect("COMMS_CHAOS_SECONDS is a number")))
}

pub struct World {
    pub broker: &'static Broker,
    pub plan: Plan,
    pub topic: String,
    pub members: Members,
    pub acks: Arc<Mutex<Acks>>,
    /// A partition that may stand still.
    pub excused: Option<i32>,
    /// The longest time that another partition may stand still. Default 20 s.
    pub stall: Duration,
    group: String,
    repaired: PathBuf,
    path: PathBuf,
    ledger: Ledger,
    reader: Reader,
    events: Vec<Event>,
    finished: Vec<bool>,
    load: Option<Load>,
    watch: Option<Watch>,
    unacknowledged: usize,
}

impl World {
    /// Prepares a scenario. Neither the topic nor a member is there yet.
    pub fn new(plan: Plan) -> Self {
        let broker = Broker::get();
        let name = format!("{}-{}", plan.name.replace(' ', "-"), Clock::system().uuid_v7());
        let folder = broker.folder(&name);
        let (path, repaired) = (folder.join("ledger"), folder.join("repaired"));
        let config = MemberConfig {
            process: 0,
            ready: PathBuf::new(),
            ledger: path.clone(),
            kafka: plan.protocol.settings(),
            brokers: broker.address.clone(),
            topic: name.clone(),
            group: name.clone(),
            work: plan.work,
            faults: plan.faults,
            repaired: plan.held.then(|| repaired.clone()),
            max_gap: plan.max_gap,
        };
        Self {
            broker,
            topic: name.clone(),
            group: name,
            members: Members::new(config, folder),
            acks: Arc::default(),
            excused: None,
            stall: STALL,
            repaired,
            ledger: Ledger::open(&path),
            reader: Reader::new(&path),
            path,
            events: Vec::new(),
            finished: Vec::new(),
            load: None,
            watch: None,
            unacknowledged: 0,
            plan,
        }
    }

    /// Creates the topic and the topic of its dead letters.
    pub fn create_topic(&self) {
        self.broker.create(&self.topic, self.plan.partitions);
        self.broker.create(&self.dead_letters(), 1);
    }

    pub fn dead_letters(&self) -> String {
        format!("{}.dlq", self.topic)
    }

    /// Starts to publish the flow of the plan.
    pub fn publish(&mut self) {
        self.load = Some(Load::start(&self.broker.client(), &self.topic, self.plan.flow, &self.acks));
    }

    /// Waits for all acknowledgements. `now`: stops the producer first.
    pub fn published(&mut self, now: bool) {
        self.unacknowledged = self.load.take().map_or(0, |load| load.finish(now));
    }

    /// Starts to read the committed offsets of partitions below `partitions`.
    pub fn watch(&mut self, partitions: i32) {
        let client = self.broker.client();
        self.watch = Some(Watch::start(&client, &self.group, &self.topic, partitions, &self.path));
    }

    /// Starts a scenario with `members` members and its flow.
    pub fn start(plan: Plan, members: usize) -> Self {
        let mut world = Self::new(plan);
        world.create_topic();
        world.watch(world.plan.partitions);
        world.members.start(members);
        world.publish();
        world
    }

    /// Lets members join, leave, die and stop, one action every 1 to 4 s, for at least `time` and until each action was
    /// done. Each action comes before one of them is repeated, and a member dies or stops only when the partitions of
    /// the last one have an owner.
    pub fn disturb(&mut self, rng: &Rng, time: Duration) {
        let (end, mut next, mut actions) = (Instant::now() + time, Instant::now(), Vec::new());
        while Instant::now() < end || !actions.is_empty() || self.members.any_stopped() {
            if Instant::now() >= next {
                if actions.is_empty() && Instant::now() < end {
                    actions = vec!["join", "term", "kill", "stop"];
                    rng.shuffle(&mut actions);
                }
                let recovers = self.members.recovers();
                let possible = |action: &&str| !recovers || ["join", "term"].contains(action);
                if let Some(at) = actions.iter().position(possible) {
                    self.members.act(actions.remove(at), rng);
                    next = Instant::now() + rng.millis(1_000.0, 4_000.0);
                }
            }
            self.pause(Duration::from_millis(50));
        }
    }

    /// Waits while the members run.
    pub fn pause(&mut self, time: Duration) {
        let end = Instant::now() + time;
        loop {
            self.members.tick();
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            thread::sleep(left.min(Duration::from_millis(50)));
        }
    }

    /// Kills the broker and starts it again.
    pub fn crash_broker(&mut self, away: Duration) {
        self.ledger.append(Kind::BrokerDown, 0, 0);
        self.broker.kill();
        self.pause(away);
        self.broker.restart();
        self.ledger.append(Kind::BrokerUp, 0, 0);
    }

    /// Ends the failures of the key 0.
    pub fn repair(&self) {
        std::fs::write(&self.repaired, "").unwrap();
    }

    /// Waits until every acknowledged record for which `counts` is true is handled, and returns how long that took. At
    /// the time limit the check at the end reports the rest as lost.
    pub fn settle(&mut self, counts: impl Fn(u32) -> bool) -> Duration {
        let began = Instant::now();
        while self.missing(&counts) > 0 && began.elapsed() < SETTLE {
            self.pause(Duration::from_millis(50));
        }
        began.elapsed()
    }

    /// Returns the number of acknowledged records that are not handled and for which `counts` is true.
    pub fn missing(&mut self, counts: impl Fn(u32) -> bool) -> usize {
        self.read_ledger();
        let acks = self.acks.lock().unwrap();
        let finished = |index: usize| self.finished.get(index).copied().unwrap_or_default();
        let missing = acks.iter().enumerate().filter(|(index, ack)| ack.is_some() && !finished(*index));
        missing.filter(|(index, _)| counts(u32::try_from(*index).unwrap())).count()
    }

    fn read_ledger(&mut self) {
        for event in self.reader.read() {
            if matches!(event.kind, Kind::End | Kind::Refuse) {
                let index = event.number as usize;
                self.finished.resize(self.finished.len().max(index + 1), false);
                self.finished[index] = true;
            }
            self.events.push(event);
        }
    }

    /// Ends the producer and the members, checks, and returns the counts. `counts`: see [`oracle::check`].
    pub fn finish(&mut self, counts: impl Fn(u32) -> bool) -> Report {
        self.published(true);
        let settled = self.settle(&counts);
        self.members.leave();
        let committed = self.watch.take().map(Watch::finish);
        self.read_ledger();
        let acks = self.acks.lock().unwrap();
        let mut report = oracle::check(&self.events, &acks, self.plan.flow, &self.members.stopped, counts);
        report.longest_pause.retain(|partition, _| Some(*partition) != self.excused);
        let Plan { name, protocol, work, .. } = &self.plan;
        let actions = &self.members.actions;
        println!("{name}: {protocol:?}, {work:?}, {actions:?}, settled in {settled:.1?}; {report}");
        assert!(self.members.bad.is_empty(), "{name}: {:?}", self.members.bad);
        assert_eq!(self.unacknowledged, 0, "{name}: records were not acknowledged");
        report.judge(name, self.stall);
        if let Some(committed) = committed {
            for ack in acks.iter().flatten() {
                let committed = committed.get(&ack.partition).copied().unwrap_or_default();
                assert!(
                    committed > ack.offset,
                    "{name}: {ack:?} is not committed after the close: {committed}"
                );
            }
        }
        report
    }
}
