//! The backplane on Redis.
//!
//! | file | contents |
//! |---|---|
//! | `config.rs`, `keys.rs`, `wire.rs` | the settings, the names of keys and channels, the form of messages |
//! | `servers.rs`, `sentinel.rs`, `failure.rs` | connections to the primary, its address, the kinds of its failures |
//! | `link.rs`, `commands.rs`, `*.lua` | the connection for commands, the commands and their scripts |
//! | `subscriber.rs`, `topics.rs`, `topic.rs` | the connection that receives, the subscribed topics and the delivery |
//! | `presence.rs`, `present.lua`, `set_present.lua` | the principals that are present in topics |
//! | `check.rs` | the check for last messages that did not arrive |

mod check;
mod commands;
mod config;
mod failure;
mod keys;
mod link;
mod presence;
mod sentinel;
mod servers;
mod subscriber;
mod topic;
mod topics;
mod wire;

use std::{
    fmt,
    sync::{Arc, Weak},
    time::Duration,
};

use comms_core::{Error, async_trait, clock::Clock, shutdown::ShutdownSignal, telemetry::LogLimit};

use tokio::sync::Semaphore;

use super::{Backplane, History, Position, Publication, Published, Receiver, Retention, Status};
pub use config::RedisConfig;
use keys::Keys;
use link::Link;
use servers::Servers;
use subscriber::Subscriber;
use topics::Topics;

/// A backplane of the hubs of several nodes, with the history in Redis.
///
/// Each hub has its own `Redis`; clones are the same backplane of the same hub, and a second hub with one of them is refused.
/// Publishing works at once, and connects by itself. Messages arrive, and [`subscribe`](Backplane::subscribe) succeeds for
/// topics with history, while [`run`](Backplane::run) runs: [`Hub::stats`](crate::Hub::stats) shows whether it does. A hub
/// needs [`cursor_keys`](crate::HubBuilder::cursor_keys).
///
/// # Topics with history
/// One script stores and publishes a message: it is in the history before any node receives it. A repetition within
/// [`idempotency_lifetime`](RedisConfig#structfield.idempotency_lifetime), or within the age of the history if that is
/// longer, is a duplicate, whatever the history keeps.
///
/// A topic has no key before its first message, so that clients cannot fill the server by subscribing: the epoch that the
/// first message begins is derived from a random seed, which all topics share.
///
/// A topic begins a new epoch when its history may be incomplete: after a flush, an eviction, a restart of the server
/// or a failover, recognized by the `run_id` and the `master_replid` of the server, and when it was not used for a day
/// and the age of its history. Its clients get `recovered: false`, or a frame `missed`. A topic without messages may begin a
/// new epoch each time another one gets its first message, with a probability of one in 262,144.
///
/// # While Redis is away
/// Publishing to a topic with history fails. A message without history reaches the sessions of this node, and no other.
/// After a reconnection the backplane subscribes to all topics again, and reports the interruption to the hub.
///
/// # Requirements
/// Redis 6.2 or later, or Valkey. The setting `maxmemory-policy` should be `noeviction`: an evicted identity lets a repeated
/// message pass, and an evicted topic begins a new epoch.
///
/// A user with these rights suffices, here for the [`prefix`](RedisConfig#structfield.prefix) `shop`; a database other than 0
/// needs `+select` too:
/// ```text
/// ACL SETUSER hub on >secret resetchannels ~shop:* ~{shop:* &{shop:*
///   +info +evalsha +script|load +subscribe +unsubscribe +publish +set +get +del +pexpire
///   +hmget +hset +hincrby +xadd +xrange +xdel +time
///   +zadd +zrem +zremrangebyscore +zcount +zrange +pttl
/// ```
///
/// # TLS
/// Addresses with the scheme `rediss` use rustls with the provider that the application installs. The server's certificate is
/// verified against [`root_certificates`](RedisConfig#structfield.root_certificates). Client certificates are not supported.
///
/// # Failover
/// Each connection goes to a primary: the first one among the addresses, the one that Sentinels name
/// ([`sentinel_primary`](RedisConfig#structfield.sentinel_primary)), or the one to which a DNS name or a proxy leads. A server
/// that has become a replica is left within [`ping_interval`](RedisConfig#structfield.ping_interval). An old primary that is
/// cut off from its replicas still accepts messages until it is demoted, and they are lost then; the setting
/// `min-replicas-to-write` of the server limits this.
///
/// # Limitations
/// Redis Cluster is not supported, and refused as `Misconfigured`: all topics share a key. An address must lead to one server
/// process, not to a proxy in front of several.
///
/// ```
/// use comms_core::clock::Clock;
/// use comms_ws::backplane::{Redis, RedisConfig};
///
/// # fn main() -> Result<(), comms_core::Error> {
/// let config = RedisConfig::new(["redis://127.0.0.1:6379"]).prefix("shop");
/// let backplane = Redis::new(config, Clock::system())?;
/// # drop(backplane);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Redis(Arc<Shared>);

struct Shared {
    config: RedisConfig,
    clock: Clock,
    keys: Keys,
    servers: Arc<Servers>,
    link: Link,
    topics: Arc<Topics>,
    /// One permit, for the call of `run` that runs.
    run: Semaphore,
    unsent: LogLimit,
    idle: LogLimit,
}

