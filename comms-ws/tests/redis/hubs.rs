//! Two hubs on one server: the end of sessions on both, and presence.

use std::{pin::pin, sync::Arc, time::Duration};

use comms_core::clock::Clock;
use comms_ws::{
    CursorKey, Encoding, Hub, HubConfig, Link, Outgoing, Session, TopicOptions,
    backplane::{Backplane, Redis, RedisConfig},
    close,
};
use rustix::process::Signal;
use tokio::time::{sleep, timeout};

use crate::{
    running::run,
    server::{Server, config, shared_url},
};

const LIMIT: Duration = Duration::from_secs(60);
const TOPIC: &str = "room/1";

/// Starts a hub, whose backplane runs until the end of the test. `clock` is that of the hub alone.
fn hub(config: RedisConfig, clock: &Clock) -> (Hub, Arc<Redis>) {
    let redis = Redis::new(config, Clock::system()).unwrap();
    let hub_config = HubConfig::default()
        .ping_interval(Duration::from_secs(36_000))
        .topic("", TopicOptions::default().without_history().presence());
    let hub = Hub::builder(hub_config, clock.clone())
        .cursor_keys([CursorKey::new(&[1; 32]).unwrap()])
        .backplane(redis.clone())
        .build()
        .unwrap();
    run(redis.clone());
    (hub, Arc::new(redis))
}

async fn open(hub: &Hub, user: &str) -> Link {
    let mut link = hub.open(Session::new(user, vec![TOPIC.to_owned()]), Encoding::Json, None).unwrap();
    let welcome = timeout(LIMIT, link.next()).await.unwrap();
    assert!(matches!(welcome, Outgoing::Frame(_)), "{welcome:?}");
    link
}

/// Waits for the end of a session by a call of `Hub::disconnect`.
async fn end(link: &mut Link) {
    let closed = async {
        loop {
            if let Outgoing::Close(reason) = link.next().await {
                return reason.code;
            }
        }
    };
    assert_eq!(timeout(LIMIT, closed).await.expect("the end of the session"), close::FORBIDDEN);
}

async fn is_open(link: &mut Link) -> bool {
    // Its topic has no history: an interruption is reported.
    while let std::task::Poll::Ready(next) = futures::poll!(pin!(link.next())) {
        if let Outgoing::Close(_) = next {
            return false;
        }
    }
    true
}

/// Repeats the call until it succeeds, as its caller does.
async fn disconnect(hub: &Hub, user: &str) {
    let repeated = async {
        while hub.disconnect(user).await.is_err() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LIMIT, repeated).await.expect("a call that succeeds");
}

