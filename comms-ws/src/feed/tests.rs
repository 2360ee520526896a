//! The life of a feed.

use comms_core::{clock::Clock, resilience::Backoff};

use super::*;
use crate::{
    HubConfig, TopicOptions,
    backplane::{History, Memory},
    cursor::CursorKey,
    environment::Environment,
    feed::table::Feeds,
};

#[tokio::test]
async fn a_feed_that_all_sessions_have_left_hands_out_nothing() {
    let clock = Clock::system();
    let keys = vec![CursorKey::random().unwrap()];
    let env = Arc::new(Environment::new(HubConfig::default(), clock.clone(), keys));
    let fanout = Arc::new(Fanout::new(env, Arc::new(Memory::new(clock)), Backoff::default()));
    let (feeds, at) = (Feeds::default(), Position { epoch: 1, offset: 1 });
    let first = feeds.enter("t", TopicOptions::default);
    feeds.leave("t", &*fanout.backplane);
    let second = feeds.enter("t", TopicOptions::default);
    for feed in [&first, &second] {
        feed.receive(&fanout, Some(at), Bytes::from_static(br#"{"event":"e"}"#));
    }
    assert_eq!((first.lock().last, second.lock().last), (None, Some(at)));
    assert!(first.lock().mend(&fanout, &first.topic, History { top: at, messages: Some(vec![]) }, None));
}
