//! What a session shows: lag, parked keys, held destinations, readiness.

use std::time::Duration;

use comms_core::health::State;

use super::Stint;
use crate::relay::flights::Aged;

impl Stint<'_> {
    /// The oldest row that is not settled.
    pub(super) fn oldest(&self) -> Option<Aged> {
        let now = self.relay.clock.now();
        let age = |aged: &Aged| aged.age + now.saturating_duration_since(aged.read);
        self.tracks.all().filter_map(crate::relay::track::Track::oldest).max_by_key(age)
    }

    #[allow(clippy::cast_precision_loss)]
    pub(super) fn report(&self) {
        let oldest = self.oldest().or(self.relay.behind());
        let now = self.relay.clock.now();
        let lag = oldest.map_or(Duration::ZERO, |aged| aged.age + now.saturating_duration_since(aged.read));
        let metrics = &self.relay.metrics;
        metrics.lag.set(lag.as_secs_f64());
        metrics.parked_keys.set(self.parking.lanes() as f64);
        let held = self.tracks.branches().iter().filter(|track| track.fault.is_some()).count();
        metrics.held_destinations.set((held + self.tracks.unnamed.len()) as f64);
        self.relay.set_state(self.state());
    }

    /// Degraded where something waits for an operator, or for another process.
    fn state(&self) -> State {
        let now = self.relay.clock.now();
        let held = self.tracks.branches().iter().find_map(|track| {
            let fault = track.fault.as_ref()?;
            let seconds = now.saturating_duration_since(fault.since).as_secs();
            let destination = track.destination.as_deref()?;
            Some(format!("destination {destination} is held since {seconds} s: {}", fault.reason))
        });
        let unnamed = self.tracks.unnamed.first().map(|(destination, _)| {
            format!(
                "destination {destination} is named by no process that has the lease, and its messages wait: start one \
                 that names it, or call Tables::cover_only"
            )
        });
        let (parked, limit) = (self.parking.lanes(), self.relay.settings.parked_limit);
        let parked = self.parking.example().filter(|_| parked > limit).map(|(destination, key)| {
            let key = String::from_utf8_lossy(key);
            format!("{parked} keys are parked or held, among them {key:?} of {destination}")
        });
        held.or(unnamed).or(parked).map_or_else(State::ready, State::degraded)
    }
}
