//! Random reconfigurations: processes with random topics, refusals, crashes and late commits.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use comms_core::{Error, Message, UnitOfWork, clock::Clock};

use futures::StreamExt;

use super::{
    Backend, Tx,
    gate::{Accepted, Gate},
    message_to, run, send, until,
};

const TOPICS: [&str; 4] = ["a", "b", "c", "d"];

/// One run. Every random choice depends on the seed, except the timing of the tasks.
struct Run<B: Backend> {
    backend: B,
    accepted: Accepted,
    random: Clock,
    /// Only orderly shutdowns, and no refusals.
    clean: bool,
    written: BTreeMap<(String, String), Vec<String>>,
    /// Open transactions, each with a key that no other transaction uses.
    late: Vec<(Tx<B>, Message)>,
    next: usize,
}

/// Each run ends with one process that names all topics. Every committed row was delivered in the order of its key, and
/// exactly once in a run with orderly shutdowns and without refusals.
pub async fn random_reconfigurations_lose_nothing<B: Backend>(seeds: std::ops::Range<u64>, late: bool) {
    futures::stream::iter(seeds).for_each_concurrent(4, |seed| one::<B>(seed, late)).await;
}

async fn one<B: Backend>(seed: u64, late: bool) {
    let mut run = Run {
        backend: B::start().await,
        accepted: Accepted::default(),
        random: Clock::seeded(Duration::ZERO, seed),
        clean: seed.is_multiple_of(3),
        written: BTreeMap::new(),
        late: Vec::new(),
        next: 0,
    };
    let mut trace = Vec::new();
    for _ in 0..run.between(5, 9) {
        run.write(late).await;
        trace.push(run.processes(late).await);
    }
    run.commit_late(1.0).await;
    run.finish(seed, &trace).await;
}

impl<B: Backend> Run<B> {
    fn chance(&self, probability: f64) -> bool {
        self.random.random_unit() < probability
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    fn between(&self, low: usize, high: usize) -> usize {
        low + ((high - low + 1) as f64 * self.random.random_unit()) as usize
    }

    fn row(&mut self, key: Option<&str>) -> Message {
        let topic = TOPICS[self.between(0, 3)];
        let own = self.next.to_string();
        self.next += 1;
        let key = key.map_or_else(|| self.between(0, 1).to_string(), |prefix| format!("{prefix}-{own}"));
        message_to(topic, &key, &own)
    }

    fn note(&mut self, message: &Message) {
        let key = String::from_utf8(message.key().unwrap().to_vec()).unwrap();
        let lane = (message.topic().to_string(), key);
        self.written.entry(lane).or_default().push(super::recorder::payload(message));
    }

    /// Writes transactions with some rows. Some of them are rolled back, and some commit later.
    async fn write(&mut self, late: bool) {
        for _ in 0..self.between(1, 6) {
            let rows: Vec<_> = (0..self.between(1, 8)).map(|_| self.row(None)).collect();
            if self.chance(0.15) {
                let unit = self.backend.unit();
                let mut tx = unit.begin().await.unwrap();
                comms_core::Outbox::enqueue(&unit, &mut tx, &rows).await.unwrap();
                continue;
            }
            send(&self.backend, &rows).await;
            rows.iter().for_each(|row| self.note(row));
        }
        if late && self.late.len() < 3 && self.chance(0.5) {
            let (unit, row) = (self.backend.unit(), self.row(Some("late")));
            let mut tx = unit.begin().await.unwrap();
            comms_core::Outbox::enqueue(&unit, &mut tx, std::slice::from_ref(&row)).await.unwrap();
            self.late.push((tx, row));
        }
    }

    async fn commit_late(&mut self, probability: f64) {
        for (tx, row) in std::mem::take(&mut self.late) {
            if self.chance(probability) {
                self.backend.unit().commit(tx).await.unwrap();
                self.note(&row);
            } else {
                self.late.push((tx, row));
            }
        }
    }

    /// Returns the lease of a process. A crash leaves a lease behind, so it is short. Without crashes it is long, because a
    /// process that stalls for longer than its lease delivers rows again.
    fn lease(&self) -> Duration {
        if self.clean { Duration::from_secs(30) } else { Duration::from_millis(300) }
    }

    /// Returns the topics of a process, sometimes with an unknown one; `None`: all.
    fn named(&self) -> Option<Vec<&'static str>> {
        if self.chance(0.2) {
            return None;
        }
        let mut named: Vec<_> = TOPICS.into_iter().filter(|_| self.chance(0.5)).collect();
        if named.is_empty() || self.chance(0.1) {
            named.push("unknown");
        }
        Some(named)
    }

