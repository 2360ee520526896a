//! The commands of the backplane.

use std::{sync::LazyLock, time::Duration};

use ::redis::{Script, ScriptInvocation};
use comms_core::{Error, bytes::Bytes};

use super::{History, Position, Publication, Published, Retention, Shared, link::Live, wire};

static PUBLISH: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(include_str!("open.lua"), include_str!("publish.lua"))));
static TOP: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(include_str!("open.lua"), include_str!("top.lua"))));
static HISTORY: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(include_str!("open.lua"), include_str!("history.lua"))));

/// The time for which the epoch of a topic is kept after its last message has expired.
const IDLE: Duration = Duration::from_secs(24 * 3_600);
/// The longest age of a message, so that the sum with a time does not overflow.
const MAX_AGE: Duration = Duration::from_secs(10 * 365 * 24 * 3_600);

/// The largest number of messages. Redis refuses numbers above those of 64 bits with a sign.
const MAX_MESSAGES: usize = u32::MAX as usize;

/// Returns the lifetime of a topic without use, in milliseconds.
pub(super) fn lifetime(retention: Retention) -> u64 {
    millis(retention.age.min(MAX_AGE) + IDLE)
}

/// Redis expires keys in whole milliseconds, and deletes a key at once whose lifetime is zero.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.min(MAX_AGE + IDLE).as_millis()).unwrap_or(u64::MAX).max(1)
}

fn unexpected() -> Error {
    Error::internal("redis returned an unexpected reply: another program writes to the same keys")
}

impl Shared {
    /// Stores and publishes a message in one step.
    pub(super) async fn store(
        &self,
        publication: Publication<'_>,
        retention: Retention,
    ) -> Result<Published, Error> {
        let Publication { topic, id, body, .. } = publication;
        let mut live = self.link.live().await?;
        let mut call = self.call(&PUBLISH, topic, retention, &live);
        call.key(self.keys.id(topic, id))
            // At least as long as the message is kept, so that a client cannot find it twice in the history.
            .arg(millis(self.config.idempotency_lifetime.max(retention.age)))
            .arg(retention.messages.min(MAX_MESSAGES))
            .arg(millis(retention.age))
            .arg(self.keys.channel(topic))
            .arg(&body[..]);
        let number = live.number();
        let (new, position): (bool, Vec<u8>) =
            self.link.reply(number, "publish", call.invoke_async(&mut live.connection)).await?;
        let position = wire::position(&position).ok_or_else(unexpected)?;
        Ok(if new { Published::New(Some(position)) } else { Published::Duplicate(position) })
    }

    /// Publishes a message of a topic without history to the other nodes.
    pub(super) async fn send(&self, topic: &str, body: &Bytes) -> Result<(), Error> {
        let mut live = self.link.live().await?;
        let mut command = ::redis::cmd("PUBLISH");
        command.arg(self.keys.channel(topic)).arg(wire::plain(self.topics.node(), body));
        let number = live.number();
        self.link.reply(number, "publish", command.exec_async(&mut live.connection)).await
    }

    pub(super) async fn top(&self, topic: &str, retention: Retention) -> Result<Position, Error> {
        let mut live = self.link.live().await?;
        let call = self.call(&TOP, topic, retention, &live);
        let number = live.number();
        let position: Vec<u8> =
            self.link.reply(number, "subscribe", call.invoke_async(&mut live.connection)).await?;
        wire::position(&position).ok_or_else(unexpected)
    }

    pub(super) async fn read_history(
        &self,
        topic: &str,
        retention: Retention,
        since: Position,
        max_bytes: usize,
    ) -> Result<History, Error> {
        let mut live = self.link.live().await?;
        let mut call = self.call(&HISTORY, topic, retention, &live);
        call.arg(wire::epoch(since.epoch))
            .arg(since.offset)
            .arg(max_bytes)
            .arg(retention.messages)
            .arg(millis(retention.age));
        let number = live.number();
        let reply: Vec<Vec<u8>> =
            self.link.reply(number, "read the history", call.invoke_async(&mut live.connection)).await?;
        let mut reply = reply.into_iter();
        let top = reply.next().and_then(|top| wire::position(&top)).ok_or_else(unexpected)?;
        let kept = reply.next().ok_or_else(unexpected)? == b"1";
        let messages = kept.then(|| (since.offset + 1..).zip(reply.map(Bytes::from)).collect());
        Ok(History { top, messages })
    }

    pub(super) async fn set_if_absent(&self, key: &str, lifetime: Duration) -> Result<bool, Error> {
        let mut live = self.link.live().await?;
        let mut command = ::redis::cmd("SET");
        command.arg(self.keys.claim(key)).arg("").arg("NX").arg("PX").arg(millis(lifetime));
        let number = live.number();
        // The reply is nil if the key exists.
        let set: Option<String> =
            self.link.reply(number, "claim", command.query_async(&mut live.connection)).await?;
        Ok(set.is_some())
    }

    /// Returns a call of `script` with the keys and arguments of `open.lua`.
    fn call<'a>(
        &self,
        script: &'a Script,
        topic: &str,
        retention: Retention,
        live: &Live,
    ) -> ScriptInvocation<'a> {
        let mut call = script.prepare_invoke();
        call.key(self.keys.meta(topic))
            .key(self.keys.log(topic))
            .key(self.keys.starts())
            .arg(&*live.run_id)
            .arg(wire::epoch(u64::from_be_bytes(self.clock.random())))
            .arg(lifetime(retention));
        call
    }
}
