//! All tracks of a session: the main track and the branches.

use std::{future::poll_fn, sync::Arc, task::Poll, time::Instant};

use comms_core::clock::Clock;

use super::{
    context::Settings,
    fault::Fault,
    store::{Filter, Position, StoredBranch},
    track::{Track, TrackEvent},
};

/// The most branches that may have a page that is not handed over yet. Otherwise many topics that catch up at once
/// would each take a page of memory and a connection.
const MAX_PAGES: usize = 4;

/// The tracks of a session, by index; 0 is the main track.
pub(super) struct Tracks {
    pub(super) main: Track,
    branches: Vec<Track>,
    /// Topics with a branch that this process does not name, with their positions. Another process delivers them.
    pub(super) unnamed: Vec<(Arc<str>, Position)>,
    /// The topics that the main position covers; `None`: all.
    covers: Option<Arc<[String]>>,
    /// The topics that this process names; `None`: all.
    named: Option<Arc<[String]>>,
    /// The topics of branches and unnamed topics, which the main track does not read.
    excluded: Arc<[String]>,
    /// Since when the main track pauses, so that branches can join it.
    pub(super) joining: Option<Instant>,
    /// The track that is polled first. It changes each time, so that no track starves.
    first: usize,
}

impl Tracks {
    pub(super) fn new(main: Position, covers: Option<Vec<String>>, named: Option<Arc<[String]>>) -> Self {
        Self {
            main: Track::new(None, main),
            branches: Vec::new(),
            unnamed: Vec::new(),
            covers: covers.map(Into::into),
            named,
            excluded: Arc::new([]),
            joining: None,
            first: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        1 + self.branches.len()
    }

    pub(super) fn get(&mut self, at: usize) -> Option<&mut Track> {
        if at == 0 { Some(&mut self.main) } else { self.branches.get_mut(at - 1) }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Track> {
        std::iter::once(&self.main).chain(&self.branches)
    }

    pub(super) fn branches(&self) -> &[Track] {
        &self.branches
    }

    /// Waits for the next event of any track, and returns the index of the track. `room`: further rows may be read.
    /// Cancel safe.
    pub(super) async fn next_event(&mut self, room: bool) -> (usize, TrackEvent) {
        poll_fn(|cx| {
            for at in self.poll_order() {
                let may_read = room && self.may_read(at);
                if let Some(track) = self.get(at)
                    && let Poll::Ready(event) = track.poll(cx, may_read)
                {
                    return Poll::Ready((at, event));
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Returns the indexes of all tracks, from another one first each time.
    fn poll_order(&mut self) -> impl Iterator<Item = usize> + use<> {
        let len = self.len();
        self.first = (self.first + 1) % len;
        let first = self.first;
        (0..len).map(move |at| (first + at) % len)
    }

    /// Calls `run` for each track, from another branch first each time, so that the branches share a full publisher.
    pub(super) fn for_each(&mut self, mut run: impl FnMut(&mut Track)) {
        if self.branches.len() > 1 {
            self.branches.rotate_left(1);
        }
        self.branches.iter_mut().for_each(&mut run);
        run(&mut self.main);
    }

    /// Returns whether this process names `topic`.
    pub(super) fn names(&self, topic: &str) -> bool {
        self.named.as_ref().is_none_or(|named| named.iter().any(|t| t == topic))
    }

    pub(super) fn branch(&mut self, topic: &str) -> Option<&mut Track> {
        self.branches.iter_mut().find(|track| track.topic.as_deref() == Some(topic))
    }

    /// Returns whether `topic` has a branch, so that the main track does not read it.
    pub(super) fn is_excluded(&self, topic: &str) -> bool {
        self.excluded.iter().any(|excluded| excluded == topic)
    }

    /// Returns whether the main track reads `topic` although this process does not name it.
    pub(super) fn is_unnamed(&self, topic: &str) -> bool {
        self.covers.is_none() && !self.names(topic)
    }

    /// Returns a filter for the topics whose released rows can be delivered now: all but held topics and those in
    /// `backing_off`.
    pub(super) fn deliverable<'a>(&'a self, backing_off: impl Iterator<Item = &'a str>) -> Filter {
        let held = self.branches.iter().filter(|track| track.fault.is_some());
        let held = held.filter_map(|track| track.topic.as_deref());
        Filter { only: self.named.clone(), except: held.chain(backing_off).map(str::to_owned).collect() }
    }

    /// Restores a stored branch.
    pub(super) fn restore(&mut self, branch: StoredBranch, clock: &Clock) {
        let StoredBranch { topic, position, held } = branch;
        if !self.names(&topic) {
            self.unnamed.push((topic, position));
            return self.update_excluded();
        }
        let mut track = Track::new(Some(topic), position.clone());
        track.fault = held.map(|(kind, reason)| Fault::restored(position, kind, reason, clock));
        self.branches.push(track);
        self.update_excluded();
    }

    /// Begins a branch of `topic` at `position`.
    pub(super) fn begin_branch(&mut self, topic: Arc<str>, position: Position) -> &mut Track {
        let mut track = Track::new(Some(topic), position);
        track.unsaved = true;
        self.branches.push(track);
        self.update_excluded();
        let last = self.branches.len() - 1;
        &mut self.branches[last]
    }

    /// Excludes `topic`, which this process does not name, from the main track. Returns the branch to store.
    pub(super) fn exclude_unnamed(&mut self, topic: Arc<str>, position: Position) -> StoredBranch {
        self.unnamed.push((topic.clone(), position.clone()));
        self.update_excluded();
        StoredBranch { topic, position, held: None }
    }

    fn update_excluded(&mut self) {
        let branches = self.branches.iter().filter_map(|track| track.topic.as_deref());
        let topics = branches.chain(self.unnamed.iter().map(|(topic, _)| &**topic));
        self.excluded = topics.map(str::to_owned).collect();
    }

    /// Removes the branches that are at the main position, and returns their topics.
    pub(super) fn join(&mut self) -> Vec<Arc<str>> {
        let main = &self.main.settled_position;
        let joins =
            |track: &Track| track.fault.is_none() && track.is_quiet() && track.settled_position == *main;
        let joined = self.branches.iter().filter(|track| joins(track));
        let joined: Vec<_> = joined.filter_map(|track| track.topic.clone()).collect();
        if !joined.is_empty() {
            self.branches.retain(|track| !joins(track));
            self.update_excluded();
        }
        joined
    }

    /// Lets the main track continue without waiting for branches. Each branch may come near again after its next lap.
    pub(super) fn give_up_joining(&mut self) {
        self.branches.iter_mut().for_each(|track| track.near_main = false);
        self.joining = None;
    }

    /// Updates whether the main track still has rows of the branch at index `at`.
    pub(super) fn update_main_is_clear(&mut self, at: usize) {
        let Some(track) = at.checked_sub(1).and_then(|at| self.branches.get_mut(at)) else { return };
        if !track.main_is_clear {
            track.main_is_clear = !track.topic.as_deref().is_some_and(|topic| self.main.has_rows_of(topic));
        }
    }

    /// Returns the topics that the track reads, and the position up to which it reads.
    pub(super) fn query(&self, at: usize) -> (Filter, Option<Position>) {
        match at.checked_sub(1).and_then(|at| self.branches.get(at)) {
            None => (Filter { only: self.covers.clone(), except: self.excluded.clone() }, None),
            Some(track) => {
                let only = track.topic.iter().map(ToString::to_string).collect();
                let up_to = self.main.read_position.base();
                (Filter { only: Some(only), except: Arc::new([]) }, Some(up_to))
            }
        }
    }

    /// Returns whether the track may read now.
    fn may_read(&self, at: usize) -> bool {
        let Some(track) = at.checked_sub(1).map(|at| self.branches.get(at)) else {
            return !(self.joining.is_some() && self.main.read_position.is_settled());
        };
        let Some(track) = track else { return false };
        // A refused row is read again after it is settled, and after the earlier rows of its topic on the main track.
        let settled = track.fault.as_ref().is_none_or(|fault| !fault.settling);
        let behind =
            !track.read_position.is_settled() || track.read_position != self.main.read_position.base();
        settled && behind && track.main_is_clear && self.pages() < MAX_PAGES
    }

    /// Returns how many branches have a page, or read one.
    fn pages(&self) -> usize {
        let has_page = |track: &&Track| track.read_task.is_some() || !track.unsent.rows.is_empty();
        self.branches.iter().filter(has_page).count()
    }

    /// Returns whether fewer rows and bytes are in flight than the settings allow.
    pub(super) fn has_room(&self, settings: &Settings) -> bool {
        let (rows, bytes) = self.all().fold((0, 0), |(rows, bytes), track| {
            (rows + track.in_flight.rows(), bytes + track.in_flight.bytes())
        });
        rows < settings.in_flight && bytes < settings.in_flight_bytes
    }

    pub(super) fn has_unsaved(&self) -> bool {
        self.branches.iter().any(|track| track.unsaved)
    }

    /// Returns the branches that differ from their stored form.
    pub(super) fn unsaved(&self) -> Vec<StoredBranch> {
        let unsaved = self.branches.iter().filter(|track| track.unsaved);
        let branch = |track: &Track| {
            let fault = track.fault.as_ref();
            let held = fault.map(|fault| (fault.kind, fault.reason.clone()));
            let position = fault.map_or(&track.settled_position, |fault| &fault.position).clone();
            track.topic.clone().map(|topic| StoredBranch { topic, position, held })
        };
        unsaved.filter_map(branch).collect()
    }

    pub(super) fn saved(&mut self) {
        self.branches.iter_mut().for_each(|track| track.unsaved = false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::in_flight::RowRef;

    #[test]
    fn a_bounded_number_of_branches_read_at_once() {
        let here = Position { last_id: 9, ..Position::default() };
        let mut tracks = Tracks::new(here, None, None);
        for n in 0..10 {
            tracks.begin_branch(n.to_string().into(), Position::default());
        }
        let row = || RowRef { id: 1, topic: "t".into(), key: None, bytes: 0 };
        let mut reading = 0;
        while let Some(at) = (1..tracks.len())
            .find(|at| tracks.may_read(*at) && tracks.branches[*at - 1].unsent.rows.is_empty())
        {
            tracks.branches[at - 1].unsent.rows.push_back(row());
            reading += 1;
        }
        assert_eq!(reading, MAX_PAGES);
        assert!(tracks.may_read(0), "the main track reads on");
        tracks.branches[0].unsent.rows.clear();
        assert!(
            (1..tracks.len()).any(|at| tracks.may_read(at)),
            "another branch reads once a page is handed over"
        );
    }
}
