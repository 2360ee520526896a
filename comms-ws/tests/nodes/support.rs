//! Hubs on one backplane, and sessions without sockets.

use std::{pin::pin, time::Duration};

use comms_core::clock::Clock;
use comms_ws::{Encoding, Hub, HubConfig, Link, Outgoing, Session, TopicOptions, close::CloseReason};
use serde_json::Value;
use tokio::time::{sleep, timeout};

use crate::backplane::Faulty;

/// Enough for every test: a wait that takes longer has failed.
const LIMIT: Duration = Duration::from_secs(30);

/// A topic whose principals are listed.
pub(crate) const ROOM: &str = "room/1";

pub(crate) fn hub(backplane: &Faulty, clock: &Clock) -> Hub {
    // The clients of the tests answer no ping.
    let config = HubConfig::default().ping_interval(Duration::from_secs(36_000));
    let config = config.topic("room/", TopicOptions::default().presence());
    Hub::builder(config, clock.clone()).backplane(backplane.clone()).build().unwrap()
}

/// Opens a session of `user` in [`ROOM`] and reads its first frame.
pub(crate) async fn open(hub: &Hub, user: &str) -> Link {
    let mut link = hub.open(session(user), Encoding::Json, None).unwrap();
    assert_eq!(frame(&mut link).await["type"], "welcome");
    link
}

pub(crate) fn session(user: &str) -> Session {
    Session::new(user, vec![ROOM.to_owned()]).allow(|_| true)
}

pub(crate) async fn next(link: &mut Link) -> Outgoing {
    timeout(LIMIT, link.next()).await.expect("a frame within the limit")
}

pub(crate) async fn frame(link: &mut Link) -> Value {
    match next(link).await {
        Outgoing::Frame(bytes) => serde_json::from_slice(&bytes).unwrap(),
        other => panic!("{other:?}"),
    }
}

/// Waits for the end of a session.
pub(crate) async fn end(link: &mut Link) -> CloseReason {
    loop {
        if let Outgoing::Close(reason) = next(link).await {
            return reason;
        }
    }
}

/// Returns whether the session is open, and nothing is queued for it.
pub(crate) async fn is_idle(link: &mut Link) -> bool {
    let next = pin!(link.next());
    futures::poll!(next).is_pending()
}

/// Waits until `test` returns true.
pub(crate) async fn until(what: &str, mut test: impl AsyncFnMut() -> bool) {
    let met = async {
        while !test().await {
            sleep(Duration::from_millis(1)).await;
        }
    };
    assert!(timeout(LIMIT, met).await.is_ok(), "{what}");
}
