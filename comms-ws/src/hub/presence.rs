//! The presence of principals in topics: what this node reports to the backplane.
//!
//! A principal is present from its first session in a topic to its last. Each beginning and each end is reported, and
//! all of them again every 20 seconds: the backplane forgets what is not reported for a minute, which removes the principals of
//! a node that died, and what could not be removed while the backplane was away.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use comms_core::Error;
use futures_util::future::join_all;
use tokio::sync::Notify;

use crate::fanout::Fanout;

/// How long a principal is listed after its node has died.
const LIFETIME: Duration = Duration::from_secs(60);
/// The time after which all principals are reported again.
const REFRESH: Duration = Duration::from_secs(20);
/// The maximum number of principals in the requests that are in flight.
const BATCH: usize = 500;
/// The maximum number of principals to be removed. The lifetime removes the others.
const MAX_ABSENT: usize = 10_000;

/// A topic and a principal.
type Pair = (Arc<str>, Arc<str>);

/// The principals of this node in the topics with presence.
pub(crate) struct Presence {
    node: u64,
    state: Mutex<State>,
    changed: Notify,
    settled: Notify,
}

#[derive(Default)]
struct State {
    /// The numbers of sessions.
    sessions: HashMap<Pair, usize>,
    /// What is to be reported: whether the principal has sessions is looked up then.
    due: BTreeSet<Pair>,
    /// Reports are in flight.
    is_reporting: bool,
}

/// Principals of a topic, which are present for `lifetime`, or absent if it is zero.
struct Report {
    topic: Arc<str>,
    principals: Vec<Arc<str>>,
    lifetime: Duration,
}

impl Presence {
    pub(super) fn new(node: u64) -> Self {
        Self { node, state: Mutex::default(), changed: Notify::new(), settled: Notify::new() }
    }

    /// Counts a session of `principal` in `topic`.
    pub(crate) fn join(&self, topic: &Arc<str>, principal: Arc<str>) {
        let pair = (topic.clone(), principal);
        let mut state = self.lock();
        let count = state.sessions.entry(pair.clone()).or_default();
        *count += 1;
        if *count == 1 {
            state.due.insert(pair);
            self.changed.notify_one();
        }
    }

    /// Counts a session that has left the topic.
    pub(crate) fn leave(&self, topic: &Arc<str>, principal: Arc<str>) {
        let pair = (topic.clone(), principal);
        let mut state = self.lock();
        let Entry::Occupied(mut entry) = state.sessions.entry(pair.clone()) else { return };
        *entry.get_mut() -= 1;
        if *entry.get() > 0 {
            return;
        }
        entry.remove();
        state.add_due(pair);
        self.changed.notify_one();
    }

    /// Reports all principals again.
    pub(super) fn refresh(&self) {
        let mut state = self.lock();
        let State { sessions, due, .. } = &mut *state;
        due.extend(sessions.keys().cloned());
        self.changed.notify_one();
    }

    /// Waits until everything is reported.
    pub(super) async fn settled(&self) {
        loop {
            let settled = self.settled.notified();
            if self.lock().is_settled() {
                return;
            }
            settled.await;
        }
    }

    async fn changed(&self) {
        while self.lock().due.is_empty() {
            self.changed.notified().await;
        }
    }

    /// Reports what is due now, in batches. What fails, and what becomes due meanwhile, is for the next report, so that
    /// neither holds up the rest.
    async fn report(&self, fanout: &Fanout) -> Result<(), Error> {
        let (mut failed, mut result) = (Vec::new(), Ok(()));
        let mut due = self.begin();
        while !due.is_empty() {
            let reports = self.take(&mut due);
            let reports = reports.into_iter().map(async |report| {
                let Report { topic, principals, lifetime } = &report;
                let reported = fanout.set_present(topic, self.node, principals, *lifetime).await;
                reported.map_err(|error| (report, error))
            });
            for (report, error) in join_all(reports).await.into_iter().filter_map(Result::err) {
                failed.push(report);
                result = Err(error);
            }
        }
        self.finish(failed);
        result
    }

    /// Begins a report of what is due.
    fn begin(&self) -> BTreeSet<Pair> {
        let mut state = self.lock();
        state.is_reporting = true;
        std::mem::take(&mut state.due)
    }