impl Redis {
    /// Creates a backplane. Connects when it is used.
    ///
    /// # Errors
    /// Returns `Invalid` if a setting is out of its range or an address or a certificate cannot be read, and
    /// `Misconfigured` if an address needs TLS and no cryptography provider of rustls is installed.
    pub fn new(config: RedisConfig, clock: Clock) -> Result<Self, Error> {
        let config = config.validated()?;
        let servers = Arc::new(Servers::new(&config, &clock)?);
        Ok(Self(Arc::new(Shared {
            keys: Keys::new(&config.prefix, servers.database()),
            link: Link::new(servers.clone(), &config, &clock),
            topics: Arc::new(Topics::new(&clock)),
            run: Semaphore::new(1),
            unsent: LogLimit::new(),
            idle: LogLimit::new(),
            servers,
            config,
            clock,
        })))
    }
}

impl Shared {
    fn is_running(&self) -> bool {
        self.run.available_permits() == 0
    }
}

#[async_trait]
impl Backplane for Redis {
    fn attach(&self, receiver: Weak<dyn Receiver>) -> Result<(), Error> {
        if self.0.topics.attach(receiver) {
            return Ok(());
        }
        Err(Error::invalid(
            "redis backplane: another hub has this value or a clone of it: create one for each hub",
        ))
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn status(&self) -> Status {
        match (self.0.is_running(), self.0.topics.is_connected()) {
            (false, _) => Status::NotRunning,
            (true, false) => Status::Interrupted,
            (true, true) => Status::Connected,
        }
    }

    async fn publish(&self, publication: Publication<'_>) -> Result<Published, Error> {
        if let Some(retention) = publication.retention {
            return self.0.store(publication, retention).await;
        }
        let Publication { topic, body, .. } = publication;
        self.0.topics.deliver_body(&self.0.keys.channel(topic), None, body.clone());
        if let Err(error) = self.0.send(topic, &body).await
            && let Some(suppressed) = self.0.unsent.admit(&self.0.clock)
        {
            tracing::warn!(error = %error.chain(), suppressed, "a message without history reached this node alone");
        }
        Ok(Published::New(None))
    }

    async fn subscribe(&self, topic: &str, retention: Option<Retention>) -> Result<Option<Position>, Error> {
        if !self.0.is_running()
            && let Some(suppressed) = self.0.idle.admit(&self.0.clock)
        {
            tracing::warn!(
                topic,
                suppressed,
                "no message of other nodes arrives: `Backplane::run` of redis does not run"
            );
        }
        let channel = self.0.keys.channel(topic);
        let (new, confirmation) = self.0.topics.subscribe(channel.clone(), topic, retention);
        if retention.is_none() && !self.0.topics.is_connected() {
            return Ok(None);
        }
        let confirmed = self.0.clock.timeout(self.0.config.response_timeout, confirmation).await;
        let Some(retention) = retention else { return Ok(None) };
        let position = match confirmed {
            Ok(Ok(())) => self.0.top(topic, retention).await,
            Ok(Err(_)) => return Err(Error::not_executed("the topic was unsubscribed meanwhile")),
            Err(elapsed) => {
                Err(Error::not_executed(elapsed).context("subscribe in redis, which needs a running `run`"))
            }
        };
        match position {
            Ok(position) => {
                self.0.topics.seen(&channel, position);
                Ok(Some(position))
            }
            Err(error) => {
                if let Some(call) = new {
                    self.0.topics.undo(&channel, call);
                }
                Err(error)
            }
        }
    }

    fn unsubscribe(&self, topic: &str) {
        self.0.topics.unsubscribe(&self.0.keys.channel(topic));
    }

    async fn history(
        &self,
        topic: &str,
        retention: Retention,
        since: Position,
        max_bytes: usize,
    ) -> Result<History, Error> {
        self.0.read_history(topic, retention, since, max_bytes).await
    }

    async fn claim(&self, key: &str, lifetime: Duration) -> Result<bool, Error> {
        self.0.set_if_absent(key, lifetime).await
    }

    async fn set_present(
        &self,
        topic: &str,
        node: u64,
        principals: &[Arc<str>],
        lifetime: Duration,
    ) -> Result<(), Error> {
        self.0.set_present(topic, node, principals, lifetime).await
    }

    async fn present(&self, topic: &str, max: usize) -> Result<Vec<String>, Error> {
        self.0.read_present(topic, max).await
    }

    async fn run(&self, shutdown: ShutdownSignal) {
        let Shared { servers, link, topics, config, clock, run, .. } = &*self.0;
        let Ok(_running) = run.try_acquire() else {
            tracing::error!("`Backplane::run` of redis runs already: the second call has no effect");
            return shutdown.wait().await;
        };
        let subscriber = Subscriber { servers, link, topics, config, clock };
        tokio::select! {
            () = shutdown.wait() => {}
            _ = subscriber.run() => {}
            _ = check::run(&self.0) => {}
        }
        topics.disconnected();
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Redis").field(&self.0.config).finish()
    }
}
