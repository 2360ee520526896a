//! Reads a page, and keeps the rows that are to be delivered.

use tokio_util::task::AbortOnDropHandle;

use super::state::{MIN_PAUSE, Session};
use crate::relay::{
    call::{READ_LIMIT, limited},
    in_flight::{RowAge, RowRef},
    row::Row,
    store::{Page, Position, Query},
};

impl Session<'_> {
    /// Starts a read of the track at index `at` in a separate task, so that the loop renews the lease meanwhile.
    ///
    /// A read inside the loop would not be polled while the loop awaits a save, and would keep its connection. With a
    /// pool of one connection the save would wait forever.
    pub(super) fn start_read(&mut self, at: usize) {
        let settings = &self.context.settings;
        let (filter, up_to) = self.tracks.query(at);
        let Some(track) = self.tracks.get(at) else { return };
        track.lap_end.clone_from(&up_to);
        let query = Query {
            relay: self.holder.relay.clone(),
            token: self.holder.token.clone(),
            from: track.read_position.clone(),
            scan: track.scan.take(),
            up_to,
            filter,
            // A held topic is attempted with one message, not with a page.
            max_rows: if track.fault.is_some() { 1 } else { settings.page.into() },
            max_bytes: i64::try_from(settings.page_bytes).unwrap_or(i64::MAX),
        };
        let (store, clock) = (self.context.store.clone(), self.context.clock.clone());
        let read = async move { limited(&clock, READ_LIMIT, store.read(query)).await };
        track.read_task = Some(AbortOnDropHandle::new(tokio::spawn(read)));
    }

    /// Accepts the page that a read of the track at index `at` returned, and schedules the next read.
    pub(super) fn accept_page(&mut self, at: usize, page: Page) {
        let Page { rows, age, within, after, scan, more, .. } = page;
        if self.context.read_succeeded() {
            self.report();
        }
        let is_branch = at > 0;
        let poll_interval = self.context.settings.poll_interval;
        let pause = self.pause;
        let found = more || !rows.is_empty();
        if !is_branch {
            self.pause = if found { MIN_PAUSE.min(poll_interval) } else { (pause * 2).min(poll_interval) };
        }
        let age = (!rows.is_empty()).then(|| RowAge { read_at: self.context.clock.now(), age });
        let Some(track) = self.tracks.get(at) else { return };
        track.next_read = None;
        if !found && !is_branch {
            track.wait(pause, &self.context.clock);
        }
        track.near_main = !more && track.lap_end.as_ref() == Some(&after);
        if is_branch && !found && !track.near_main {
            // The branch is ahead of the main track, which has to come up to it.
            track.wait(poll_interval, &self.context.clock);
        }
        track.unsaved |= is_branch;
        track.read_position = after.clone();
        track.scan = scan;
        (track.unsent.within, track.unsent.after, track.unsent.age) = (within.clone(), Some(after), age);
        for row in rows {
            self.accept_row(at, row, &within);
        }
        self.park_behind(at);
        // The lap has ended and every row is settled, so none is left that could be refused.
        if let Some(track) =
            self.tracks.get(at).filter(|track| is_branch && track.near_main && track.is_quiet())
        {
            track.fault = None;
        }
        if !found && !is_branch && self.tracks.main.in_flight.rows() == 0 {
            self.context.set_oldest_unsettled(None);
        }
        if is_branch {
            self.mark_unsaved();
        }
    }

    /// Queues `row` for the publisher, unless it belongs to another track, is damaged, or was delivered already.
    fn accept_row(&mut self, at: usize, row: Row, within: &Position) {
        let row_ref = RowRef::of(&row);
        // The page was read before the topic got its branch, which reads this row behind the refused one.
        if at == 0 && self.tracks.is_excluded(&row_ref.topic) {
            return;
        }
        if at == 0 && self.tracks.is_unnamed(&row_ref.topic) {
            tracing::error!(
                relay = %self.holder.relay, topic = %row_ref.topic,
                "this process does not name the topic: its messages wait for a process that does"
            );
            let branch = self.tracks.exclude_unnamed(row_ref.topic, within.before(row_ref.id));
            self.pending.branches.push(branch);
            self.mark_unsaved();
            return;
        }
        let Some(track) = self.tracks.get(at) else { return };
        if track.skip_delivered(row_ref.id) {
            return;
        }
        match row.message {
            Ok(message) => {
                track.unsent.rows.push_back(row_ref);
                track.unsent.messages.push_back(message);
            }
            Err(error) => self.park(row_ref, &error),
        }
    }
}
