//! Messages that pub/sub loses, and messages of other programs.

use std::time::Duration;

use comms_ws::backplane::{Position, Retention};
use redis::aio::MultiplexedConnection;

use crate::{
    node::KEEP,
    server::{Server, config, node, shared_url},
};

/// Stores the next message of `topic` in one step, as the script does, and does not publish it.
async fn store_only(client: &mut MultiplexedConnection, prefix: &str, topic: &str, body: &str) {
    const STORE: &str = "
        local offset = redis.call('HINCRBY', KEYS[1], 'top', 1)
        local time = redis.call('TIME')[1] * 1000
        redis.call('XADD', KEYS[2], offset .. '-0', 't', time, 'b', ARGV[1])";
    let key = |rest: &str| format!("{{{prefix}:{topic}}}:{rest}");
    let mut store = redis::cmd("EVAL");
    store.arg(STORE).arg(2).arg(key("meta")).arg(key("log")).arg(body);
    store.exec_async(client).await.unwrap();
}

async fn client(url: &str) -> MultiplexedConnection {
    redis::Client::open(url).unwrap().get_multiplexed_async_connection().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis; run scripts/test"]
async fn a_lost_last_message_is_delivered_by_the_check() {
    let config = config(&shared_url()).check_interval(Duration::from_millis(20));
    let a = node(config.clone());
    let mut client = client(&shared_url()).await;
    a.subscribe("t").await;
    let start = a.publish("t", "first").await;
    store_only(&mut client, &config.prefix, "t", "second").await;
    store_only(&mut client, &config.prefix, "t", "third").await;
    a.recorder.until("the last message", |recorder| recorder.of("t").iter().any(|a| a.body == "third")).await;
    let last = a.recorder.of("t").pop().unwrap();
    assert_eq!(last.position, Some(Position { offset: 3, ..start }));
    assert_eq!(a.bodies("t", start).await.unwrap(), ["second", "third"]);
    assert_eq!(a.recorder.interruptions(), 0);
}

/// The message is not kept any more: the check reports only that messages of its topic were lost. A topic that cannot be
/// checked does not hold it up.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis; run scripts/test"]
async fn a_lost_last_message_that_is_not_kept_is_reported() {
    let config = config(&shared_url()).check_interval(Duration::from_millis(20));
    let a = node(config.clone());
    let mut client = client(&shared_url()).await;
    let meta = |topic: &str| format!("{{{}:{topic}}}:meta", config.prefix);
    for topic in ["broken", "t"] {
        a.subscribe(topic).await;
    }
    redis::cmd("SET").arg(meta("broken")).arg("x").exec_async(&mut client).await.unwrap();
    let start = a.publish("t", "first").await;
    a.recorder.until_count("t", 1).await;
    redis::cmd("HINCRBY").arg(meta("t")).arg("top").arg(1).exec_async(&mut client).await.unwrap();
    a.recorder.until("a report", |recorder| !recorder.behind().is_empty()).await;
    assert_eq!(a.history("t", start).await.messages, None);
    assert_eq!((a.recorder.behind(), a.recorder.interruptions()), (vec!["t".to_owned()], 0));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis; run scripts/test"]
async fn a_killed_subscriber_subscribes_again_and_is_interrupted() {
    let server = Server::start(&[]).await;
    // No ping, so that the end of the connection is what the node notices.
    let config = server.config().ping_interval(Duration::from_secs(3_600));
    let (a, b) = (node(config.clone()), node(config));
    let start = a.subscribe("t").await;
    a.backplane.subscribe("plain", None).await.unwrap();
    let mut client = server.client().await;
    for round in 1..=5 {
        let kill = redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("pubsub").clone();
        kill.exec_async(&mut client).await.unwrap();
        b.publish("t", &format!("{round} during the interruption")).await;
        a.recorder.until("an interruption", |recorder| recorder.interruptions() >= round).await;
        assert_eq!(a.history("t", start).await.top.offset, 2 * round as u64 - 1);
        b.publish("t", &format!("{round} after")).await;
        let after = format!("{round} after");
        a.recorder
            .until("the next message", |recorder| recorder.of("t").iter().any(|a| a.body == after))
            .await;
        b.try_publish("plain", "m", "m", None).await.unwrap();
        a.recorder.until_count("plain", round).await;
    }
    assert_eq!(a.history("t", start).await.messages.unwrap().len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis; run scripts/test"]
async fn messages_of_another_form_are_ignored() {
    let config = config(&shared_url());
    let a = node(config.clone());
    let mut client = client(&shared_url()).await;
    a.subscribe("t").await;
    let channel = format!("{{{}:t}}:live:0", config.prefix);
    let signed = format!("1+{}body", "0".repeat(31));
    for bad in [&b""[..], b"0", b"1short", b"2", b"\xff\xfe", signed.as_bytes()] {
        let receivers: usize =
            redis::cmd("PUBLISH").arg(&channel).arg(bad).query_async(&mut client).await.unwrap();
        assert_eq!(receivers, 1, "the name of the channel");
    }
    a.publish("t", "good").await;
    assert_eq!(a.recorder.until_count("t", 1).await.len(), 1);
}

/// A topic whose keys hold other types fails, with an error, and the others work.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis; run scripts/test"]
async fn keys_of_another_type_are_an_error() {
    let config = config(&shared_url());
    let a = node(config.clone());
    let mut client = client(&shared_url()).await;
    let meta = format!("{{{}:t}}:meta", config.prefix);
    redis::cmd("SET").arg(meta).arg("x").exec_async(&mut client).await.unwrap();
    assert!(a.try_publish("t", "m", "m", Some(KEEP)).await.is_err());
    assert!(a.backplane.subscribe("t", Some(KEEP)).await.is_err());
    a.publish("u", "m").await;
}

/// The stream does not keep what is too old, also when few messages are published.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis; run scripts/test"]
async fn old_messages_are_removed_from_the_stream() {
    let config = config(&shared_url());
    let a = node(config.clone());
    let mut client = client(&shared_url()).await;
    let short = Retention { age: Duration::from_millis(10), ..KEEP };
    for n in 0..20 {
        a.try_publish("t", &n.to_string(), "m", Some(KEEP)).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(30)).await;
    for n in 20..40 {
        a.try_publish("t", &n.to_string(), "m", Some(short)).await.unwrap();
    }
    let log = format!("{{{}:t}}:log", config.prefix);
    let length: usize = redis::cmd("XLEN").arg(log).query_async(&mut client).await.unwrap();
    assert!(length <= 20, "{length}");
}
