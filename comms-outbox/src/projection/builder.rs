//! The settings of a projection.

use std::{future::Future, sync::Arc, time::Duration};

use comms_core::{
    Error, Scoped,
    clock::Clock,
    event_sourcing::{EventSet, Recorded},
    health,
    resilience::Backoff,
};

use super::{
    context::{Apply, Context, Settings},
    feed::{Feed, Tx, cursor},
    run::Projection,
    status::Reporter,
};
use crate::CommitSignal;

/// Builder of a [`Projection`]. Every setting except [`apply`](Self::apply) has a default.
#[must_use]
pub struct ProjectionBuilder<F: Feed> {
    feed: F,
    settings: Settings,
    owner: Option<String>,
    categories: Option<Vec<String>>,
    apply: Option<Apply<F>>,
    health: Option<health::Component>,
}

impl<F: Feed> Projection<F> {
    /// Returns a builder of the projection `name` of the events of `feed` (`postgres::EventFeed` or `sqlite::EventFeed`).
    pub fn builder(feed: F, name: impl Into<String>) -> ProjectionBuilder<F> {
        let name = name.into();
        let settings = Settings {
            name,
            revision: 1,
            cursor: "".into(),
            categories: None,
            owner: String::new(),
            lease: Duration::from_secs(5),
            max_events: 1_000,
            max_bytes: 8 * 1024 * 1024,
            max_attempts: 5,
            poll_interval: Duration::from_millis(50),
            commit_signal: CommitSignal::new(),
            backoff: Backoff::default(),
            clock: Clock::system(),
            heartbeat: None,
        };
        ProjectionBuilder { feed, settings, owner: None, categories: None, apply: None, health: None }
    }
}

impl<F: Feed> ProjectionBuilder<F> {
    /// Sets the function that applies a batch of events to the read model.
    ///
    /// It writes in the given transaction, in which the projection then stores its position. The events of a stream come
    /// in the order of their versions. A batch may have events of several streams, and is not the same in each attempt.
    /// Effects outside the transaction may be repeated.
    ///
    /// An error rolls the transaction back. [`Projection`] describes what follows.
    pub fn apply<A, Fut>(mut self, apply: A) -> Self
    where
        A: Fn(Vec<Recorded>, Scoped<Tx<F>>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), Error>> + Send + 'static,
    {
        self.apply = Some(Box::new(move |events, tx| Box::pin(apply(events, tx))));
        self
    }

    /// Sets the function that applies a batch of events, as [`apply`](Self::apply) does, and decodes each event with
    /// [`EventSet::decode`]. If an event does not decode, the error is that of the batch.
    pub fn apply_decoded<E, A, Fut>(self, apply: A) -> Self
    where
        E: EventSet,
        A: Fn(Vec<(Recorded, E)>, Scoped<Tx<F>>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), Error>> + Send + 'static,
    {
        let apply = Arc::new(apply);
        self.apply(move |events, tx| {
            let apply = apply.clone();
            async move {
                let decode = |event: Recorded| E::decode(&event.message).map(|decoded| (event, decoded));
                apply(events.into_iter().map(decode).collect::<Result<_, _>>()?, tx).await
            }
        })
    }

    /// Applies only events of these categories. Default: all.
    ///
    /// The categories belong to the stored position. To change them, set a higher [`revision`](Self::revision).
    pub fn categories<T: Into<String>>(mut self, categories: impl IntoIterator<Item = T>) -> Self {
        self.categories = Some(categories.into_iter().map(Into::into).collect());
        self
    }

    /// Sets the revision of the read model. Default 1.
    ///
    /// Each revision has its own position. A higher revision begins at the first event, beside the older one, and writes
    /// to its own tables. When it comes to the last event, it becomes the live one (`Tables::live_revision`), in the
    /// transaction of that batch.
    pub fn revision(mut self, revision: u32) -> Self {
        self.settings.revision = revision;
        self
    }

    /// Sets the most events of a batch, and the bytes at which a batch ends. Default 1,000 and 8 MiB, at most 10,000
    /// events. The last event of a batch may exceed the bytes. Twice that is in memory.
    pub fn batch(mut self, events: u32, bytes: usize) -> Self {
        (self.settings.max_events, self.settings.max_bytes) = (events, bytes);
        self
    }

