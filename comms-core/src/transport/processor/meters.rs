//! The histograms of a processor. The handle of each histogram is cached, so that an attempt needs no look-up by name.

use metrics::{Counter, Histogram};
use std::sync::{Arc, PoisonError, RwLock};

use crate::{Delivery, Error, Outcome, telemetry as names};

/// The maximum number of cached handles. Topics and groups come from subscriptions, so there are usually few. A
/// histogram beyond the maximum is looked up by name at each attempt.
const KEPT: usize = 256;

/// The histograms of one processor, by topic, group and result of the attempt.
#[derive(Debug)]
pub(in crate::transport) struct Meters {
    pub(in crate::transport) system: &'static str,
    kept: RwLock<Vec<Kept>>,
}

#[derive(Debug)]
struct Kept {
    place: Place,
    end: &'static str,
    histogram: Histogram,
}

/// The topic and the group of an attempt.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Place {
    pub(super) topic: Arc<str>,
    pub(super) group: Arc<str>,
}

impl Place {
    pub(super) fn of(delivery: &Delivery) -> Self {
        Self { topic: delivery.message.topic().into(), group: delivery.group.clone() }
    }
}

impl Meters {
    pub(super) fn new(system: &'static str) -> Self {
        Self { system, kept: RwLock::default() }
    }

    /// Records an attempt at `place` that took `seconds`.
    pub(super) fn record(&self, place: &Place, result: &Result<Outcome, Error>, seconds: f64) {
        let end = result.as_ref().map_or_else(|error| error.kind.as_str(), |outcome| outcome.as_str());
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = kept.iter().find(|kept| kept.end == end && kept.place == *place) {
            return known.histogram.record(seconds);
        }
        drop(kept);
        let histogram = self.histogram(&place.topic, &place.group, end, result.is_err());
        histogram.record(seconds);
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        // Two concurrent attempts may both add a handle. Both handles record into the same histogram.
        if kept.len() < KEPT {
            kept.push(Kept { place: place.clone(), end, histogram });
        }
    }

    /// Looks the histogram up by name.
    pub(in crate::transport) fn histogram(
        &self,
        topic: &str,
        group: &str,
        end: &'static str,
        failed: bool,
    ) -> Histogram {
        let mut labels = vec![
            metrics::Label::from_static_parts(names::MESSAGING_SYSTEM, self.system),
            metrics::Label::from_static_parts(names::MESSAGING_OPERATION_NAME, names::PROCESS),
            metrics::Label::new(names::MESSAGING_DESTINATION_NAME, topic.to_owned()),
            metrics::Label::new(names::MESSAGING_CONSUMER_GROUP_NAME, group.to_owned()),
            metrics::Label::from_static_parts(names::OUTCOME, end),
        ];
        if failed {
            labels.push(metrics::Label::from_static_parts(names::ERROR_TYPE, end));
        }
        metrics::histogram!(names::PROCESS_DURATION, labels)
    }

    /// Looks up the counter of received messages by name.
    pub(in crate::transport) fn consumed(&self, topic: &str, group: &str) -> Counter {
        metrics::counter!(
            names::CONSUMED_MESSAGES,
            names::MESSAGING_SYSTEM => self.system,
            names::MESSAGING_DESTINATION_NAME => topic.to_owned(),
            names::MESSAGING_CONSUMER_GROUP_NAME => group.to_owned(),
        )
    }
}
