//! The relays under test. They run in the process of the test, so their memory survives the crashes of the server.

use std::{sync::Arc, time::Duration};

use comms_core::{Error, health::Component};
use comms_outbox::{Relay, RelayBuilder, postgres::RelayStore};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio::{sync::oneshot, task::JoinHandle};

use crate::{ledger::Ledger, writers::tables};

/// Returns a relay named `test` that publishes to `ledger` and has its own pool.
pub fn relay(options: PgConnectOptions, ledger: &Ledger) -> RelayBuilder {
    let pool = PgPoolOptions::new().max_connections(4).connect_lazy_with(options);
    Relay::builder(RelayStore::new(pool, tables().unprepared()), Arc::new(ledger.clone())).name("test")
}

/// A relay that runs in the background. Dropping it crashes the relay.
pub struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), Error>>,
}

pub fn run(relay: RelayBuilder) -> Running {
    let relay = relay.build().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(relay.run(async move {
        let _ = stopped.await;
    }));
    Running { stop, task }
}

impl Running {
    /// Shuts down: the position is saved, and the lease is released.
    pub async fn stop(self) {
        drop(self.stop);
        self.task.await.unwrap().unwrap();
    }

    /// Crashes: nothing is saved.
    pub async fn crash(self) {
        self.task.abort();
        let _ = self.task.await;
    }

    /// Panics if the relay has ended.
    pub async fn check(&mut self) {
        if self.task.is_finished() {
            panic!("the relay ended: {:?}", (&mut self.task).await);
        }
    }
}

/// Relays that compete for one lease.
pub struct Relays {
    options: PgConnectOptions,
    ledger: Ledger,
    lease: Duration,
    pub running: Vec<Running>,
}

impl Relays {
    /// Two relays get the shortest possible lease, so that it often changes between them.
    pub fn start(count: usize, options: PgConnectOptions, ledger: &Ledger) -> Self {
        let lease = if count > 1 { Duration::from_millis(300) } else { Duration::from_secs(5) };
        let mut relays = Self { options, ledger: ledger.clone(), lease, running: Vec::new() };
        relays.running = (0..count).map(|_| relays.another()).collect();
        relays
    }

    fn another(&self) -> Running {
        let relay = relay(self.options.clone(), &self.ledger);
        // A short poll interval, so that many reads happen between the last write and a crash.
        run(relay.lease(self.lease).page(50).poll_interval(Duration::from_millis(10)))
    }

    /// Replaces one relay by another that knows only the stored state. The old one shuts down or crashes.
    pub async fn replace(&mut self, index: usize, crash: bool) {
        let old = self.running.swap_remove(index);
        if crash {
            old.crash().await
        } else {
            old.stop().await
        }
        self.running.push(self.another());
    }

    pub async fn check(&mut self) {
        for relay in &mut self.running {
            relay.check().await;
        }
    }
}

/// Returns the health component of a new registry.
pub fn health() -> (comms_core::health::Health, Component) {
    let health = comms_core::health::Health::new();
    let component = health.component("relay");
    (health, component)
}
