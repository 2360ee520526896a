//! Delivers parked rows after their release, in the order of their lanes.

use std::{
    collections::{HashSet, VecDeque},
    time::Duration,
};

use comms_core::{Error, ErrorKind, Message};

use super::{park::refuses_message, settle::wrong_number, state::Session};
use crate::{
    parked::Refusal,
    relay::{
        call::{CALL_LIMIT, limited},
        in_flight::{Results, RowRef},
        row::Row,
        store::{Changes, Lane, RowToPark},
        track::Track,
    },
};

/// Interval between two looks for released rows while any row is parked.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How long the released rows of a topic wait after one of them was refused together with its topic. A `retry_after` of
/// the publisher extends the wait, up to [`MAX_BACKOFF`].
const BACKOFF: Duration = Duration::from_secs(5);
const MAX_BACKOFF: Duration = Duration::from_secs(60);

impl Session<'_> {
    /// Looks for released rows if it is time, and hands them to the publisher.
    pub(super) async fn start_release(&mut self) -> Result<(), Error> {
        if !self.released.due || self.released.in_flight.is_some() {
            return Ok(());
        }
        self.released.look_again_in(LOOK_INTERVAL);
        self.released.waits_for_room = false;
        if !self.parking.any() {
            return Ok(());
        }
        // A row that was read behind a parked row of its key must be stored first, or a release could overtake it.
        if self.parking.pending() > 0 && !self.save().await? {
            return Ok(());
        }
        let rows = self.read_released().await?;
        if !self.lease_is_valid() {
            self.released.due = true;
            return Ok(());
        }
        let (mut sent, mut messages, damaged) = self.deliverable(rows);
        if messages.is_empty() {
            if let Some(row) = damaged {
                // If the session has ended, the next save of the loop finds out.
                self.save_with(Changes { repark: vec![row], ..Changes::default() }).await?;
            }
            return Ok(());
        }
        let acks = self.context.publisher.enqueue(&mut messages);
        sent.truncate(sent.len().saturating_sub(messages.len()));
        if sent.is_empty() {
            self.released.due = true;
            self.released.waits_for_room = true;
        } else {
            self.released.in_flight = Some((sent, acks));
        }
        Ok(())
    }

    async fn read_released(&mut self) -> Result<Vec<Row>, Error> {
        let settings = &self.context.settings;
        let bytes = i64::try_from(settings.page_bytes).unwrap_or(i64::MAX);
        let now = self.context.clock.now();
        self.released.backing_off.retain(|_, until| *until > now);
        let backing_off = self.released.backing_off.keys().map(|topic| &**topic);
        let filter = self.tracks.deliverable(backing_off);
        let released = self.context.store.released(&settings.name, &filter, settings.page.into(), bytes);
        limited(&self.context.clock, CALL_LIMIT, released).await
    }

    /// Returns the rows that can be delivered now, up to the first one that does not decode, and that one.
    fn deliverable(&self, rows: Vec<Row>) -> (Vec<RowRef>, VecDeque<Message>, Option<RowToPark>) {
        // A lane with older copies in flight is skipped: its next row would overtake them.
        let busy: HashSet<Lane> = self.tracks.all().flat_map(Track::lanes).collect();
        let (mut sent, mut messages) = (Vec::new(), VecDeque::new());
        for row in rows {
            let row_ref = RowRef::of(&row);
            if row_ref.lane().is_some_and(|lane| busy.contains(&lane)) {
                continue;
            }
            match row.message {
                Ok(message) => {
                    sent.push(row_ref);
                    messages.push_back(message);
                }
                Err(error) => return (sent, messages, Some(row_ref.park(Refusal::of(&error)))),
            }
        }
        (sent, messages, None)
    }

    /// Settles a batch of released rows. Returns `false` if the session has ended.
    pub(super) async fn settle_release(
        &mut self,
        rows: Vec<RowRef>,
        results: Results,
    ) -> Result<bool, Error> {
        if results.len() != rows.len() {
            return Err(wrong_number(rows.len(), results.len()));
        }
        let mut changes = Changes::default();
        let mut fatal = None;
        let (mut repeated, mut reparked) = (HashSet::new(), HashSet::new());
        for (row, result) in rows.into_iter().zip(results) {
            match result {
                // A row behind one of its lane that is repeated is repeated too: 1, 2 and never 2, 1.
                Ok(_) if row.lane().is_some_and(|lane| repeated.contains(&lane)) => {}
                Ok(_) => changes.unpark.push(row.id),
                Err(error) if error.kind == ErrorKind::Fatal => fatal = Some(error),
                Err(error) if refuses_message(&error) => {
                    // Parking the first row of a lane parks the others too.
                    if row.lane().is_none_or(|lane| reparked.insert(lane)) {
                        changes.repark.push(row.park(Refusal::of(&error)));
                    }
                }
                // The topic is refused. The row stays released and is attempted again after the backoff. Released rows
                // of other topics are looked for at once.
                Err(error) => {
                    let pause = error.retry_after.map_or(BACKOFF, |wait| wait.clamp(BACKOFF, MAX_BACKOFF));
                    let until = self.context.clock.now() + pause;
                    self.released.backing_off.insert(row.topic.clone(), until);
                    self.released.look_again_in(Duration::ZERO);
                    let error = error.chain();
                    tracing::warn!(outbox_id = row.id, topic = %row.topic, %error, "released message not delivered");
                    repeated.extend(row.lane());
                }
            }
        }
        if !changes.unpark.is_empty() {
            self.context.metrics.relayed.increment(changes.unpark.len() as u64);
            self.released.look_again_in(Duration::ZERO);
        }
        if !self.save_with(changes).await? {
            return Ok(false);
        }
        self.load_parked().await?;
        fatal.map_or(Ok(true), Err)
    }
}
