//! The task of a client: keeps a connection open, and moves frames to the queue.
//!
//! Everything that makes an item waits until the items before are in the queue. So a full queue stops the reads from
//! the connection, and at most the items of one frame are held outside of the queue.

use std::{collections::VecDeque, future::pending, pin::Pin, sync::Arc, time::Duration};

use comms_core::{Error, clock::Sleep, resilience::Backoff};
use tokio::sync::mpsc;

use super::{
    connect::{Connection, Target, open},
    failure::Failure,
    frame::{ClientFrame, ServerFrame},
    handled::{DELAY, Handled},
    item::Item,
    next::{Next, Ready},
    queue::{Entry, Sender},
    session::{Session, Signal},
    state::State,
    subscription::Subscription,
};

/// The number of frames to the server that may be queued. More calls wait.
const MAX_UNSENT: usize = 64;
/// A connection of this age was stable: the backoff begins anew.
const STABLE: Duration = Duration::from_secs(10);
/// The longest wait that `drain` may request.
const MAX_DRAIN: Duration = Duration::from_secs(300);

/// A call of the application.
pub(super) enum Command {
    Subscribe(Subscription),
    Unsubscribe(String),
    Close,
}

pub(super) struct Driver {
    pub(super) target: Arc<Target>,
    pub(super) backoff: Backoff,
    pub(super) max_attempts: Option<u32>,
    pub(super) state: State,
    pub(super) queue: Sender,
    pub(super) commands: mpsc::Receiver<Command>,
    /// The failed attempts since the last stable connection.
    pub(super) failures: u32,
    pub(super) pending: VecDeque<Entry>,
    pub(super) session: Option<Session>,
    pub(super) next: Next,
    /// Resolves when the topics whose permission the server could not look up are subscribed again.
    pub(super) resubscribe: Option<Pin<Box<Sleep>>>,
    /// The times that these topics were subscribed again, since a topic was subscribed.
    pub(super) resubscribed: u32,
    pub(super) handled: Arc<Handled>,
    /// Resolves when what was handled is acknowledged.
    pub(super) acknowledge: Option<Pin<Box<Sleep>>>,
}

enum Step {
    Command(Command),
    Next(Ready),
    Resubscribe,
    Handled,
    Acknowledge,
    Session(Signal),
}

impl Driver {
    /// Runs until the application closes or drops the client, or a failure is final.
    pub(super) async fn run(mut self) {
        let ended = self.steps().await;
        let Self { commands, queue, mut pending, session, .. } = self;
        if let Some(session) = session {
            session.close().await;
        }
        // Before the wait for the application, which may be in `Client::close`.
        drop(commands);
        if let Err(error) = ended {
            queue.send(&mut pending).await;
            queue.end(error).await;
        }
    }

    async fn steps(&mut self) -> Result<(), Error> {
        loop {
            let is_flushed = self.pending.is_empty();
            let accepts = self.session.as_ref().is_none_or(|session| session.unsent() < MAX_UNSENT);
            let step = tokio::select! {
                biased;
                () = self.queue.closed() => return Ok(()),
                Some(command) = self.commands.recv(), if accepts => Step::Command(command),
                () = self.queue.send(&mut self.pending), if !is_flushed => continue,
                ready = self.next.ready(), if is_flushed => Step::Next(ready),
                () = due(&mut self.resubscribe) => Step::Resubscribe,
                () = self.handled.changed() => Step::Handled,
                () = due(&mut self.acknowledge) => Step::Acknowledge,
                signal = signal(&mut self.session, is_flushed) => Step::Session(signal),
            };
            match step {
                Step::Command(Command::Close) => return Ok(()),
                Step::Command(command) => self.command(command),
                Step::Next(Ready::Due) => {
                    self.next = Next::Opening(Box::pin(open(self.target.clone(), self.state.query())));
                }
                Step::Next(Ready::Opened(Ok(connection))) => self.opened(connection)?,
                Step::Next(Ready::Opened(Err(failure))) => self.failed(failure)?,
                Step::Resubscribe => self.resubscribe(),
                Step::Handled if self.handled.is_due() => self.acknowledge(),
                Step::Handled if self.acknowledge.is_none() => self.acknowledge_later(),
                Step::Handled => {}
                Step::Acknowledge => self.acknowledge(),
                Step::Session(Signal::Frame(text)) => {
                    if let Err(error) = self.frame(&text) {
                        self.ended(Failure::retryable(error))?;
                    }
                }
                Step::Session(Signal::Ended(failure)) => self.ended(failure)?,
            }
        }
    }

    fn command(&mut self, command: Command) {
        let frame = match command {
            Command::Subscribe(subscription) => self.state.subscribe(subscription),
            Command::Unsubscribe(topic) => self.state.unsubscribe(&topic),
            Command::Close => return,
        };
        // Without a connection, the handshake of the next one subscribes.
        if let Some(session) = &mut self.session {
            session.send(frame);
        }
    }

