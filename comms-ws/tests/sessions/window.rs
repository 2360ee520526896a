//! Subscriptions with a window, and acknowledgements.

use comms_ws::{Hub, Push, TopicOptions};
use serde_json::{Value, json};

use crate::support::{Client, Server, push};

pub(crate) const TOPIC: &str = "public/a";

/// A client of one topic with a window.
pub(crate) struct Reader {
    pub(crate) client: Client,
    /// The cursor of the last `subscribed` or `missed`.
    pub(crate) token: String,
}

impl Reader {
    pub(crate) async fn open(server: &Server, subscribe: Value) -> Self {
        let mut client = server.client("ann").await;
        client.send(subscribe).await;
        let subscribed = client.next().await;
        assert_eq!(subscribed["type"], "subscribed", "{subscribed}");
        let token = subscribed["cursor"].as_str().unwrap().to_owned();
        Self { client, token }
    }

    pub(crate) async fn ack(&mut self, offset: u64) {
        self.client.send(json!({"type": "ack", "cursor": format!("{}~{offset}", self.token)})).await;
    }

    /// Reads events with the numbers `numbers`.
    pub(crate) async fn reads(&mut self, numbers: impl IntoIterator<Item = u64>) {
        for n in numbers {
            let frame = self.client.next().await;
            assert_eq!(frame["data"]["n"], n, "{frame}");
        }
    }

    /// Returns whether no frame comes before the answer to a ping. Whether one comes later is not known.
    pub(crate) async fn has_nothing(&mut self) -> bool {
        self.client.send(json!({"type": "ping"})).await;
        self.client.next().await["type"] == "pong"
    }

    /// Waits for an answer to `frame`, which has the cursor of the position reached.
    pub(crate) async fn subscribed(&mut self, frame: Value) -> Value {
        self.client.send(frame).await;
        let answer = self.client.next().await;
        assert_eq!(answer["type"], "subscribed", "{answer}");
        self.token = answer["cursor"].as_str().unwrap().to_owned();
        answer
    }
}

pub(crate) fn subscribe(window: u64) -> Value {
    json!({"type": "subscribe", "topic": TOPIC, "window": window})
}

pub(crate) async fn publish(hub: &Hub, numbers: std::ops::RangeInclusive<usize>) {
    for n in numbers {
        hub.publish(TOPIC, &push(n, 0)).await.unwrap();
    }
}

#[tokio::test]
async fn no_more_events_than_the_window_are_sent_beyond_the_last_acknowledgement() {
    let server = Server::start(|_| {}).await;
    let mut reader = Reader::open(&server, subscribe(3)).await;
    publish(&server.hub, 1..=10).await;
    reader.reads(1..=3).await;
    assert!(reader.client.receives_nothing().await);
    // Cumulative.
    reader.ack(2).await;
    reader.reads(4..=5).await;
    assert!(reader.client.receives_nothing().await);
    reader.ack(5).await;
    reader.reads(6..=8).await;
    reader.ack(8).await;
    reader.reads(9..=10).await;
    // Live again, with room for one more.
    publish(&server.hub, 11..=12).await;
    reader.reads([11]).await;
    assert!(reader.client.receives_nothing().await);
    reader.ack(11).await;
    reader.reads([12]).await;
    assert_eq!(server.hub.stats().queued_bytes, 0, "what waits is in the history");
}

#[tokio::test]
async fn a_window_needs_a_history_and_has_limits() {
    let server = Server::start(|config| {
        *config = config.clone().topic("public/now", TopicOptions::default().without_history());
    })
    .await;
    let mut client = server.client("ann").await;
    for (topic, window, code) in
        [("public/now", 5, "no_history"), (TOPIC, 0, "malformed"), (TOPIC, 1_001, "malformed")]
    {
        client.send(json!({"type": "subscribe", "topic": topic, "window": window})).await;
        let error = json!({"type": "error", "code": code, "detail": topic});
        assert_eq!(client.next().await, error);
    }
    client.send(subscribe(1_000)).await;
    assert_eq!(client.next().await["window"], 1_000);
    client.send(json!({"type": "subscribe", "topic": "public/b"})).await;
    assert_eq!(client.next().await["window"], json!(null));
}

#[tokio::test]
async fn a_filter_counts_what_passes() {
    let server = Server::start(|_| {}).await;
    let filter = json!({"keys": ["1"]});
    let frame = json!({"type": "subscribe", "topic": TOPIC, "window": 2, "filter": filter});
    let mut reader = Reader::open(&server, frame).await;
    for n in 0..40 {
        let push = Push { key: Some((n % 4).to_string()), ..push(n, 0) };
        server.hub.publish(TOPIC, &push).await.unwrap();
    }
    reader.reads([1, 5]).await;
    assert!(reader.client.receives_nothing().await);
    // The offset of an event is one more than its number.
    reader.ack(6).await;
    reader.reads([9, 13]).await;
    for n in (17..40).step_by(4) {
        reader.ack(n - 7).await;
        reader.reads([n]).await;
    }
    assert!(reader.client.receives_nothing().await);
}

/// `subscribe` describes the whole subscription: its cursor, its filter and its window.

