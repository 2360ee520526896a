//! The health of a consumer: its membership, the client's deployment faults, and held records.

mod faults;

use rdkafka::error::KafkaError;
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::control::Control;
use crate::error::code_of;
use comms_core::{
    Error,
    clock::Clock,
    health::{Component, State, Status},
    transport::Holds,
};
pub use faults::ClientFault;

/// How long a deployment fault is shown after its last report. The client repeats the report while the fault lasts.
const FAULT_EXPIRY: Duration = Duration::from_secs(120);
/// The shortest time between two reads of the list of holds.
const REFRESH: Duration = Duration::from_secs(1);

/// Reports the worst of three to the health component: the membership in the group, the deployment faults that the
/// client reports, and the holds.
pub(super) struct ConsumerHealth {
    component: Option<Component>,
    holds: Holds,
    clock: Clock,
    /// The faults that stop the consumer.
    fatal: Vec<ClientFault>,
    control: Arc<Control>,
    state: Mutex<Inputs>,
}

struct Inputs {
    membership: State,
    fault: Option<Fault>,
    shown: Option<State>,
    refreshed_at: Option<Instant>,
}

struct Fault {
    reason: String,
    /// `None`: the partition is not read until it is assigned again.
    until: Option<Instant>,
}

impl ConsumerHealth {
    pub(super) fn new(
        component: Option<Component>,
        holds: Holds,
        clock: Clock,
        fatal: Vec<ClientFault>,
        control: Arc<Control>,
    ) -> Self {
        let membership = State::unready("starting");
        let state = Inputs { membership, fault: None, shown: None, refreshed_at: None };
        Self { component, holds, clock, fatal, control, state: Mutex::new(state) }
    }

    /// Sets the state of the membership: ready, or unready with the reason.
    pub(super) fn set_membership(&self, state: State) {
        let mut inputs = self.lock();
        inputs.membership = state;
        self.show(&mut inputs);
    }

    /// Clears the fault, because assigned partitions are read again from their positions.
    pub(super) fn assigned(&self) {
        let mut inputs = self.lock();
        inputs.membership = State::ready();
        inputs.fault = None;
        self.show(&mut inputs);
    }

    /// Shows `error`, which the client reported, if it is a deployment fault, and stops the consumer if the fault is
    /// fatal. The client recovers from other errors by itself.
    pub(super) fn report_error(&self, error: &KafkaError) {
        let Some(fault) = code_of(error).and_then(ClientFault::of) else { return };
        if self.fatal.contains(&fault) {
            self.control.fail(Error::misconfigured(error.clone()).context("a fault of the client"));
        }
        let mut inputs = self.lock();
        let until = (!fault.is_final()).then(|| self.clock.now() + FAULT_EXPIRY);
        let replaced = inputs.fault.as_ref().is_none_or(|fault| fault.until.is_some() || until.is_none());
        if replaced {
            let reason = format!("deployment fault: {error}");
            if inputs.fault.as_ref().is_none_or(|fault| fault.reason != reason) {
                tracing::error!(%error, "the consumer cannot read: a deployment fault");
            }
            inputs.fault = Some(Fault { reason, until });
        }
        self.show(&mut inputs);
    }

    /// Reads the list of holds, once a second, and ends a fault that has expired.
    pub(super) fn refresh(&self) {
        let mut inputs = self.lock();
        let now = self.clock.now();
        if inputs.refreshed_at.is_none_or(|at| now.saturating_duration_since(at) >= REFRESH) {
            inputs.refreshed_at = Some(now);
            self.show(&mut inputs);
        }
    }

    fn show(&self, inputs: &mut Inputs) {
        let Some(component) = &self.component else { return };
        let now = self.clock.now();
        inputs.fault.take_if(|fault| fault.until.is_some_and(|until| now >= until));
        let state = match &inputs.fault {
            _ if inputs.membership.status == Status::Unready && inputs.fault.is_none() => {
                inputs.membership.clone()
            }
            Some(fault) => State::unready(&*fault.reason),
            None => self.holds.state(),
        };
        if inputs.shown.as_ref() == Some(&state) {
            return;
        }
        let reason = || state.reason.clone().unwrap_or_default();
        match state.status {
            Status::Ready => component.ready(),
            Status::Degraded => component.degraded(reason()),
            Status::Unready => component.unready(reason()),
        }
        inputs.shown = Some(state);
    }

    fn lock(&self) -> MutexGuard<'_, Inputs> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use comms_core::{ErrorKind, health::Health};
    use rdkafka::types::RDKafkaErrorCode;

    fn consumer(
        health: &Health,
        clock: &Clock,
        fatal: Vec<ClientFault>,
        control: &Arc<Control>,
    ) -> ConsumerHealth {
        let component = Some(health.component("consumer"));
        ConsumerHealth::new(component, Holds::new(clock.clone()), clock.clone(), fatal, control.clone())
    }

    #[test]
    fn a_fault_is_shown_with_its_reason_until_it_is_over() {
        let (clock, health) = (Clock::manual(Duration::ZERO), Health::new());
        let control = Arc::default();
        let consumer = consumer(&health, &clock, Vec::new(), &control);
        consumer.set_membership(State::ready());
        assert!(health.is_ready());
        consumer.report_error(&KafkaError::MessageConsumption(RDKafkaErrorCode::BrokerTransportFailure));
        assert!(health.is_ready(), "the client recovers by itself");
        consumer.report_error(&KafkaError::MessageConsumption(RDKafkaErrorCode::TopicAuthorizationFailed));
        assert!(health.readiness().reason("consumer").unwrap().contains("authorization"));
        clock.advance(FAULT_EXPIRY);
        consumer.refresh();
        assert!(health.is_ready(), "the fault has expired");
        consumer.report_error(&KafkaError::MessageConsumption(RDKafkaErrorCode::NotImplemented));
        clock.advance(FAULT_EXPIRY * 10);
        consumer.refresh();
        assert!(!health.is_ready(), "a partition without its codec is not read");
        consumer.assigned();
        assert!(health.is_ready());
        assert!(!control.stopping.is_cancelled(), "no fault is fatal");
    }

    #[test]
    fn a_fatal_fault_stops_the_consumer() {
        let (clock, health, control) = (Clock::manual(Duration::ZERO), Health::new(), Arc::default());
        let consumer = consumer(&health, &clock, vec![ClientFault::Codec], &control);
        consumer.report_error(&KafkaError::MessageConsumption(RDKafkaErrorCode::UnknownTopicOrPartition));
        assert!(!control.stopping.is_cancelled());
        consumer.report_error(&KafkaError::MessageConsumption(RDKafkaErrorCode::NotImplemented));
        assert!(control.stopping.is_cancelled());
        assert_eq!(control.failure().unwrap().kind, ErrorKind::Misconfigured);
    }
}
