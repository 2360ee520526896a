//! Joins branches that have caught up with the main track.

use std::time::Duration;

use super::state::Session;
use crate::relay::track::Track;

/// How long the main track pauses for branches to join it.
const JOIN_LIMIT: Duration = Duration::from_secs(2);

impl Session<'_> {
    /// Joins the branches that are at the main position. The main track pauses at the end of a window while a branch is
    /// near it; otherwise a branch with steady traffic would never catch up.
    pub(super) fn join(&mut self) {
        let main = &self.tracks.main;
        if main.is_quiet() && main.read_position.is_settled() {
            self.join_branches();
        }
        // A branch with messages in flight does not pause the main track. Once it is paused, the branch may finish its
        // lap.
        let paused = self.tracks.joining.is_some();
        let near = |track: &Track| track.near_main && track.fault.is_none() && (paused || track.is_quiet());
        if !self.tracks.branches().iter().any(near) {
            self.tracks.joining = None;
            return;
        }
        let now = self.context.clock.now();
        let since = *self.tracks.joining.get_or_insert(now);
        if now.saturating_duration_since(since) > JOIN_LIMIT {
            self.tracks.give_up_joining();
        }
    }

    fn join_branches(&mut self) {
        let joined = self.tracks.join();
        if joined.is_empty() {
            return;
        }
        for topic in &joined {
            tracing::info!(relay = %self.holder.relay, %topic, "topic has caught up with the other topics");
        }
        self.pending.joined.extend(joined);
        self.mark_unsaved();
    }
}
