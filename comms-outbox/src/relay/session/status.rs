//! Reports lag, parked keys, held topics and readiness.

use std::time::Duration;

use comms_core::health::State;

use super::state::Session;
use crate::relay::{in_flight::RowAge, track::Track};

impl Session<'_> {
    /// Returns the age of the oldest unsettled row.
    pub(super) fn oldest(&self) -> Option<RowAge> {
        let now = self.context.clock.now();
        self.tracks.all().filter_map(Track::oldest).max_by_key(|row| row.at(now))
    }

    /// Updates metrics and readiness.
    #[allow(clippy::cast_precision_loss)]
    pub(super) fn report(&self) {
        let oldest = self.oldest().or(self.context.oldest_unsettled());
        let now = self.context.clock.now();
        let lag = oldest.map_or(Duration::ZERO, |row| row.at(now));
        let metrics = &self.context.metrics;
        metrics.lag.set(lag.as_secs_f64());
        metrics.parked_keys.set(self.parking.lanes() as f64);
        let held = self.tracks.branches().iter().filter(|track| track.fault.is_some()).count();
        metrics.held_topics.set((held + self.tracks.unnamed.len()) as f64);
        self.context.set_state(self.state());
    }

    /// Returns degraded if messages wait for an operator or for another process.
    fn state(&self) -> State {
        let now = self.context.clock.now();
        let held = self.tracks.branches().iter().find_map(|track| {
            let fault = track.fault.as_ref()?;
            let seconds = now.saturating_duration_since(fault.since).as_secs();
            let topic = track.topic.as_deref()?;
            Some(format!("topic {topic} is held since {seconds} s: {}", fault.reason))
        });
        let unnamed = self.tracks.unnamed.first().map(|(topic, _)| {
            format!(
                "topic {topic} is not named by the process that has the lease, and its messages wait: start a process \
                 that names it, or call Tables::cover_only"
            )
        });
        let (parked, limit) = (self.parking.lanes(), self.context.settings.parked_limit);
        let parked = self.parking.example().filter(|_| parked > limit).map(|(topic, key)| {
            let key = String::from_utf8_lossy(key);
            format!("{parked} keys are parked or held, among them key {key:?} of topic {topic}")
        });
        held.or(unnamed).or(parked).map_or_else(State::ready, State::degraded)
    }
}