#[tokio::test]
async fn a_second_subscribe_begins_anew_at_its_cursor() {
    let server = Server::start(|_| {}).await;
    let mut reader = Reader::open(&server, subscribe(2)).await;
    let again = |reader: &Reader, offset: u64, more: Value| {
        let mut frame =
            json!({"type": "subscribe", "topic": TOPIC, "cursor": format!("{}~{offset}", reader.token)});
        frame.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        frame
    };
    publish(&server.hub, 1..=9).await;
    reader.reads(1..=2).await;
    // While the session waits: what it has not handled comes again, in the new window.
    let answer = reader.subscribed(again(&reader, 1, json!({"window": 3}))).await;
    assert_eq!((answer["window"].as_u64(), answer["recovered"].as_bool()), (Some(3), Some(true)));
    reader.reads(2..=4).await;
    assert!(reader.client.receives_nothing().await);
    // An acknowledgement of what came before the new window has no effect.
    reader.subscribed(again(&reader, 4, json!({"window": 1}))).await;
    reader.reads([5]).await;
    reader.ack(4).await;
    assert!(reader.client.receives_nothing().await);
    // Another filter, and no window.
    let answer = reader.subscribed(again(&reader, 5, json!({"filter": {"events": ["other"]}}))).await;
    assert_eq!((&answer["window"], &answer["sparse"]), (&json!(null), &json!(true)));
    let other = Push { event: "other".into(), ..push(10, 0) };
    server.hub.publish(TOPIC, &other).await.unwrap();
    reader.reads([10]).await;
    // Without a cursor, on a live session: the next event is the first.
    let answer = reader.subscribed(subscribe(1)).await;
    assert_eq!((answer["window"].as_u64(), answer["recovered"].as_bool()), (Some(1), None));
    publish(&server.hub, 11..=12).await;
    reader.reads([11]).await;
    assert!(reader.client.receives_nothing().await);
    reader.ack(11).await;
    reader.reads([12]).await;
    reader.client.send(json!({"type": "unsubscribe", "topic": TOPIC})).await;
    assert_eq!(reader.client.next().await["type"], "unsubscribed");
    drop(reader);
    server.until_empty().await;
}

/// A topic that the application has granted is subscribed without a window, and gets one by a frame.

#[tokio::test]
async fn a_granted_topic_gets_a_window_by_a_frame() {
    let server = Server::start(|_| {}).await;
    let publish = async |n| {
        server.hub.publish("user/ann", &push(n, 0)).await.unwrap();
    };
    let mut client = server.client("ann").await;
    publish(1).await;
    assert_eq!(client.next().await["offset"], 1);
    let mut reader = Reader { client, token: String::new() };
    reader.subscribed(json!({"type": "subscribe", "topic": "user/ann", "window": 1})).await;
    for n in 2..=3 {
        publish(n).await;
    }
    reader.reads([2]).await;
    reader.ack(1).await;
    assert!(reader.client.receives_nothing().await);
    reader.ack(2).await;
    reader.reads([3]).await;
}

#[tokio::test]
async fn a_client_that_acknowledges_too_late_misses_what_the_history_has_lost() {
    let server = Server::start(|config| {
        *config = config
            .clone()
            .topic("public/", TopicOptions::default().history(5, std::time::Duration::from_secs(60)));
    })
    .await;
    let mut reader = Reader::open(&server, subscribe(2)).await;
    publish(&server.hub, 1..=20).await;
    reader.reads(1..=2).await;
    reader.ack(2).await;
    let missed = reader.client.next().await;
    assert_eq!((&missed["type"], &missed["reason"]), (&json!("missed"), &json!("history")), "{missed}");
    publish(&server.hub, 21..=23).await;
    reader.reads(21..=22).await;
    // The cursor of `missed` acknowledges nothing of what came later.
    let cursor = missed["cursor"].clone();
    reader.client.send(json!({"type": "ack", "cursor": cursor})).await;
    assert!(reader.client.receives_nothing().await);
    reader.token = cursor.as_str().unwrap().to_owned();
    reader.ack(22).await;
    reader.reads([23]).await;
}

/// What was not acknowledged comes again, if the cursor lies before it.

#[tokio::test]
async fn a_client_that_reconnects_begins_a_new_window_at_its_cursor() {
    let server = Server::start(|_| {}).await;
    let mut reader = Reader::open(&server, subscribe(3)).await;
    publish(&server.hub, 1..=6).await;
    reader.reads(1..=3).await;
    let cursor = format!("{}~1", reader.token);
    drop(reader);
    let frame = json!({"type": "subscribe", "topic": TOPIC, "window": 3, "cursor": cursor});
    let mut reader = Reader::open(&server, frame).await;
    reader.reads(2..=4).await;
    assert!(reader.client.receives_nothing().await);
    reader.ack(4).await;
    reader.reads(5..=6).await;
}

#[tokio::test]
async fn a_session_that_waits_for_its_client_is_present_and_leaves_without_a_trace() {
    let server = Server::start(|_| {}).await;
    let mut reader = Reader::open(&server, subscribe(1)).await;
    publish(&server.hub, 1..=3).await;
    reader.reads([1]).await;
    assert!(reader.has_nothing().await);
    assert_eq!(server.hub.present_here(TOPIC), ["ann"]);
    reader.client.send(json!({"type": "unsubscribe", "topic": TOPIC})).await;
    assert_eq!(reader.client.next().await["type"], "unsubscribed");
    reader.ack(1).await;
    assert!(reader.client.receives_nothing().await);
    assert!(server.hub.present_here(TOPIC).is_empty());
    drop(reader);
    server.until_empty().await;
}
