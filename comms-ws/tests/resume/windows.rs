//! Subscriptions with a window while messages are published, with acknowledgements at random times.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use comms_ws::{Encoding, Link, Outgoing, Session};
use rand_xoshiro::{
    Xoshiro256PlusPlus,
    rand_core::{Rng, SeedableRng},
};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    races::{TOPIC, publishers, server},
    support::{Client, Ledger, Open, Server, Transport, builder, config, publish},
};

/// A client that acknowledges and changes its subscription at random.
struct Reader {
    client: Client,
    ledger: Ledger,
    random: Xoshiro256PlusPlus,
    window: u64,
    acknowledged: u64,
}

impl Reader {
    async fn start(server: &Server, seed: u64) -> Self {
        let transport = if seed.is_multiple_of(3) { Transport::WebSocket2 } else { Transport::WebSocket };
        let mut client = Client::open(server.address, transport, &Open::of("ann")).await;
        let mut ledger = Ledger::default();
        client.checked(&mut ledger).await.unwrap();
        let random = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut reader = Self { client, ledger, random, window: 0, acknowledged: 0 };
        reader.change().await;
        reader
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.random.next_u64() % limit
    }

    fn offset(&self) -> u64 {
        self.ledger.offset(TOPIC).unwrap()
    }

    fn token(&self) -> String {
        let cursor = self.ledger.cursor();
        let tokens = cursor.split(',').find(|one| one.starts_with(TOPIC));
        tokens.unwrap().split_once('~').unwrap().0.to_owned()
    }

    /// Reads an event. The window bounds what is not acknowledged.
    async fn event(&mut self) {
        self.client.checked(&mut self.ledger).await.unwrap();
        self.check();
    }

    fn check(&self) {
        let open = self.offset() - self.acknowledged;
        assert!(open <= self.window, "{open} events are not acknowledged, with a window of {}", self.window);
    }

    /// Acknowledges what was read, or a part of it.
    async fn acknowledge(&mut self) {
        let open = self.offset() - self.acknowledged;
        self.acknowledged += if self.below(2) == 0 { open } else { 1 + self.below(open) };
        let cursor = format!("{}~{}", self.token(), self.acknowledged);
        self.client.send(json!({"type": "ack", "cursor": cursor})).await;
    }

    /// Subscribes, or subscribes again at the last event that was read, with another window.
    async fn change(&mut self) {
        self.window = [1, 2, 7, 50, 1_000][self.below(5) as usize];
        let mut frame = json!({"type": "subscribe", "topic": TOPIC, "window": self.window});
        if self.ledger.offset(TOPIC).is_some() {
            self.acknowledged = self.offset();
            frame["cursor"] = json!(format!("{}~{}", self.token(), self.offset()));
        }
        self.client.send(frame).await;
        loop {
            let frame = self.client.next().await.unwrap();
            if frame["type"] == "subscribed" {
                assert_eq!(frame["window"].as_u64(), Some(self.window));
                self.ledger.take(&frame);
                self.acknowledged = self.offset();
                return;
            }
            assert_eq!(frame["type"], "event", "sent before the change: it comes again");
        }
    }

    async fn step(&mut self) {
        match self.below(40) {
            0 => self.change().await,
            1..12 if self.offset() > self.acknowledged => self.acknowledge().await,
            _ if self.offset() >= self.acknowledged + self.window => self.acknowledge().await,
            _ => self.event().await,
        }
    }

    async fn until(&mut self, total: u64) {
        while self.offset() < total {
            match self.offset() >= self.acknowledged + self.window {
                true => self.acknowledge().await,
                false => self.event().await,
            }
        }
        assert_eq!(self.ledger.gaps(TOPIC), []);
    }
}

/// Each message arrives once and in order, and never more than the window are open, however acknowledgements, publications
/// and changes of the window meet.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_window_under_load_loses_and_repeats_nothing() {
    let server = server().await;
    let stop = Arc::new(AtomicBool::new(false));
    let publishers = publishers(&server.hub, &stop, 2);
    let mut readers = JoinSet::new();
    for seed in 0..16 {
        let mut reader = Reader::start(&server, seed).await;
        readers.spawn(async move {
            for _ in 0..200 {
                reader.step().await;
            }
            reader
        });
    }
    let readers = readers.join_all().await;
    stop.store(true, Relaxed);
    let total: u64 = publishers.join_all().await.iter().sum();
    let mut ends = JoinSet::new();
    for mut reader in readers {
        // Most of the messages are left, and a small window needs an acknowledgement for each.
        ends.spawn(async move {
            while reader.window < 1_000 {
                reader.change().await;
            }
            reader.until(total).await;
        });
    }
    ends.join_all().await;
    server.until_empty().await;
}

/// A flusher that serves many sessions is on its way to the session with the window, with the last event that fits, when an
/// acknowledgement makes room. What is read from the history must not overtake this event.
#[tokio::test]
async fn the_history_does_not_overtake_a_turn_that_is_being_written() {
    let hub = builder(config()).build().unwrap();
    let session = || Session::new("ann", vec![TOPIC.into()]);
    let mut others = Vec::new();
    for _ in 0..2_000 {
        others.push(hub.open(session(), Encoding::Json, None).unwrap());
    }
    let allowed = Session::new("bob", Vec::new()).allow(|_| true);
    let mut link = hub.open(allowed, Encoding::Json, None).unwrap();
    next(&mut link).await;
    link.receive(&json!({"type": "subscribe", "topic": TOPIC, "window": 2}).to_string()).await.unwrap();
    let token = next(&mut link).await["cursor"].as_str().unwrap().to_owned();
    publish(&hub, TOPIC, [1]).await;
    assert_eq!(next(&mut link).await["offset"], 1);
    // One turn, of which the first event fits.
    publish(&hub, TOPIC, 2..=4).await;
    tokio::task::yield_now().await;
    link.receive(&json!({"type": "ack", "cursor": format!("{token}~1")}).to_string()).await.unwrap();
    assert_eq!(next(&mut link).await["offset"], 2);
    assert_eq!(next(&mut link).await["offset"], 3);
}

async fn next(link: &mut Link) -> Value {
    match link.next().await {
        Outgoing::Frame(text) => serde_json::from_slice(&text).unwrap(),
        other => panic!("{other:?}"),
    }
}
