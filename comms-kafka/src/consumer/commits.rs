//! The commits of a consumer: by count, by time, and at a revocation.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    time::Duration,
};

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{CommitMode, Consumer as _},
    error::{KafkaError, KafkaResult},
    types::RDKafkaErrorCode,
};

use super::{
    assignment::{Assignment, Assignments, Progress},
    context::Client,
    finished,
    health::ConsumerHealth,
    lag::{self, Lag},
};
use comms_core::clock::Clock;

/// The part of the commit interval after which runners publish the finished records beyond their frontiers again. A text
/// of some kilobytes for each partition need not be in every one of many commits a second.
const BEYOND: u32 = 4;

/// Commits the frontiers of assignments, one commit at a time.
pub(super) struct Commits {
    group: Arc<str>,
    assigned: Arc<Assignments>,
    health: Arc<ConsumerHealth>,
    lag: Arc<Lag>,
    /// Locked during a commit. So a periodic commit cannot arrive after the commit of a revocation, and cannot move the
    /// position of the next owner back.
    one: Mutex<()>,
    /// The records that were finished since the last periodic commit began.
    finished: AtomicU64,
    /// Finished records after which a commit is due.
    records: u64,
    interval: Duration,
    due: SyncSender<()>,
    wakes: Mutex<Option<Receiver<()>>>,
    over: AtomicBool,
    /// The broker has refused the metadata of a commit as too large.
    is_bare: AtomicBool,
    clock: Clock,
}

impl Commits {
    /// Creates the commits of `assigned`: a commit is due after `records` finished records, and after `interval`.
    pub(super) fn new(
        group: Arc<str>,
        assigned: Arc<Assignments>,
        (health, lag): (Arc<ConsumerHealth>, Arc<Lag>),
        (records, interval): (u64, Duration),
        clock: Clock,
    ) -> Self {
        let (due, wakes) = sync_channel(1);
        Self {
            group,
            assigned,
            health,
            lag,
            one: Mutex::default(),
            finished: AtomicU64::new(0),
            records,
            interval,
            due,
            wakes: Mutex::new(Some(wakes)),
            over: AtomicBool::new(false),
            is_bare: AtomicBool::new(false),
            clock,
        }
    }

    /// Counts `records` finished records, and wakes the committer if a commit is due.
    pub(super) fn count(&self, records: u64) {
        let before = self.finished.fetch_add(records, Ordering::Relaxed);
        if before < self.records && before.saturating_add(records) >= self.records {
            self.wake();
        }
    }

    /// Wakes the committer.
    pub(super) fn wake(&self) {
        // Fails if the committer is woken already, or has ended.
        let _ = self.due.try_send(());
    }

    /// Ends the committer after its current commit.
    pub(super) fn end(&self) {
        self.over.store(true, Ordering::Release);
        self.wake();
    }

    /// Commits whenever a commit is due, until [`end`](Self::end). Runs on a thread of its own, because a commit waits
    /// for its response: rdkafka does not report the result of an asynchronous commit.
    pub(super) fn run(&self, client: &Client) {
        let Some(wakes) = self.wakes.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        let mut requested = self.clock.now();
        while wakes.recv_timeout(self.interval) != Err(RecvTimeoutError::Disconnected) {
            if self.over.load(Ordering::Acquire) {
                return;
            }
            self.finished.store(0, Ordering::Relaxed);
            let assignments = self.assigned.all();
            let now = self.clock.now();
            if now.saturating_duration_since(requested) >= self.interval / BEYOND {
                requested = now;
                assignments.iter().for_each(|assignment| assignment.request_beyond());
            }
            self.periodic(assignments, request(client));
            // This thread may block, and a revocation does not wait for the request.
            lag::read_ends(client, &self.lag.take_behind());
        }
    }

    /// Commits the frontiers of those of `assignments` that this member still has.
    pub(super) fn periodic(
        &self,
        mut assignments: Vec<Arc<Assignment>>,
        send: impl Fn(&TopicPartitionList) -> KafkaResult<()>,
    ) {
        let _one = self.one.lock();
        // A partition that was revoked while this thread waited for its turn belongs to another member.
        assignments.retain(|one| !one.is_gone());
        self.commit(&assignments, send);
    }

