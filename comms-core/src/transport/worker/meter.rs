//! The metrics of a worker, recorded once per chunk of records.

use metrics::{Counter, Histogram};
use std::{sync::Arc, time::Duration};

use crate::{Delivery, Error, Outcome, transport::processor::Meters};

/// The number of durations that are kept at most.
const DURATIONS: usize = 1_024;
/// The number of topics and groups that are kept at most. They come from subscriptions, so there are usually few.
const PLACES: usize = 64;

/// The measurements since the last flush.
#[derive(Debug)]
pub(super) struct Meter {
    meters: Arc<Meters>,
    places: Vec<Place>,
    /// The place of the last measurement: most measurements are of the same one.
    last: usize,
    kept: usize,
}

#[derive(Debug)]
struct Place {
    topic: Arc<str>,
    group: Arc<str>,
    consumed: Counter,
    received: u64,
    ends: Vec<End>,
}

#[derive(Debug)]
struct End {
    name: &'static str,
    histogram: Histogram,
    seconds: Vec<f64>,
}

impl Meter {
    pub(super) const fn new(meters: Arc<Meters>) -> Self {
        Self { meters, places: Vec::new(), last: 0, kept: 0 }
    }

    /// Counts a delivery whose first attempt is not recorded here.
    pub(super) fn received(&mut self, delivery: &Delivery) {
        self.place(delivery).0.received += 1;
    }

    /// Records the first attempt of a delivery, which took `took`.
    #[inline]
    pub(super) fn attempted(&mut self, delivery: &Delivery, result: &Result<Outcome, Error>, took: Duration) {
        let name = result.as_ref().map_or_else(|error| error.kind.as_str(), |outcome| outcome.as_str());
        self.record(delivery, 1, name, result.is_err(), took);
    }

    /// Records an attempt of a batch with the delivery `first`, which took `took`. Its deliveries are counted by
    /// [`received`](Self::received).
    pub(super) fn attempted_batch(&mut self, first: &Delivery, error: Option<&Error>, took: Duration) {
        let name = error.map_or(Outcome::Done.as_str(), |error| error.kind.as_str());
        self.record(first, 0, name, error.is_some(), took);
    }

    #[inline]
    fn record(
        &mut self,
        delivery: &Delivery,
        received: u64,
        name: &'static str,
        is_err: bool,
        took: Duration,
    ) {
        let seconds = took.as_secs_f64();
        let (place, meters) = self.place(delivery);
        place.received += received;
        match place.ends.iter_mut().find(|end| std::ptr::eq(end.name, name) || end.name == name) {
            Some(end) => end.seconds.push(seconds),
            None => {
                let histogram = meters.histogram(&place.topic, &place.group, name, is_err);
                place.ends.push(End { name, histogram, seconds: vec![seconds] });
            }
        }
        self.kept += 1;
        if self.kept >= DURATIONS {
            self.flush();
        }
    }

    pub(super) fn flush(&mut self) {
        self.kept = 0;
        for place in &mut self.places {
            if place.received > 0 {
                place.consumed.increment(place.received);
                place.received = 0;
            }
            for end in &mut place.ends {
                end.seconds.drain(..).for_each(|seconds| end.histogram.record(seconds));
            }
        }
    }

    #[inline]
    fn place(&mut self, delivery: &Delivery) -> (&mut Place, &Meters) {
        let is_place = |place: &Place| {
            place.topic.as_bytes() == delivery.message.topic_bytes()
                && (Arc::ptr_eq(&place.group, &delivery.group) || place.group == delivery.group)
        };
        if !self.places.get(self.last).is_some_and(is_place) {
            self.last = match self.places.iter().position(is_place) {
                Some(index) => index,
                None => self.add(delivery),
            };
        }
        (&mut self.places[self.last], &self.meters)
    }

    #[cold]
    fn add(&mut self, delivery: &Delivery) -> usize {
        if self.places.len() >= PLACES {
            self.flush();
            self.places.clear();
        }
        let (topic, group): (Arc<str>, _) = (delivery.message.topic().into(), delivery.group.clone());
        let consumed = self.meters.consumed(&topic, &group);
        self.places.push(Place { topic, group, consumed, received: 0, ends: Vec::new() });
        self.places.len() - 1
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.flush();
    }
}
