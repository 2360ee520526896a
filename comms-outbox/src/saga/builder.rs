//! The settings of a coordinator.

use std::{sync::Arc, time::Duration};

use comms_core::{Error, event::EventSource, health, resilience::Backoff, saga::Definitions};
use futures::future::BoxFuture;
use tokio::sync::Notify;

use super::{
    RunChange, SagaStore,
    coordinator::Coordinator,
    inner::{Inner, OnTransition, Settings},
    report::Reporter,
};

/// Builder of a [`Coordinator`]. Every setting has a default.
#[must_use]
pub struct CoordinatorBuilder<U: SagaStore> {
    store: U,
    events: EventSource,
    definitions: Definitions,
    on_transition: Option<OnTransition<U::Tx>>,
    settings: Settings,
    health: Option<health::Component>,
}

impl<U: SagaStore> Coordinator<U> {
    /// Returns a builder of a coordinator that stores the runs of `definitions` with `store` (`postgres::PgUnit`,
    /// `sqlite::SqliteUnit`), and sends commands in the name and with the clock of `events`.
    pub fn builder(store: U, events: EventSource, definitions: Definitions) -> CoordinatorBuilder<U> {
        let settings = Settings {
            poll_interval: Duration::from_millis(500),
            page: 100,
            concurrency: 8,
            sweep_interval: Duration::from_secs(60),
            early_retention: Duration::from_secs(7 * 24 * 3_600),
            backoff: Backoff::default(),
            heartbeat: None,
        };
        CoordinatorBuilder { store, events, definitions, on_transition: None, settings, health: None }
    }
}

impl<U: SagaStore> CoordinatorBuilder<U> {
    /// Sets a function that writes in the transaction of each change, for example the state of the run into the
    /// application's own row. It gets the changes of the transaction, in the order of each run.
    ///
    /// An error rolls the transaction back: a message is handled again by its consumer, and a timer is postponed. Effects
    /// outside the transaction may be repeated.
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")]
    /// # fn check(builder: comms_outbox::saga::CoordinatorBuilder<comms_outbox::sqlite::SqliteUnit>) {
    /// let builder = builder.on_transition(|changes, tx| {
    ///     Box::pin(async move {
    ///         for change in changes {
    ///             comms_outbox::sqlx::query("UPDATE orders SET status = $1 WHERE id = $2")
    ///                 .bind(&change.instance.state)
    ///                 .bind(&change.instance.id)
    ///                 .execute(&mut **tx)
    ///                 .await
    ///                 .map_err(comms_outbox::sql_error)?;
    ///         }
    ///         Ok(())
    ///     })
    /// });
    /// # drop(builder);
    /// # }
    /// ```
    pub fn on_transition<F>(self, function: F) -> Self
    where
        F: for<'a> Fn(&'a [RunChange], &'a mut U::Tx) -> BoxFuture<'a, Result<(), Error>>
            + Send
            + Sync
            + 'static,
    {
        Self { on_transition: Some(Box::new(function)), ..self }
    }

    /// Sets the longest pause between two reads of the timers. Default 500 ms. A timer that this process sets for an
    /// earlier time ends the pause, except for one of [`Coordinator::start`]: the caller commits later, so that the timer can
    /// fire up to this interval late.
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.settings.poll_interval = interval;
        self
    }

    /// Sets how many timers are read at once. Default 100.
    pub fn page(mut self, timers: u32) -> Self {
        self.settings.page = timers;
        self
    }

    /// Sets how many runs whose timers are due are handled at the same time, each with a connection. A sweep uses one more.
    /// Default 8. On SQLite
    /// the transactions wait for each other: set 1.
    pub fn concurrency(mut self, runs: usize) -> Self {
        self.settings.concurrency = runs;
        self
    }

    /// Sets how often the coordinator looks for runs without a timer and counts the runs. Default 60 s.
    pub fn sweep_interval(mut self, interval: Duration) -> Self {
        self.settings.sweep_interval = interval;
        self
    }

    /// Sets how long an event of another service is kept for a run that has not started. Default 7 days.
    pub fn early_retention(mut self, retention: Duration) -> Self {
        self.settings.early_retention = retention;
        self
    }

    /// Sets the wait before a timer whose handling failed is handled again, and between attempts to read while the
    /// database is away. Default [`Backoff::default`].
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.settings.backoff = backoff;
        self
    }

    /// Reports the readiness of the coordinator to `health`: unready while the database is away; degraded while a run is
    /// held, a timer fails, or a run has a version that is not registered.
    pub fn health(mut self, health: health::Component) -> Self {
        self.health = Some(health);
        self
    }

    /// Beats `heartbeat` in each turn of the loop, which may contain a page of timers of at most 30 s each.
    pub fn heartbeat(mut self, heartbeat: health::Heartbeat) -> Self {
        self.settings.heartbeat = Some(heartbeat);
        self
    }

    /// Builds the coordinator.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Misconfigured`](comms_core::ErrorKind::Misconfigured) if an interval, the page, the concurrency
    /// or the retention is 0, the page is above 10,000, or the name of the event source is empty, longer than 512 bytes or
    /// contains NUL.
    pub fn build(self) -> Result<Coordinator<U>, Error> {
        let Self { store, events, definitions, on_transition, settings, health } = self;
        let refuse_if = |wrong: bool, text: &str| {
            if wrong { Err(Error::misconfigured(format!("a saga coordinator needs {text}"))) } else { Ok(()) }
        };
        let wrong_source =
            events.name().is_empty() || events.name().len() > 512 || events.name().contains('\0');
        refuse_if(wrong_source, "an event source with a name of 1 to 512 bytes without NUL")?;
        refuse_if(settings.poll_interval.is_zero(), "a poll interval of at least 1 ms")?;
        refuse_if(settings.sweep_interval.is_zero(), "a sweep interval of at least 1 ms")?;
        refuse_if(settings.early_retention.is_zero(), "a retention of early messages of at least 1 ms")?;
        refuse_if(!(1..=10_000).contains(&settings.page), "a page of 1 to 10,000 timers")?;
        refuse_if(settings.concurrency == 0, "a concurrency of at least 1")?;
        let (wake, reporter) = (Notify::new(), Reporter::new(health));
        let inner = Inner { store, events, definitions, on_transition, settings, wake, reporter };
        Ok(Coordinator { inner: Arc::new(inner) })
    }
}