    /// Runs one process or two at once for a while, with writes meanwhile.
    async fn processes(&mut self, late: bool) -> String {
        let (mut trace, mut running) = (String::new(), Vec::new());
        for owner in ["one", "two"].into_iter().take(self.between(1, 2)) {
            let gate = Gate::new(&self.accepted, Duration::from_millis(self.between(0, 8) as u64));
            let refusals: Vec<_> = TOPICS.into_iter().filter(|_| !self.clean && self.chance(0.3)).collect();
            let (random, probability) = (self.random.clone(), [0.02, 0.3, 1.0][self.between(0, 2)]);
            let named = self.named();
            trace += &format!("{owner} {named:?}, refused {refusals:?} at {probability}; ");
            gate.judge(move |message| {
                let refused = refusals.contains(&message.topic()) && random.random_unit() < probability;
                refused.then(|| Error::misconfigured("the topic does not exist"))
            });
            let relay = self.backend.relay(gate).owner(owner).page([1, 3, 500][self.between(0, 2)]);
            let relay = relay.in_flight([2, 10_000][self.between(0, 1)]).lease(self.lease());
            running.push(run(match named {
                Some(named) => relay.topics(named),
                None => relay,
            }));
        }
        self.write(late).await;
        tokio::time::sleep(Duration::from_millis(self.between(1, 150) as u64)).await;
        self.commit_late(0.4).await;
        tokio::time::sleep(Duration::from_millis(self.between(1, 250) as u64)).await;
        for relay in running {
            if self.clean || self.chance(0.5) {
                relay.stop().await;
            } else {
                trace += "crash; ";
                relay.crash().await;
            }
        }
        trace
    }

    async fn finish(self, seed: u64, trace: &[String]) {
        let relay = self.backend.relay(Gate::new(&self.accepted, Duration::ZERO)).owner("one");
        let all = self.chance(0.5);
        let relay = run(if all { relay } else { relay.topics(TOPICS) });
        let rows: usize = self.written.values().map(Vec::len).sum();
        let about = || format!("seed {seed}: {trace:#?}, at last {}", if all { "all" } else { "by name" });
        let whole = || self.accepted.first_by_lane().values().map(Vec::len).sum::<usize>() >= rows;
        until(&format!("every row, {}", about()), async || whole()).await;
        // Only known topics: the branch of a topic without rows remains if no process names it.
        let known = |name: &str| TOPICS.contains(&name);
        until(&format!("no branch, {}", about()), async || {
            self.backend.branches().await.iter().all(|branch| !known(&branch.topic))
        })
        .await;
        relay.stop().await;
        let delivered: BTreeMap<_, _> = self.accepted.first_by_lane().into_iter().collect();
        assert_eq!(delivered, self.written, "{}", about());
        assert!(self.backend.parked().await.is_empty(), "{}", about());
        let ids = self.accepted.ids();
        let distinct = ids.iter().collect::<HashSet<_>>().len();
        assert!(
            !self.clean || distinct == ids.len(),
            "{} of {} were redelivered, {}",
            ids.len() - distinct,
            ids.len(),
            about()
        );
    }
}
