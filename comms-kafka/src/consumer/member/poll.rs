//! The poll thread: owns the client, and serves its callbacks. It waits for no handler and for no periodic commit.

use std::{
    sync::{Arc, atomic::Ordering},
    thread,
    time::Duration,
};

use rdkafka::{ClientConfig, config::FromClientConfigAndContext, consumer::Consumer as _, error::KafkaError};

use super::Member;
use crate::{
    consumer::context::{Client, Context},
    error::classify,
};
use comms_core::Error;

/// The longest duration of one poll.
const TICK: Duration = Duration::from_millis(20);
/// The time limit for the revocation at the end, in addition to the drain time.
const REVOKE: Duration = Duration::from_secs(5);

/// The poll thread of one consumer.
pub(in crate::consumer) struct Poll {
    client: Arc<Client>,
    member: Arc<Member>,
}

impl Poll {
    /// Creates the client. It does not join the group yet.
    pub(in crate::consumer) fn new(settings: &ClientConfig, member: Member) -> Result<Self, Error> {
        let member = Arc::new(member);
        let context = Context::new(member.clone());
        let client = Arc::new(Client::from_config_and_context(settings, context).map_err(classify)?);
        // Fails if it is set, and the member is new.
        let _ = member.client.set(Arc::downgrade(&client));
        Ok(Self { client, member })
    }

    /// Joins the group and polls until a stop is requested. Then leaves the group. Blocks.
    pub(in crate::consumer) fn run(self) -> Result<(), Error> {
        let member = &*self.member;
        let topics: Vec<_> = member.topics.keys().map(AsRef::as_ref).collect();
        self.client.subscribe(&topics).map_err(classify)?;
        thread::scope(|scope| {
            scope.spawn(|| member.commits.run(&self.client));
            let _end = EndCommits(member);
            while !member.control.stopping.is_cancelled() {
                member.beat();
                member.health.refresh();
                member.serve_seeks(&self.client);
                self.poll();
            }
            self.revoke_all();
        });
        Ok(())
    }

    fn poll(&self) {
        match self.client.poll(TICK) {
            Some(Ok(record)) => self.member.dispatch(&record),
            Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => {
                self.member.control.fail(classify(error));
            }
            // The client recovers from most other errors by itself, and has logged them.
            Some(Err(error)) => self.member.health.report_error(&error),
            None => {}
        }
    }

    /// Gives all partitions up, as at any revocation: drains and commits.
    fn revoke_all(&self) {
        let member = &*self.member;
        tracing::info!(group = %member.name, on_main = member.on_main.load(Ordering::Relaxed), "consumer stops");
        self.client.unsubscribe();
        let until = member.clock.now() + member.drain + REVOKE;
        while !member.assigned.is_empty() && member.clock.now() < until {
            member.beat();
            self.poll();
        }
    }
}

/// Leaves the group, on the poll thread, because that blocks. Also after a panic.
impl Drop for Poll {
    fn drop(&mut self) {
        let member = &*self.member;
        // Empty, unless the client did not revoke the partitions in time.
        drop(member.close(&member.assigned.take_all()));
        member.lag.reset();
        let references = Arc::strong_count(&self.client);
        if references > 1 {
            // The client is closed by the owner of the last reference, if ever.
            tracing::error!(group = %member.name, references, "the client is in use, the group is not left");
        }
    }
}

/// Ends the committer, also if the poll thread panics.
struct EndCommits<'a>(&'a Member);

impl Drop for EndCommits<'_> {
    fn drop(&mut self) {
        self.0.commits.end();
    }
}