    /// Sets how often an event is attempted before the projection parks at it. Default 5.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.settings.max_attempts = attempts;
        self
    }

    /// Sets the wait between two attempts. Default [`Backoff::default`].
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.settings.backoff = backoff;
        self
    }

    /// Sets the owner of the lease. Default: a random name. As [`RelayBuilder::owner`](crate::RelayBuilder::owner).
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.owner = Some(owner.into());
        self
    }

    /// Sets the length of the lease: how long other processes wait after this one has crashed. Default 5 s, 300 ms to
    /// 1 h.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.settings.lease = lease;
        self
    }

    /// Sets the longest pause between two reads while there are no new events. Default 50 ms.
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.settings.poll_interval = interval;
        self
    }

    /// Sets the signal that units of work of this process send after a commit, so that the projection reads at once.
    /// Default: a signal without a sender, so that the projection only polls.
    pub fn commit_signal(mut self, signal: CommitSignal) -> Self {
        self.settings.commit_signal = signal;
        self
    }

    /// Sets the clock of all waits and time limits. Default: the system clock.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.settings.clock = clock;
        self
    }

    /// Reports the readiness of the projection to `health`: degraded, with the reason, while it is parked or retries;
    /// unready while it cannot read.
    pub fn health(mut self, health: health::Component) -> Self {
        self.health = Some(health);
        self
    }

    /// Beats `heartbeat` in each turn of the loop, which may contain a batch and several calls to the database.
    pub fn heartbeat(mut self, heartbeat: health::Heartbeat) -> Self {
        self.settings.heartbeat = Some(heartbeat);
        self
    }

    /// Builds the projection.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Misconfigured`](comms_core::ErrorKind::Misconfigured) if
    /// - the name or the owner is empty or longer than 150 bytes, or the name contains NUL,
    /// - there is no function that applies events,
    /// - the list of categories is empty,
    /// - the revision, the attempts, the bytes of a batch or the poll interval is 0,
    /// - a batch does not have 1 to 10,000 events, or
    /// - the lease is not between 300 ms and 1 h.
    pub fn build(self) -> Result<Projection<F>, Error> {
        let Self { feed, mut settings, owner, categories, apply, health } = self;
        let refuse_if = |wrong: bool, text: &str| {
            if wrong { Err(Error::misconfigured(format!("a projection needs {text}"))) } else { Ok(()) }
        };
        let wrong_name = |name: &str| name.is_empty() || name.len() > 150 || name.contains('\0');
        settings.owner = owner.unwrap_or_else(|| settings.clock.uuid_v7().to_string());
        refuse_if(wrong_name(&settings.name), "a name of 1 to 150 bytes without NUL")?;
        refuse_if(wrong_name(&settings.owner), "an owner of 1 to 150 bytes without NUL")?;
        refuse_if(
            categories.as_ref().is_some_and(Vec::is_empty),
            "at least one category: leave categories() out to apply all events",
        )?;
        refuse_if(settings.revision == 0, "a revision of at least 1")?;
        refuse_if(settings.max_attempts == 0, "at least one attempt")?;
        refuse_if(!(1..=10_000).contains(&settings.max_events), "a batch of 1 to 10,000 events")?;
        refuse_if(settings.max_bytes == 0, "a batch of at least 1 byte")?;
        refuse_if(settings.poll_interval.is_zero(), "a poll interval of at least 1 ms")?;
        let leases = Duration::from_millis(300)..=Duration::from_secs(3600);
        refuse_if(!leases.contains(&settings.lease), "a lease of 300 ms to 1 h")?;
        let apply = apply.ok_or_else(|| {
            Error::misconfigured("a projection needs a function that applies events: call apply")
        })?;
        settings.categories = categories.map(|mut categories| {
            categories.sort();
            categories.dedup();
            categories.into()
        });
        settings.cursor = cursor(&settings.name, settings.revision).into();
        let reporter = Reporter::new(&settings.name, settings.revision, health);
        Ok(Projection { context: Context { feed: Arc::new(feed), settings, apply, reporter } })
    }
}
