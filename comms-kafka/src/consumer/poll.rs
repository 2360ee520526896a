//! The poll thread: owns the client, and serves its callbacks. It waits for no handler and for no periodic commit.

use std::{
    sync::{Arc, atomic::Ordering},
    thread,
    time::Duration,
};

use rdkafka::{
    ClientConfig,
    config::FromClientConfigAndContext,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaError,
};

use super::group::Group;
use crate::error::classify;
use comms_core::Error;

/// The longest duration of one poll.
const TICK: Duration = Duration::from_millis(20);
/// The time limit for the revocation at the end, in addition to the drain time.
const REVOKE: Duration = Duration::from_secs(5);

/// The poll thread of one consumer.
pub(super) struct Poll {
    consumer: Arc<BaseConsumer<Group>>,
}

impl Poll {
    /// Creates the client. It does not join the group yet.
    pub(super) fn new(settings: &ClientConfig, group: Group) -> Result<Self, Error> {
        let consumer = BaseConsumer::from_config_and_context(settings, group).map_err(classify)?;
        let consumer = Arc::new(consumer);
        // Fails if it is set, and the context is new.
        let _ = consumer.context().client.set(Arc::downgrade(&consumer));
        Ok(Self { consumer })
    }

    /// Joins the group and polls until a stop is requested. Then leaves the group. Blocks.
    pub(super) fn run(self) -> Result<(), Error> {
        let group = self.group();
        let topics: Vec<_> = group.topics.keys().map(AsRef::as_ref).collect();
        self.consumer.subscribe(&topics).map_err(classify)?;
        thread::scope(|scope| {
            scope.spawn(|| group.commits.run(&self.consumer));
            let _end = EndCommits(group);
            while !group.control.stopping.is_cancelled() {
                group.beat();
                group.health.refresh();
                group.seeks.serve(group, &self.consumer);
                self.poll();
            }
            self.revoke_all();
        });
        Ok(())
    }

    fn poll(&self) {
        match self.consumer.poll(TICK) {
            Some(Ok(record)) => self.group().dispatch(&record),
            Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => {
                self.group().control.fail(classify(error));
            }
            // The client recovers from most other errors by itself, and has logged them.
            Some(Err(error)) => self.group().health.report_error(&error),
            None => {}
        }
    }

    /// Gives all partitions up, as at any revocation: drains and commits.
    fn revoke_all(&self) {
        let group = self.group();
        tracing::info!(group = %group.name, on_main = group.on_main.load(Ordering::Relaxed), "consumer stops");
        self.consumer.unsubscribe();
        let until = group.clock.now() + group.drain + REVOKE;
        while !group.assigned.is_empty() && group.clock.now() < until {
            group.beat();
            self.poll();
        }
    }

    fn group(&self) -> &Group {
        self.consumer.context()
    }
}

/// Leaves the group, on the poll thread, because that blocks. Also after a panic.
impl Drop for Poll {
    fn drop(&mut self) {
        let group = self.group();
        // Empty, unless the client did not revoke the partitions in time.
        drop(group.close(&group.assigned.take_all()));
        group.lag.reset();
        let references = Arc::strong_count(&self.consumer);
        if references > 1 {
            // The client is closed by the owner of the last reference, if ever.
            tracing::error!(group = %group.name, references, "the client is in use, the group is not left");
        }
    }
}

/// Ends the committer, also if the poll thread panics.
struct EndCommits<'a>(&'a Group);

impl Drop for EndCommits<'_> {
    fn drop(&mut self) {
        self.0.commits.end();
    }
}