    /// Commits the frontiers of assignments that are being revoked. Waits for a periodic commit that has begun.
    pub(super) fn last(
        &self,
        gone: &[Arc<Assignment>],
        send: impl Fn(&TopicPartitionList) -> KafkaResult<()>,
    ) {
        let _one = self.one.lock();
        self.commit(gone, send);
    }

    /// Commits what is not committed yet of `assignments`, and waits for the response. During a rebalance of the classic
    /// protocol the response arrives when all members have joined again, and may refuse the commit as too late.
    fn commit(&self, assignments: &[Arc<Assignment>], send: impl Fn(&TopicPartitionList) -> KafkaResult<()>) {
        use RDKafkaErrorCode as Code;
        let progress: Vec<_> = assignments.iter().filter_map(|a| Some((a, a.uncommitted()?))).collect();
        if progress.is_empty() {
            return;
        }
        let is_bare = self.is_bare.load(Ordering::Relaxed);
        let mut result = send(&list(&progress, is_bare));
        if !is_bare && is_too_large(&result) {
            tracing::warn!(group = %self.group, "the broker refuses the list of finished records beyond the committed \
                offset, so that they are handled again after a crash: raise offset.metadata.max.bytes to 4096");
            self.is_bare.store(true, Ordering::Relaxed);
            result = send(&list(&progress, true));
        }
        match result.as_ref().map_err(KafkaError::rdkafka_error_code) {
            Ok(()) => {
                progress.into_iter().for_each(|(assignment, progress)| assignment.set_committed(progress))
            }
            // The group has rebalanced meanwhile. Partitions that this member still has are committed again in the next
            // round. Records of the others are delivered again.
            Err(Some(
                Code::IllegalGeneration
                | Code::UnknownMemberId
                | Code::RebalanceInProgress
                | Code::StaleMemberEpoch,
            )) => tracing::debug!(group = %self.group, ?result, "commit came too late"),
            Err(_) => {
                tracing::warn!(group = %self.group, ?result, "commit failed");
                if let Err(error) = &result {
                    self.health.report_error(error);
                }
            }
        }
    }
}

/// Makes the list of offsets of a commit, with the finished records beyond them unless it is to be `bare`.
fn list(progress: &[(&Arc<Assignment>, Progress)], is_bare: bool) -> TopicPartitionList {
    let mut offsets = TopicPartitionList::with_capacity(progress.len());
    for (assignment, Progress { offset, beyond }) in progress {
        let mut element = offsets.add_partition(&assignment.topic.name, assignment.partition);
        // Fails only for an offset that cannot be represented. A frontier is an offset of the broker plus 1.
        let _ = element.set_offset(Offset::Offset(*offset));
        if !is_bare && !beyond.is_empty() {
            element.set_metadata(finished::metadata(*offset, beyond));
        }
    }
    offsets
}

fn is_too_large(result: &Result<(), KafkaError>) -> bool {
    let code = result.as_ref().err().and_then(KafkaError::rdkafka_error_code);
    code == Some(RDKafkaErrorCode::OffsetMetadataTooLarge)
}

/// Returns the request of a commit, which waits for the response.
pub(super) fn request(client: &Client) -> impl Fn(&TopicPartitionList) -> KafkaResult<()> {
    move |offsets| client.commit(offsets, CommitMode::Sync)
}

#[cfg(test)]
mod tests {
    use super::*;
    use comms_core::transport::Holds;

    #[test]
    fn the_committer_is_woken_once_when_the_count_is_reached() {
        let (clock, control) = (Clock::system(), Arc::default());
        let health = ConsumerHealth::new(None, Holds::new(clock.clone()), clock, Vec::new(), control);
        let every = (10, Duration::from_secs(60));
        let parts = (Arc::new(health), Arc::default());
        let commits = Commits::new("group".into(), Arc::default(), parts, every, Clock::system());
        let wakes = commits.wakes.lock().unwrap().take().unwrap();
        commits.count(9);
        assert!(wakes.try_recv().is_err());
        commits.count(1);
        commits.count(50);
        assert_eq!((wakes.try_recv().is_ok(), wakes.try_recv().is_err()), (true, true));
        commits.finished.store(0, Ordering::Relaxed);
        commits.count(10);
        assert!(wakes.try_recv().is_ok(), "the next round counts again");
    }
}
