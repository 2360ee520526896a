//! The connection that receives messages.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};
use std::{convert::Infallible, pin::pin};

use ::redis::{PushInfo, PushKind, RedisError, RedisResult, Value};
use comms_core::{Error, clock::Clock, telemetry::LogLimit};
use tokio::sync::Notify;

use super::{
    RedisConfig,
    config::connection_options,
    failure,
    link::Link,
    servers::{self, Connected, Servers},
    topics::Topics,
};

/// The maximum number of channels in one command.
const BATCH: usize = 500;

/// Keeps a connection with the subscriptions of all topics.
pub(super) struct Subscriber<'a> {
    pub(super) servers: &'a Servers,
    pub(super) link: &'a Link,
    pub(super) topics: &'a Arc<Topics>,
    pub(super) config: &'a RedisConfig,
    pub(super) clock: &'a Clock,
}

/// What the task of the connection reports.
#[derive(Default)]
struct Signs {
    closed: Notify,
    /// Whether anything arrived since the flag was taken.
    heard: AtomicBool,
}

impl Subscriber<'_> {
    /// Connects, and connects again after each failure.
    pub(super) async fn run(&self) -> Infallible {
        let (mut failed, failures) = (0, LogLimit::new());
        // Whether messages may have been lost since the topics were subscribed.
        let mut interrupted = false;
        loop {
            let Err(error) = self.session(interrupted, &mut failed).await;
            self.topics.disconnected();
            interrupted = true;
            failed += 1;
            if let Some(suppressed) = failures.admit(self.clock) {
                tracing::warn!(error = %error.chain(), suppressed, "the redis backplane is interrupted");
            }
            self.clock.sleep(self.config.backoff.delay(failed, self.clock)).await;
        }
    }

    async fn session(&self, interrupted: bool, failed: &mut u32) -> Result<Infallible, Error> {
        let signs = Arc::new(Signs::default());
        let options = connection_options().set_push_sender(pushes(self.topics.clone(), signs.clone()));
        let mut connected = self.servers.connect(&options).await?;
        self.topics.connected();
        self.apply_changes(&mut connected, &signs).await?;
        *failed = 0;
        if interrupted {
            tracing::info!("the redis backplane is connected again");
            self.topics.interrupted();
        }
        let mut ping = pin!(self.clock.sleep(self.config.ping_interval));
        loop {
            tokio::select! {
                () = signs.closed.notified() => return Err(Error::not_executed("the connection was closed")),
                () = self.topics.changed() => self.apply_changes(&mut connected, &signs).await?,
                () = ping.as_mut() => {
                    self.ping(&mut connected, &signs).await?;
                    ping.as_mut().reset(self.config.ping_interval);
                }
            }
        }
    }

    async fn apply_changes(&self, connected: &mut Connected, signs: &Signs) -> Result<(), Error> {
        loop {
            let changes = self.topics.take_changes(BATCH);
            if changes.subscribe.is_empty() && changes.unsubscribe.is_empty() {
                return Ok(());
            }
            if !changes.unsubscribe.is_empty() {
                let channels: Vec<&str> = changes.unsubscribe.iter().map(AsRef::as_ref).collect();
                self.reply(signs, connected.connection.unsubscribe(channels)).await?;
            }
            if !changes.subscribe.is_empty() {
                let channels: Vec<&str> = changes.subscribe.iter().map(AsRef::as_ref).collect();
                self.reply(signs, connected.connection.subscribe(channels)).await?;
                self.topics.confirm(&changes.subscribe);
            }
        }
    }

    /// Checks that the server answers and is the primary to which this node publishes.
    async fn ping(&self, connected: &mut Connected, signs: &Signs) -> Result<(), Error> {
        if !self.reply(signs, servers::is_primary(&mut connected.connection)).await? {
            return Err(Error::not_executed("the server has become a replica"));
        }
        if self.link.run_id().is_some_and(|run_id| *run_id != *connected.run_id) {
            return Err(Error::not_executed("another server has become the primary"));
        }
        Ok(())
    }

    /// Waits for a reply. The limit begins anew with each message that arrives before the reply.
    async fn reply<T>(&self, signs: &Signs, reply: impl Future<Output = RedisResult<T>>) -> Result<T, Error> {
        let mut reply = pin!(reply);
        loop {
            signs.heard.store(false, Relaxed);
            match self.clock.timeout(self.config.response_timeout, reply.as_mut()).await {
                Ok(result) => return result.map_err(failure::of_command),
                Err(_) if signs.heard.load(Relaxed) => {}
                Err(elapsed) => return Err(Error::indeterminate(elapsed)),
            }
        }
    }
}

/// Returns the function that delivers messages. The task of the connection calls it, so that messages queue only in the
/// server while a delivery takes its time.
fn pushes(
    topics: Arc<Topics>,
    signs: Arc<Signs>,
) -> impl Fn(PushInfo) -> Result<(), RedisError> + Send + Sync {
    move |push| {
        signs.heard.store(true, Relaxed);
        match push.kind {
            PushKind::Message => {
                if let Some((channel, message)) = message(push.data) {
                    topics.deliver(&channel, message);
                }
            }
            PushKind::Disconnection => signs.closed.notify_one(),
            _ => {}
        }
        Ok(())
    }
}

fn message(data: Vec<Value>) -> Option<(String, Vec<u8>)> {
    match <[Value; 2]>::try_from(data) {
        Ok([Value::BulkString(channel), Value::BulkString(message)]) => {
            Some((String::from_utf8(channel).ok()?, message))
        }
        _ => None,
    }
}
