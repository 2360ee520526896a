//! Readings of the history, from which a feed gets the messages that are missing.

use std::{sync::Arc, time::Duration};

use comms_core::Error;

use super::{Feed, PAGE_BYTES};
use crate::{
    backplane::{History, Position, Retention},
    fanout::Fanout,
    topic::Topic,
};

/// The wait before a history that could not be read is read again.
const RETRY: Duration = Duration::from_millis(200);

/// Subscribes a feed of the hub itself, and reads what the history keeps, so that nothing is missing that was published since the
/// hub has sessions. Messages that arrive meanwhile are held.
pub(crate) async fn begin(fanout: Arc<Fanout>, feed: Arc<Feed>, retention: Retention) {
    let mut attempt = 1;
    while let Err(error) = fanout.subscribe(&feed.topic).await {
        fanout.warn(&feed.topic.name, &error);
        fanout.env.clock.sleep(fanout.backoff.delay(attempt, &fanout.env.clock)).await;
        attempt = attempt.saturating_add(1);
    }
    repair(fanout, feed, retention).await;
}

/// Reads the messages that are missing after the last one, until the topic is complete.
pub(super) async fn repair(fanout: Arc<Fanout>, feed: Arc<Feed>, retention: Retention) {
    let topic = &feed.topic;
    loop {
        fanout.room().await;
        let since = feed.lock().last.unwrap_or(Position { epoch: 0, offset: 0 });
        let made_progress = match read(&fanout, &feed, retention, since).await {
            Ok((read, kept)) => {
                let mut state = feed.lock();
                if state.mend(&fanout, topic, read, kept) {
                    return;
                }
                state.last != Some(since)
            }
            Err(error) => {
                fanout.warn(&topic.name, &error);
                // Nobody waits for a topic that all sessions have left.
                if feed.lock().is_closed {
                    return;
                }
                false
            }
        };
        if !made_progress {
            fanout.env.clock.sleep(RETRY.mul_f64(0.5 + fanout.env.clock.random_unit())).await;
        }
    }
}

/// Reads the messages after `since`. If some of them are lost, a feed of the hub itself continues after the returned position;
/// other feeds continue with the next message, because their clients read the state from the application.
async fn read(
    fanout: &Fanout,
    feed: &Feed,
    retention: Retention,
    since: Position,
) -> Result<(History, Option<Position>), Error> {
    let read = fanout.history(&feed.topic, retention, since, PAGE_BYTES).await?;
    if read.messages.is_some() || !feed.lock().is_of_hub() {
        return Ok((read, None));
    }
    let kept = before_oldest(fanout, &feed.topic, retention, read.top).await?;
    Ok((read, Some(kept)))
}

/// Returns the position before the oldest message that the history keeps, by a binary search.
async fn before_oldest(
    fanout: &Fanout,
    topic: &Topic,
    retention: Retention,
    top: Position,
) -> Result<Position, Error> {
    let (mut low, mut kept) = (top.offset.saturating_sub(retention.messages as u64), top.offset);
    while low < kept {
        let middle = low + (kept - low) / 2;
        let since = Position { offset: middle, ..top };
        match fanout.history(topic, retention, since, 0).await?.messages {
            Some(_) => kept = middle,
            None => low = middle + 1,
        }
    }
    Ok(Position { offset: kept, ..top })
}
