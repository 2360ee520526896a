//! The check for last messages that did not arrive.
//!
//! Pub/sub loses messages. The receiver finds a gap when the next message arrives. No next message follows the last one, so
//! each topic is compared with its last position in the server from time to time.

use std::{convert::Infallible, time::Duration};

use ::redis::RedisResult;
use comms_core::Error;

use super::{Position, Shared, topics::Checked, wire};

/// The number of topics in one request.
const BATCH: usize = 200;
/// The time after which the lifetime of all subscribed topics is extended.
const REFRESH: Duration = Duration::from_secs(3_600);

/// The run id of the server, the epoch and the last offset of a topic.
type Meta = (Option<Vec<u8>>, Option<Vec<u8>>, Option<Vec<u8>>);

/// Checks all topics in each interval. The requests are spread over the interval.
pub(super) async fn run(shared: &Shared) -> Infallible {
    let mut refreshed = shared.clock.now();
    loop {
        let topics = shared.topics.to_check();
        let batches = u32::try_from(topics.len().div_ceil(BATCH)).unwrap_or(u32::MAX).max(1);
        let pause = shared.config.check_interval / batches;
        let refresh = shared.clock.now().saturating_duration_since(refreshed) >= REFRESH;
        if refresh {
            refreshed = shared.clock.now();
        }
        if topics.is_empty() {
            shared.clock.sleep(pause).await;
        }
        for batch in topics.chunks(BATCH) {
            shared.clock.sleep(pause).await;
            if let Err(error) = check(shared, batch, refresh).await {
                tracing::debug!(error = %error.chain(), "topics could not be checked in redis");
            }
        }
    }
}

async fn check(shared: &Shared, batch: &[Checked], refresh: bool) -> Result<(), Error> {
    let mut result = Ok(());
    for (topic, top) in batch.iter().zip(tops(shared, batch, refresh).await?) {
        if let Some(top) = top
            && shared.topics.check(&topic.channel, top)
        {
            // A topic that cannot be read does not hold up the others.
            result = repair(shared, topic, top).await.and(result);
        }
    }
    result
}

/// Reads the last positions of topics.
async fn tops(shared: &Shared, batch: &[Checked], refresh: bool) -> Result<Vec<Option<Position>>, Error> {
    let mut live = shared.link.live().await?;
    let mut requests = ::redis::pipe();
    // If the key of a topic has another type, the other topics are still checked.
    requests.ignore_errors();
    for topic in batch {
        let meta = shared.keys.meta(&topic.name);
        if refresh {
            let lifetime = super::commands::lifetime(topic.retention);
            requests.cmd("PEXPIRE").arg(&meta).arg(lifetime).ignore();
        }
        requests.cmd("HMGET").arg(meta).arg("run").arg("epoch").arg("top");
    }
    let number = live.number();
    let replies: Vec<RedisResult<Meta>> =
        shared.link.reply(number, "check topics", requests.query_async(&mut live.connection)).await?;
    // The epoch of another run of the server counts no more.
    let position = |(run, epoch, top): Meta| {
        let (epoch, offset) = (wire::number(&epoch?)?, str::from_utf8(&top?).ok()?.parse().ok()?);
        (run? == live.run_id.as_bytes()).then_some(Position { epoch, offset })
    };
    Ok(replies.into_iter().map(|reply| reply.ok().and_then(position)).collect())
}

/// Delivers the last message of a topic, from which the receiver finds the gap.
async fn repair(shared: &Shared, topic: &Checked, top: Position) -> Result<(), Error> {
    let before = Position { offset: top.offset - 1, ..top };
    let history = shared.read_history(&topic.name, topic.retention, before, 1).await?;
    tracing::debug!(topic = %topic.name, offset = top.offset, "a message did not arrive from redis");
    let Some((offset, body)) = history.messages.and_then(|messages| messages.into_iter().next()) else {
        // The message is not kept any more.
        shared.topics.behind(&topic.channel, history.top);
        return Ok(());
    };
    let position = Position { offset, ..history.top };
    shared.topics.deliver_body(&topic.channel, Some(position), body);
    Ok(())
}