    /// Uses a new connection in place of the old one, which may still be open after `drain`.
    fn opened(&mut self, connection: Box<Connection>) -> Result<(), Error> {
        let Connection { socket, welcome } = *connection;
        let expires = welcome.expiry.at(&self.target.clock);
        let mut session = Session::new(socket, self.target.clone(), welcome.ping_seconds, expires);
        self.resubscribe = None;
        self.pending.push_back(Entry::new(Item::Connected { session: welcome.session.clone() }));
        let frames = self.state.welcome(welcome, &mut self.pending);
        let old = self.session.take();
        if let Some(old) = old {
            // Without waiting for the confirmation: the events that the old connection still has follow on the new one.
            tokio::spawn(old.close());
        }
        match frames {
            Ok(frames) => {
                frames.into_iter().for_each(|frame| session.send(frame));
                self.session = Some(session);
                Ok(())
            }
            Err(error) => self.failed(Failure::retryable(error)),
        }
    }

    fn frame(&mut self, text: &str) -> Result<(), Error> {
        let frame = ServerFrame::parse(text)?;
        match (&frame, &mut self.session) {
            (ServerFrame::Refreshed(expiry), Some(session)) => {
                session.expires_at(expiry.at(&self.target.clock));
            }
            (ServerFrame::Error { code, .. }, Some(session)) if code == "unauthorized" => {
                session.schedule_refresh()
            }
            (ServerFrame::Drain { retry_ms }, _) if matches!(self.next, Next::None) => {
                let wait = Duration::from_millis(*retry_ms).min(MAX_DRAIN);
                self.next = Next::after(wait, &self.target.clock);
            }
            _ => {
                if matches!(frame, ServerFrame::Subscribed(_)) {
                    self.resubscribed = 0;
                }
                self.state.take(frame, text.len(), &mut self.pending)?;
                self.plan_resubscribe();
            }
        }
        Ok(())
    }

    fn plan_resubscribe(&mut self) {
        if self.resubscribe.is_some() || !self.state.has_unavailable() {
            return;
        }
        self.resubscribed = self.resubscribed.saturating_add(1);
        let clock = &self.target.clock;
        self.resubscribe = Some(Box::pin(clock.sleep(self.backoff.delay(self.resubscribed, clock))));
    }

    fn resubscribe(&mut self) {
        self.resubscribe = None;
        // Without a connection, the handshake of the next one subscribes.
        if let Some(session) = &mut self.session {
            self.state.resubscribe().into_iter().for_each(|frame| session.send(frame));
        }
    }

    /// Acknowledges what was handled. While other frames wait for their turn, this one does as well, and covers more then.
    fn acknowledge(&mut self) {
        self.acknowledge = None;
        let Some(session) = &mut self.session else { return };
        if session.unsent() > 0 {
            return self.acknowledge_later();
        }
        for cursor in self.handled.take(self.state.session(), |topic| self.state.has_window(topic)) {
            session.send(ClientFrame::Ack { cursor: &cursor }.encode());
        }
    }

    fn acknowledge_later(&mut self) {
        self.acknowledge = Some(Box::pin(self.target.clock.sleep(DELAY)));
    }

    /// The open connection has ended.
    fn ended(&mut self, failure: Failure) -> Result<(), Error> {
        if let Some(session) = self.session.take() {
            if session.age() >= STABLE {
                self.failures = 0;
            }
            // A close frame is answered without a delay of the next attempt.
            tokio::spawn(session.close());
        }
        self.failed(failure)
    }

    /// Plans the next attempt after a connection has ended or was not opened.
    fn failed(&mut self, failure: Failure) -> Result<(), Error> {
        let Failure { error, is_final } = failure;
        if is_final {
            return Err(error);
        }
        let clock = &self.target.clock;
        // The wait that `drain` requested stays as it is.
        let planned = self.next.wait(clock);
        if planned.is_none() {
            self.failures = self.failures.saturating_add(1);
            if self.max_attempts.is_some_and(|max| self.failures >= max) {
                return Err(error.context(format!("gave up after {} attempts", self.failures)));
            }
            let wait = self.backoff.delay(self.failures, clock).max(error.retry_after.unwrap_or_default());
            self.next = Next::after(wait, clock);
        }
        if self.session.is_none() {
            let retry_in = planned.or_else(|| self.next.wait(clock)).unwrap_or_default();
            tracing::debug!(reason = %error.chain(), ?retry_in, "not connected");
            self.pending.push_back(Entry::new(Item::Disconnected { retry_in, reason: error }));
        }
        Ok(())
    }
}

async fn due(sleep: &mut Option<Pin<Box<Sleep>>>) {
    match sleep {
        Some(sleep) => sleep.await,
        None => pending().await,
    }
}

async fn signal(session: &mut Option<Session>, read: bool) -> Signal {
    match session {
        Some(session) => session.next(read).await,
        None => pending().await,
    }
}
