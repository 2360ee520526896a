//! Released rows that are with the publisher, and when to look for more of them.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use comms_core::{
    clock::{Clock, Sleep},
    transport::Acks,
};

use super::in_flight::{Results, RowRef};

/// At most one batch of released rows with the publisher.
pub(super) struct Released {
    pub(super) in_flight: Option<(Vec<RowRef>, Acks)>,
    next_look: Pin<Box<Sleep>>,
    /// It is time to look for released rows.
    pub(super) due: bool,
    /// The publisher was full: no other row is handed over before the released rows had their turn.
    pub(super) waits_for_room: bool,
    /// Topics that refused a released row, and until when their released rows wait. So a page of rows of one such topic
    /// does not delay the released rows of other topics.
    pub(super) backing_off: HashMap<Arc<str>, Instant>,
}

impl Released {
    pub(super) fn new(clock: &Clock) -> Self {
        Self {
            in_flight: None,
            next_look: Box::pin(clock.sleep(Duration::ZERO)),
            due: false,
            waits_for_room: false,
            backing_off: HashMap::new(),
        }
    }

    /// Resolves with the batch once it is acknowledged, or with `None` once when it is time to look for released rows.
    /// Cancel safe.
    pub(super) async fn next(&mut self) -> Option<(Vec<RowRef>, Results)> {
        if let Some((_, acks)) = &mut self.in_flight {
            let results = acks.as_mut().await;
            return self.in_flight.take().map(|(rows, _)| (rows, results));
        }
        if self.due {
            return std::future::pending().await;
        }
        self.next_look.as_mut().await;
        self.due = true;
        None
    }

    pub(super) fn look_again_in(&mut self, pause: Duration) {
        self.due = false;
        self.next_look.as_mut().reset(pause);
    }
}
