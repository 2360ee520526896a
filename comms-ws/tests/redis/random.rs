//! Random failures under load.
//!
//! Eight publishers publish each message until it is acknowledged, and two nodes follow the topic, while the server is
//! killed, paused and flushed and its connections are closed. No position has two contents, no follower skips an offset
//! without a jump, and at the end both have everything.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use comms_core::clock::Clock;
use comms_ws::backplane::{Position, Published};
use futures::future::join_all;
use rustix::process::Signal;
use tokio::time::{sleep, timeout};

use crate::{
    follower::{Followed, follow},
    node::{KEEP, Node},
    server::{Server, node},
};

const TOPIC: &str = "orders {1}";
const SHORT: Duration = Duration::from_millis(200);

#[derive(Debug, Clone, Copy)]
enum Fault {
    CloseReceiving,
    CloseCommands,
    Pause,
    Kill,
    Flush,
    /// The key of the topic expires, or is evicted.
    Lose,
}

use Fault::{CloseCommands, CloseReceiving, Flush, Kill, Lose, Pause};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis; run scripts/test"]
async fn closed_connections_and_pauses_lose_nothing() {
    let run = run(&[], &[CloseReceiving, CloseCommands, Pause]).await;
    assert_eq!(run.jumps(), 0, "one run of the server has one epoch");
    run.check();
    run.check_ids();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis; run scripts/test"]
async fn crashes_with_all_data_repeat_no_message() {
    let durable = ["--appendonly", "yes", "--appendfsync", "always"];
    let run = run(&durable, &[CloseReceiving, CloseCommands, Pause, Kill]).await;
    run.check();
    run.check_ids();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis; run scripts/test"]
async fn lost_data_give_no_position_twice() {
    run(&[], &[CloseReceiving, Pause, Kill, Flush, Lose]).await.check();
}

/// The outcome of a run.
struct Run {
    acknowledged: Vec<(Position, String)>,
    followed: Vec<Followed>,
}

async fn run(options: &[&str], faults: &[Fault]) -> Run {
    let mut server = Server::start(options).await;
    let config = server.config().response_timeout(SHORT).connect_timeout(SHORT).ping_interval(SHORT);
    let config = config.check_interval(SHORT);
    let nodes = [Arc::new(node(config.clone())), Arc::new(node(config))];
    let followers = [follow(nodes[0].clone(), TOPIC).await, follow(nodes[1].clone(), TOPIC).await];
    let (acknowledged, stop) = (Mutex::default(), AtomicBool::new(false));
    let publishers = (0..8).map(|publisher| publish(&nodes[publisher % 2], publisher, &acknowledged, &stop));
    let failures = async {
        for round in 0..20 {
            sleep(Duration::from_millis(100 + u64::from(random(200)))).await;
            // Each fault at least once, then random ones.
            let fault = faults.get(round).unwrap_or_else(|| &faults[usize::from(random(faults.len() as u8))]);
            fault.happen(&mut server).await;
        }
        stop.store(true, Relaxed);
    };
    futures::join!(join_all(publishers), failures);

    let start = Position { epoch: 0, offset: 0 };
    let history = async || nodes[0].backplane.history(TOPIC, KEEP, start, 1).await;
    let top = loop {
        match history().await {
            Ok(history) => break history.top,
            Err(_) => sleep(Duration::from_millis(10)).await,
        }
    };
    let mut followed = Vec::new();
    for mut follower in followers {
        let caught_up = timeout(Duration::from_secs(30), follower.wait_for(|followed| followed.at == top));
        assert!(caught_up.await.is_ok(), "a follower does not reach {top:?}");
        followed.push(follower.borrow().clone());
    }
    Run { acknowledged: acknowledged.into_inner().unwrap(), followed }
}

fn random(below: u8) -> u8 {
    (Clock::system().random_unit() * f64::from(below)) as u8
}

/// Publishes each message until it is acknowledged.
async fn publish(
    node: &Node,
    publisher: usize,
    acknowledged: &Mutex<Vec<(Position, String)>>,
    stop: &AtomicBool,
) {
    for n in 0.. {
        let id = format!("{publisher}/{n}");
        let position = loop {
            match node.try_publish(TOPIC, &id, id.clone(), Some(KEEP)).await {
                Ok(Published::New(Some(position)) | Published::Duplicate(position)) => break position,
                Ok(Published::New(None)) => panic!("a position is missing"),
                Err(_) => sleep(Duration::from_millis(5)).await,
            }
        };
        acknowledged.lock().unwrap().push((position, id));
        if stop.load(Relaxed) {
            return;
        }
        sleep(Duration::from_millis(u64::from(random(5)))).await;
    }
}

impl Fault {
    async fn happen(self, server: &mut Server) {
        let close = |kind: &str| redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg(kind).clone();
        let command = match self {
            CloseReceiving => close("pubsub"),
            CloseCommands => close("normal"),
            Flush => redis::cmd("FLUSHALL"),
            Lose => {
                let mut client = server.client().await;
                let keys: Vec<String> =
                    redis::cmd("KEYS").arg("*:meta").query_async(&mut client).await.unwrap();
                redis::cmd("DEL").arg("none").arg(keys).clone()
            }
            Pause => {
                server.signal(Signal::STOP);
                sleep(SHORT * u32::from(random(3))).await;
                return server.signal(Signal::CONT);
            }
            Kill => {
                server.kill();
                sleep(SHORT * u32::from(random(3))).await;
                return server.restart().await;
            }
        };
        command.exec_async(&mut server.client().await).await.unwrap();
    }
}

impl Run {
    fn jumps(&self) -> usize {
        self.followed.iter().map(|followed| followed.jumps).sum()
    }

    /// Checks that a position has one content everywhere, and that the followers skipped nothing without a jump.
    fn check(&self) {
        let mut contents: HashMap<Position, &str> = HashMap::new();
        let accepted = self.followed.iter().flat_map(|followed| &followed.accepted);
        for (position, id) in self.acknowledged.iter().chain(accepted) {
            assert_eq!(*contents.entry(*position).or_insert(id), id, "{position:?} has two contents");
        }
        for followed in &self.followed {
            let skips = followed.accepted.windows(2).filter(|pair| {
                let (before, after) = (pair[0].0, pair[1].0);
                after != Position { offset: before.offset + 1, ..before }
            });
            assert!(skips.count() <= followed.jumps);
        }
        let counts: Vec<_> = self.followed.iter().map(|f| (f.accepted.len(), f.jumps)).collect();
        println!("{} acknowledged, (accepted, jumps): {counts:?}", self.acknowledged.len());
        assert!(self.acknowledged.len() > 100);
    }

    /// Checks that each message has one position, and that no follower has a message twice.
    fn check_ids(&self) {
        let accepted = self.followed.iter().flat_map(|followed| &followed.accepted);
        let mut positions = HashMap::new();
        for (position, id) in self.acknowledged.iter().chain(accepted) {
            assert_eq!(positions.entry(id).or_insert(position), &position, "{id} has two positions");
        }
    }
}
