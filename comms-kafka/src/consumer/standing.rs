//! How a consumer stands, as its health component shows it.

use rdkafka::{error::KafkaError, types::RDKafkaErrorCode};
use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::error::{code_of, kind_of};
use comms_core::{
    ErrorKind,
    clock::Clock,
    health::{Component, State, Status},
    transport::Holds,
};

/// How long a deployment fault counts that the client reports again while it lasts.
const REPEATED: Duration = Duration::from_secs(120);
/// The time between two looks at the holds.
const LOOK: Duration = Duration::from_secs(1);

/// The worst of three: membership in the group, deployment faults that the client reports, and holds.
pub(super) struct Standing {
    component: Option<Component>,
    holds: Holds,
    clock: Clock,
    state: Mutex<Known>,
}

struct Known {
    membership: State,
    fault: Option<Fault>,
    shown: Option<State>,
    looked: Option<Instant>,
}

struct Fault {
    reason: String,
    /// `None`: the partition stands still until it is assigned anew.
    until: Option<Instant>,
}

impl Standing {
    pub(super) fn new(component: Option<Component>, holds: Holds, clock: Clock) -> Self {
        let state = Known { membership: State::unready("starting"), fault: None, shown: None, looked: None };
        Self { component, holds, clock, state: Mutex::new(state) }
    }

    /// Whether this is a member of the group in good standing.
    pub(super) fn membership(&self, state: State) {
        let mut known = self.lock();
        known.membership = state;
        self.show(&mut known);
    }

    /// Partitions were assigned: each begins anew.
    pub(super) fn assigned(&self) {
        let mut known = self.lock();
        known.membership = State::ready();
        known.fault = None;
        self.show(&mut known);
    }

    /// The client reported `error`, which it may or may not mend by itself.
    pub(super) fn reported(&self, error: &KafkaError) {
        let Some(code) = code_of(error).filter(|code| kind_of(*code) == ErrorKind::Misconfigured) else {
            return;
        };
        let mut known = self.lock();
        let until = (!is_final(code)).then(|| self.clock.now() + REPEATED);
        let replaced = known.fault.as_ref().is_none_or(|fault| fault.until.is_some() || until.is_none());
        if replaced {
            let reason = format!("deployment fault: {error}");
            if known.fault.as_ref().is_none_or(|fault| fault.reason != reason) {
                tracing::error!(%error, "the consumer cannot read: a deployment fault");
            }
            known.fault = Some(Fault { reason, until });
        }
        self.show(&mut known);
    }

    /// Looks at the holds, once a second.
    pub(super) fn look(&self) {
        let mut known = self.lock();
        let now = self.clock.now();
        if known.looked.is_none_or(|looked| now.saturating_duration_since(looked) >= LOOK) {
            known.looked = Some(now);
            self.show(&mut known);
        }
    }

    fn show(&self, known: &mut Known) {
        let Some(component) = &self.component else { return };
        let now = self.clock.now();
        known.fault.take_if(|fault| fault.until.is_some_and(|until| now >= until));
        let state = match &known.fault {
            _ if known.membership.status == Status::Unready && known.fault.is_none() => {
                known.membership.clone()
            }
            Some(fault) => State::unready(&*fault.reason),
            None => self.holds.state(),
        };
        if known.shown.as_ref() == Some(&state) {
            return;
        }
        let reason = || state.reason.clone().unwrap_or_default();
        match state.status {
            Status::Ready => component.ready(),
            Status::Degraded => component.degraded(reason()),
            Status::Unready => component.unready(reason()),
        }
        known.shown = Some(state);
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the client gives the partition up: without a codec, or without a position.
const fn is_final(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::AutoOffsetReset
            | Code::NotImplemented
            | Code::BadCompression
            | Code::UnsupportedCompressionType
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use comms_core::health::Health;

    #[test]
    fn a_fault_is_shown_with_its_reason_until_it_is_over() {
        let (clock, health) = (Clock::manual(Duration::ZERO), Health::new());
        let standing =
            Standing::new(Some(health.component("consumer")), Holds::new(clock.clone()), clock.clone());
        standing.membership(State::ready());
        assert!(health.is_ready());
        standing.reported(&KafkaError::MessageConsumption(RDKafkaErrorCode::BrokerTransportFailure));
        assert!(health.is_ready(), "the client mends it");
        standing.reported(&KafkaError::MessageConsumption(RDKafkaErrorCode::TopicAuthorizationFailed));
        assert!(health.readiness().reason("consumer").unwrap().contains("authorization"));
        clock.advance(REPEATED);
        standing.look();
        assert!(health.is_ready(), "it is reported no more");
        standing.reported(&KafkaError::MessageConsumption(RDKafkaErrorCode::NotImplemented));
        clock.advance(REPEATED * 10);
        standing.look();
        assert!(!health.is_ready(), "a partition without its codec stands still");
        standing.assigned();
        assert!(health.is_ready());
    }
}
