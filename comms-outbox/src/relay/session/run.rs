//! The loop of a session.

use std::{future::Future, pin::Pin};

use comms_core::Error;

use super::state::{End, Session};
use crate::relay::track::{Track, TrackEvent};

impl Session<'_> {
    pub(in crate::relay) async fn run<S>(&mut self, mut shutdown: Pin<&mut S>) -> Result<End, Error>
    where
        S: Future<Output = ()> + Send,
    {
        loop {
            self.context.beat();
            if self.parking.pending() >= self.context.settings.page as usize && !self.save().await? {
                return Ok(End::Lost);
            }
            if !self.lease_is_valid() && !self.save().await? {
                return Ok(End::Lost);
            }
            self.join();
            // The save may have taken longer than the lease that it renewed. Then it is repeated first.
            if self.lease_is_valid() {
                self.start_release().await?;
                if !self.released.waits_for_room {
                    self.publish();
                }
            }
            let room = self.tracks.has_room(&self.context.settings);
            let waiting = self.released.waits_for_room || self.tracks.all().any(Track::has_unsent);
            tokio::select! {
                biased;
                () = shutdown.as_mut() => return Ok(End::Shutdown),
                () = self.next_save.as_mut() => {
                    if !self.save().await? {
                        return Ok(End::Lost);
                    }
                }
                (track, event) = self.tracks.next_event(room) => match event {
                    TrackEvent::Acknowledged(batch, results) => self.settle(track, batch, results)?,
                    TrackEvent::ReadDue => self.start_read(track),
                    TrackEvent::Read(page) => match page? {
                        Some(page) => self.accept_page(track, page),
                        None => {
                            tracing::warn!(
                                relay = %self.holder.relay,
                                "the session has ended: another session began, or the database was restarted"
                            );
                            return Ok(End::Lost);
                        }
                    },
                },
                acknowledged = self.released.next() => {
                    if let Some((rows, results)) = acknowledged && !self.settle_release(rows, results).await? {
                        return Ok(End::Lost);
                    }
                }
                ready = self.context.publisher.ready(), if waiting => ready?,
                // A read that runs may have begun before the commit. The signal is kept until the read has ended.
                Ok(()) = self.commits.changed(), if self.tracks.main.read_task.is_none() => {
                    self.tracks.main.next_read = None;
                }
            }
        }
    }
}