    /// Takes a batch out of `due`.
    fn take(&self, due: &mut BTreeSet<Pair>) -> Vec<Report> {
        let state = self.lock();
        let mut batch: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for pair in std::iter::from_fn(|| due.pop_first()).take(BATCH) {
            let lifetime = if state.sessions.contains_key(&pair) { LIFETIME } else { Duration::ZERO };
            batch.entry((pair.0, lifetime)).or_default().push(pair.1);
        }
        let report = |((topic, lifetime), principals)| Report { topic, principals, lifetime };
        batch.into_iter().map(report).collect()
    }

    /// Ends a report. What failed is due again.
    fn finish(&self, failed: Vec<Report>) {
        let mut state = self.lock();
        state.is_reporting = false;
        for Report { topic, principals, .. } in failed {
            principals.into_iter().for_each(|principal| state.add_due((topic.clone(), principal)));
        }
        if state.is_settled() {
            self.settled.notify_waiters();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Adds a principal to what is to be reported. One that is absent is left to its lifetime if there are too many.
    fn add_due(&mut self, pair: Pair) {
        if self.sessions.contains_key(&pair) || self.due.len() < self.sessions.len() + MAX_ABSENT {
            self.due.insert(pair);
        } else {
            self.due.remove(&pair);
        }
    }

    fn is_settled(&self) -> bool {
        self.due.is_empty() && !self.is_reporting
    }
}

/// Reports the principals of this node until the hub ends.
pub(super) async fn run(presence: Arc<Presence>, fanout: Arc<Fanout>) {
    let clock = &fanout.env.clock;
    let (mut refresh_at, mut failed) = (clock.now() + REFRESH, 0_u32);
    loop {
        let wait = refresh_at.saturating_duration_since(clock.now());
        let _ = clock.timeout(wait, presence.changed()).await;
        if clock.now() >= refresh_at {
            presence.refresh();
            refresh_at = clock.now() + REFRESH;
        }
        match presence.report(&fanout).await {
            Ok(()) => failed = 0,
            Err(error) => {
                fanout.warn("presence", &error);
                failed = failed.saturating_add(1);
                clock.sleep(fanout.backoff.delay(failed, clock)).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn present() -> (Presence, Arc<str>, Arc<str>) {
        (Presence::new(1), "topic".into(), "ann".into())
    }

    fn report(presence: &Presence) -> Vec<Report> {
        presence.take(&mut presence.begin())
    }

    #[test]
    fn a_second_session_reports_nothing() {
        let (presence, topic, ann) = present();
        presence.join(&topic, ann.clone());
        let reports = report(&presence);
        assert_eq!((reports.len(), reports[0].lifetime), (1, LIFETIME));
        presence.join(&topic, ann.clone());
        presence.leave(&topic, ann.clone());
        assert!(report(&presence).is_empty());
        presence.leave(&topic, ann.clone());
        assert_eq!(report(&presence)[0].lifetime, Duration::ZERO);
        presence.leave(&topic, ann);
        assert!(report(&presence).is_empty(), "a principal without a session leaves nothing");
    }

    #[test]
    fn a_report_that_failed_is_due_with_the_state_of_its_repetition() {
        let (presence, topic, ann) = present();
        presence.join(&topic, ann.clone());
        let failed = report(&presence);
        presence.leave(&topic, ann);
        presence.finish(failed);
        assert_eq!(report(&presence)[0].lifetime, Duration::ZERO);
        assert!(!presence.lock().is_settled(), "the report is in flight");
        presence.finish(Vec::new());
        assert!(presence.lock().is_settled());
    }

    #[test]
    fn what_is_to_be_removed_is_bounded_and_a_batch_too() {
        let (presence, topic, _) = present();
        let come_and_go = |name: &str| {
            for n in 0..MAX_ABSENT + 100 {
                let principal: Arc<str> = format!("{name} {n}").into();
                presence.join(&topic, principal.clone());
                presence.leave(&topic, principal);
            }
            presence.lock().due.len()
        };
        let bound = MAX_ABSENT - 1..=MAX_ABSENT;
        assert!(bound.contains(&come_and_go("first")));
        let mut due = presence.begin();
        let mut failed = presence.take(&mut due);
        assert_eq!(failed[0].principals.len(), BATCH);
        while !due.is_empty() {
            failed.extend(presence.take(&mut due));
        }
        assert!(bound.contains(&come_and_go("while the report is in flight")));
        presence.finish(failed);
        assert!(presence.lock().due.len() <= MAX_ABSENT);
    }
}
