//! Ends a session: drains and stores the last position.

use std::time::Duration;

use comms_core::{Error, ErrorKind};

use super::state::{End, Session};
use crate::relay::{context::RelayContext, track::TrackEvent};

impl Session<'_> {
    /// Waits for the rows in flight, within the drain limit, and saves the position that was reached. So rows that are
    /// published again after a failure come after every row that was published before.
    pub(in crate::relay) async fn finish(&mut self, result: Result<End, Error>) -> Result<End, Error> {
        self.draining = true;
        self.tracks.for_each(|track| track.read_task = None);
        if matches!(result, Ok(End::Lost)) {
            return result;
        }
        let RelayContext { clock, settings, .. } = self.context;
        let drained = clock.timeout(settings.drain, self.drain()).await;
        if let Ok(Err(error)) = drained
            && error.kind == ErrorKind::Fatal
        {
            return Err(error);
        }
        if result.as_ref().err().is_none_or(|error| error.kind == ErrorKind::Fatal) {
            // The relay ends: release the lease, so that a successor may begin at once.
            self.holder.lease = Duration::ZERO;
        } else {
            self.context.set_oldest_unsettled(self.oldest());
        }
        if let Err(error) = self.save().await {
            let error = error.chain();
            tracing::warn!(
                relay = %self.holder.relay, %error,
                "the position was not saved: messages delivered since the last save will be delivered again"
            );
        }
        result
    }

    /// Settles the rows in flight, and saves meanwhile.
    async fn drain(&mut self) -> Result<(), Error> {
        loop {
            let releasing = self.released.in_flight.is_some();
            if !releasing && self.tracks.all().all(|track| track.in_flight.rows() == 0) {
                return Ok(());
            }
            tokio::select! {
                biased;
                () = self.next_save.as_mut() => {
                    if !self.save().await? {
                        return Ok(());
                    }
                }
                (track, event) = self.tracks.next_event(false) => {
                    if let TrackEvent::Acknowledged(batch, results) = event {
                        self.settle(track, batch, results)?;
                    }
                }
                acknowledged = self.released.next(), if releasing => {
                    if let Some((rows, results)) = acknowledged && !self.settle_release(rows, results).await? {
                        return Ok(());
                    }
                }
            }
        }
    }
}