async fn until_present(hub: &Hub, expected: &[&str]) {
    let met = async {
        while hub.present(TOPIC, 10).await.ok().is_none_or(|present| present != expected) {
            sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(timeout(LIMIT, met).await.is_ok(), "{expected:?}: {:?}", hub.present(TOPIC, 10).await);
}

/// The connection that receives messages breaks again and again: each call takes effect once it is there again.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis; run scripts/test"]
async fn sessions_end_on_all_nodes_in_spite_of_interruptions() {
    let server = Server::start(&[]).await;
    let config = server.config().ping_interval(Duration::from_secs(3_600));
    let ((a, _), (b, _)) = (hub(config.clone(), &Clock::system()), hub(config, &Clock::system()));
    let mut stays = open(&b, "stays").await;
    let mut client = server.client().await;
    for round in 0..10 {
        let name = format!("user {round}");
        let (mut here, mut there) = (open(&a, &name).await, open(&b, &name).await);
        let kill = redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("pubsub").clone();
        kill.exec_async(&mut client).await.unwrap();
        assert_eq!(a.disconnect(&name).await.unwrap(), 1);
        end(&mut here).await;
        end(&mut there).await;
    }
    assert!(is_open(&mut stays).await);
}

/// The call fails while the server is away, and its repetition reaches the other node after a restart without data.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis; run scripts/test"]
async fn a_call_while_the_server_is_away_fails_and_can_be_repeated() {
    let mut server = Server::start(&[]).await;
    let config = server.config();
    let ((a, _), (b, _)) = (hub(config.clone(), &Clock::system()), hub(config, &Clock::system()));
    let (mut here, mut there) = (open(&a, "ann").await, open(&b, "ann").await);
    let mut stays = open(&b, "stays").await;
    server.kill();
    let error = a.disconnect("ann").await.unwrap_err();
    assert!(error.chain().to_string().contains("repeat the call"), "{}", error.chain());
    end(&mut here).await;
    assert!(is_open(&mut there).await);
    server.restart().await;
    disconnect(&a, "ann").await;
    end(&mut there).await;
    assert!(is_open(&mut stays).await);
}

/// The server has taken the call and does not answer in time.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis; run scripts/test"]
async fn a_call_that_gets_no_answer_can_be_repeated() {
    let server = Server::start(&[]).await;
    let config = server.config().response_timeout(Duration::from_secs(1));
    let ((a, _), (b, _)) = (hub(config.clone(), &Clock::system()), hub(config, &Clock::system()));
    let (mut there, mut stays) = (open(&b, "ann").await, open(&b, "stays").await);
    disconnect(&a, "the connection is made").await;
    server.signal(Signal::STOP);
    assert!(a.disconnect("ann").await.is_err());
    server.signal(Signal::CONT);
    disconnect(&a, "ann").await;
    end(&mut there).await;
    assert!(is_open(&mut stays).await);
}

/// A node whose first sessions began while the server was away reads the calls since.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis; run scripts/test"]
async fn a_node_reads_the_calls_before_its_first_connection() {
    let config = config(&shared_url());
    let (a, _) = hub(config.clone(), &Clock::system());
    // Its connections are made after `run` has begun.
    let redis = Redis::new(config.response_timeout(Duration::from_millis(50)), Clock::system()).unwrap();
    let topics = HubConfig::default().topic("", TopicOptions::default().without_history());
    let b = Hub::builder(topics, Clock::system())
        .cursor_keys([CursorKey::new(&[1; 32]).unwrap()])
        .backplane(redis.clone())
        .build()
        .unwrap();
    for n in 0..40 {
        a.disconnect(&format!("earlier {n}")).await.unwrap();
    }
    let (mut ann, mut stays) = (open(&b, "ann").await, open(&b, "stays").await);
    a.disconnect("ann").await.unwrap();
    sleep(Duration::from_millis(200)).await;
    assert!(is_open(&mut ann).await);
    run(redis);
    end(&mut ann).await;
    assert!(is_open(&mut stays).await);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis; run scripts/test"]
async fn presence_survives_a_flush_and_a_restart() {
    let mut server = Server::start(&[]).await;
    let clock = Clock::manual(Duration::ZERO);
    let config = server.config();
    let ((a, _), (b, _)) = (hub(config.clone(), &clock), hub(config, &clock));
    let (ann, second) = (open(&a, "ann").await, open(&a, "ann").await);
    let (ben, leaves) = (open(&b, "ben").await, open(&b, "leaves").await);
    until_present(&a, &["ann", "ben", "leaves"]).await;
    drop((second, leaves));
    until_present(&b, &["ann", "ben"]).await;

    redis::cmd("FLUSHALL").exec_async(&mut server.client().await).await.unwrap();
    assert!(a.present(TOPIC, 10).await.unwrap().is_empty());
    clock.advance(Duration::from_secs(20));
    until_present(&a, &["ann", "ben"]).await;

    server.kill();
    assert!(a.present(TOPIC, 10).await.is_err());
    drop(ben);
    let cem = open(&b, "cem").await;
    // The subscription may wait for the end of the connection.
    let joined = async {
        while b.present_here(TOPIC) != ["cem"] {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LIMIT, joined).await.expect("a session in the topic");
    server.restart().await;
    let advancing = clock.clone();
    let advance = tokio::spawn(async move {
        loop {
            advancing.advance(Duration::from_millis(100));
            sleep(Duration::from_millis(5)).await;
        }
    });
    until_present(&a, &["ann", "cem"]).await;
    advance.abort();
    drop((ann, cem));
    until_present(&b, &[]).await;
}

/// The server keeps its entries over a restart, and those of a node that died in the meantime expire.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis; run scripts/test"]
async fn entries_expire_by_the_clock_of_the_server() {
    let mut server = Server::start(&["--appendonly", "yes", "--appendfsync", "always"]).await;
    let (_hub, redis) = hub(server.config(), &Clock::manual(Duration::ZERO));
    redis.set_present(TOPIC, 1, &["dies".into()], Duration::from_secs(2)).await.unwrap();
    redis.set_present(TOPIC, 2, &["lives".into()], Duration::from_secs(60)).await.unwrap();
    server.kill();
    server.restart().await;
    let read = async || loop {
        match redis.present(TOPIC, 10).await {
            Ok(mut present) => {
                present.sort();
                break present;
            }
            Err(_) => sleep(Duration::from_millis(10)).await,
        }
    };
    assert!(read().await.contains(&"lives".to_owned()));
    sleep(Duration::from_secs(2)).await;
    assert_eq!(read().await, ["lives"]);
}
