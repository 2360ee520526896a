//! Parked rows that somebody released: delivered in the order of their lane, beside the rest.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use comms_core::{Error, ErrorKind, transport::Acks};
use tokio::time::Sleep;

use super::{
    CALL_LIMIT,
    flights::{Results, Sent},
    limited,
    stint::{Stint, is_the_messages},
    store::{Changes, Lane},
    track::Track,
};
use crate::parked::Refusal;

/// How often the table is looked at while anything is parked.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long released rows of a destination wait after one was refused with it; longer where the refusal asks for it.
const REST: Duration = Duration::from_secs(5);
const LONGEST_REST: Duration = Duration::from_secs(60);

/// At most one batch of released rows with the publisher.
pub(super) struct Releases {
    flight: Option<(Vec<Sent>, Acks)>,
    look: std::pin::Pin<Box<Sleep>>,
    due: bool,
    /// The publisher was full: nothing else is handed over before these have had their turn.
    waits_for_room: bool,
    /// Destinations that refused a released row, and until when theirs wait: a page of them stops no other destination.
    resting: HashMap<Arc<str>, Instant>,
}

impl Releases {
    pub(super) fn new() -> Self {
        Self {
            flight: None,
            look: Box::pin(tokio::time::sleep(Duration::ZERO)),
            due: false,
            waits_for_room: false,
            resting: HashMap::new(),
        }
    }

    pub(super) fn waits_for_room(&self) -> bool {
        self.waits_for_room
    }

    pub(super) fn in_flight(&self) -> bool {
        self.flight.is_some()
    }

    /// The batch once it is answered; `None` once when it is time to look. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<(Vec<Sent>, Results)> {
        if let Some((_, acks)) = &mut self.flight {
            let results = acks.as_mut().await;
            return self.flight.take().map(|(rows, _)| (rows, results));
        }
        if self.due {
            return std::future::pending().await;
        }
        self.look.as_mut().await;
        self.due = true;
        None
    }

    fn look_again_in(&mut self, pause: Duration) {
        self.due = false;
        self.look = Box::pin(tokio::time::sleep(pause));
    }
}

impl Stint<'_> {
    /// Hands released rows over, when it is time to look.
    pub(super) async fn start_release(&mut self) -> Result<(), Error> {
        if !self.releases.due || self.releases.flight.is_some() {
            return Ok(());
        }
        self.releases.look_again_in(LOOK_EVERY);
        self.releases.waits_for_room = false;
        if !self.parking.any() {
            return Ok(());
        }
        // A row that was just read behind a parked one of its key has to be in the table, or a release overtakes it.
        if self.parking.pending() > 0 && !self.write().await? {
            return Ok(());
        }
        let settings = &self.relay.settings;
        let bytes = i64::try_from(settings.page_bytes).unwrap_or(i64::MAX);
        let now = self.relay.clock.now();
        self.releases.resting.retain(|_, until| *until > now);
        let resting = self.releases.resting.keys().map(|destination| &**destination);
        let filter = self.tracks.deliverable(resting);
        let released = self.relay.store.released(&settings.name, &filter, settings.page.into(), bytes);
        let rows = limited(CALL_LIMIT, released).await?;
        if !self.lease_is_sure() {
            self.releases.due = true;
            return Ok(());
        }
        // A lane with older copies still on the way is not begun: its next row would overtake them.
        let busy: HashSet<Lane> = self.tracks.all().flat_map(Track::lanes).collect();
        let (mut sent, mut messages, mut damaged) = (Vec::new(), VecDeque::new(), Vec::new());
        for row in rows {
            let row_sent = Sent::of(&row);
            if row_sent.lane().is_some_and(|lane| busy.contains(&lane)) {
                continue;
            }
            match row.message {
                Ok(message) => {
                    sent.push(row_sent);
                    messages.push_back(message);
                }
                Err(error) => {
                    damaged.push(row_sent.park(Refusal::of(&error)));
                    break;
                }
            }
        }
        if messages.is_empty() && !damaged.is_empty() {
            let changes = Changes { repark: damaged, ..Changes::default() };
            // A session that has ended is noticed by the loop's next write.
            self.write_with(changes).await?;
            return Ok(());
        }
        if messages.is_empty() {
            return Ok(());
        }
        let acks = self.relay.publisher.enqueue(&mut messages);
        sent.truncate(sent.len().saturating_sub(messages.len()));
        if sent.is_empty() {
            self.releases.due = true;
            self.releases.waits_for_room = true;
        } else {
            self.releases.flight = Some((sent, acks));
        }
        Ok(())
    }

    /// `false`: the lease is another's.
    pub(super) async fn settle_release(&mut self, rows: Vec<Sent>, results: Results) -> Result<bool, Error> {
        if results.len() != rows.len() {
            return Err(Error::fatal("the publisher answered for another number of messages than it took"));
        }
        let mut changes = Changes::default();
        let mut fatal = None;
        let (mut again, mut reparked) = (HashSet::new(), HashSet::new());
        for (row, result) in rows.into_iter().zip(results) {
            match result {
                // Behind one of its lane that comes again, it comes again too: 1, 2 and never 2, 1.
                Ok(_) if row.lane().is_some_and(|lane| again.contains(&lane)) => {}
                Ok(_) => changes.unpark.push(row.id),
                Err(error) if error.kind == ErrorKind::Fatal => fatal = Some(error),
                Err(error) if Refusal::carried(&error).is_some() || is_the_messages(&error) => {
                    // The first of a lane takes the others along.
                    if row.lane().is_none_or(|lane| reparked.insert(lane)) {
                        changes.repark.push(row.park(Refusal::of(&error)));
                    }
                }
                // It stays released, and is tried again later. Other destinations are looked at at once.
                Err(error) => {
                    let rest = error.retry_after.map_or(REST, |wait| wait.clamp(REST, LONGEST_REST));
                    self.releases.resting.insert(row.topic.clone(), self.relay.clock.now() + rest);
                    self.releases.look_again_in(Duration::ZERO);
                    let error = error.chain();
                    tracing::warn!(outbox_id = row.id, %error, "a released message was not delivered");
                    again.extend(row.lane());
                }
            }
        }
        if !changes.unpark.is_empty() {
            self.relay.metrics.relayed.increment(changes.unpark.len() as u64);
            self.releases.look_again_in(Duration::ZERO);
        }
        if !self.write_with(changes).await? {
            return Ok(false);
        }
        self.load_parked().await?;
        fatal.map_or(Ok(true), Err)
    }
}
