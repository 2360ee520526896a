//! The main track and the branches of a session.

use std::{sync::Arc, time::Instant};

use comms_core::clock::Clock;

use crate::relay::{
    Settings,
    fault::Fault,
    store::{Branch, Filter, Position},
    track::Track,
};

/// How many branches may have a page that is not handed over: many destinations that catch up at once would take as
/// many pages of memory, and as many connections.
const MOST_PAGES: usize = 4;

/// All tracks of a session; 0 is the main one.
pub(in crate::relay) struct Tracks {
    pub(super) main: Track,
    branches: Vec<Track>,
    /// Destinations apart that this process does not name, with their positions: another process delivers them.
    pub(super) unnamed: Vec<(Arc<str>, Position)>,
    /// The destinations that the main position stands for; `None`: all.
    covers: Option<Arc<[String]>>,
    /// The destinations that this process names; `None`: all.
    named: Option<Arc<[String]>>,
    /// The names of branches and unnamed destinations: what the main track leaves out.
    apart: Arc<[String]>,
    /// Reading on the main track waits, so that branches can join it.
    pub(super) joining: Option<Instant>,
    /// Which track is asked first: none may keep the others from their turn.
    turn: usize,
}

impl Tracks {
    pub(super) fn new(main: Position, covers: Option<Vec<String>>, named: Option<Arc<[String]>>) -> Self {
        Self {
            main: Track::new(None, main),
            branches: Vec::new(),
            unnamed: Vec::new(),
            covers: covers.map(Into::into),
            named,
            apart: Arc::new([]),
            joining: None,
            turn: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        1 + self.branches.len()
    }

    /// The tracks in the order in which they are asked this time.
    pub(super) fn turns(&mut self) -> impl Iterator<Item = usize> + use<> {
        let len = self.len();
        self.turn = (self.turn + 1) % len;
        let first = self.turn;
        (0..len).map(move |at| (first + at) % len)
    }

    pub(super) fn get(&mut self, at: usize) -> Option<&mut Track> {
        if at == 0 { Some(&mut self.main) } else { self.branches.get_mut(at - 1) }
    }

    pub(in crate::relay) fn all(&self) -> impl Iterator<Item = &Track> {
        std::iter::once(&self.main).chain(&self.branches)
    }

    pub(super) fn branches(&self) -> &[Track] {
        &self.branches
    }

    /// From another one first each time, so that a full publisher is shared.
    pub(super) fn each(&mut self, mut run: impl FnMut(&mut Track)) {
        if self.branches.len() > 1 {
            self.branches.rotate_left(1);
        }
        self.branches.iter_mut().for_each(&mut run);
        run(&mut self.main);
    }

    pub(super) fn names(&self, destination: &str) -> bool {
        self.named.as_ref().is_none_or(|named| named.iter().any(|d| d == destination))
    }

    pub(super) fn branch(&mut self, destination: &str) -> Option<&mut Track> {
        self.branches.iter_mut().find(|track| track.destination.as_deref() == Some(destination))
    }

    /// Whether the main track leaves `destination` out.
    pub(super) fn is_apart(&self, destination: &str) -> bool {
        self.apart.iter().any(|apart| apart == destination)
    }

    /// Whether `destination` is read on the main track although this process does not name it.
    pub(super) fn is_unnamed(&self, destination: &str) -> bool {
        self.covers.is_none() && !self.names(destination)
    }

    /// The destinations whose released rows can be delivered now, but for those in `resting`.
    pub(in crate::relay) fn deliverable<'a>(&'a self, resting: impl Iterator<Item = &'a str>) -> Filter {
        let held = self.branches.iter().filter(|track| track.fault.is_some());
        let held = held.filter_map(|track| track.destination.as_deref());
        Filter { only: self.named.clone(), except: held.chain(resting).map(str::to_owned).collect() }
    }

    /// A branch as it was stored.
    pub(super) fn resume(&mut self, branch: Branch, clock: &Clock) {
        let Branch { destination, position, held } = branch;
        if !self.names(&destination) {
            self.unnamed.push((destination, position));
            return self.changed_names();
        }
        let mut track = Track::new(Some(destination), position.clone());
        track.fault = held.map(|(kind, reason)| Fault::stored(position, kind, reason, clock));
        self.branches.push(track);
        self.changed_names();
    }

    /// A branch that begins at `position`.
    pub(super) fn begin(&mut self, destination: Arc<str>, position: Position) -> &mut Track {
        let mut track = Track::new(Some(destination), position);
        track.changed = true;
        self.branches.push(track);
        self.changed_names();
        let last = self.branches.len() - 1;
        &mut self.branches[last]
    }

    /// Takes the branches out that are at the main position; while they are named.
    pub(super) fn join(&mut self) -> Vec<Arc<str>> {
        let main = &self.main.acked;
        let joins = |track: &Track| track.fault.is_none() && track.is_quiet() && track.acked == *main;
        let joined = self.branches.iter().filter(|track| joins(track));
        let joined: Vec<_> = joined.filter_map(|track| track.destination.clone()).collect();
        if !joined.is_empty() {
            self.branches.retain(|track| !joins(track));
            self.changed_names();
        }
        joined
    }

    /// Notes whether the main track still has rows of a branch.
    pub(super) fn clear(&mut self, at: usize) {
        let Some(track) = at.checked_sub(1).and_then(|at| self.branches.get_mut(at)) else { return };
        if !track.clear {
            track.clear = !track.destination.as_deref().is_some_and(|d| self.main.holds(d));
        }
    }

    /// Branches are not waited for any longer; each may come near again after its next lap.
    pub(super) fn give_up_joining(&mut self) {
        self.branches.iter_mut().for_each(|track| track.near = false);
        self.joining = None;
    }

    fn changed_names(&mut self) {
        let branches = self.branches.iter().filter_map(|track| track.destination.as_deref());
        let names = branches.chain(self.unnamed.iter().map(|(destination, _)| &**destination));
        self.apart = names.map(str::to_owned).collect();
    }

    /// What the track reads, and how far.
    pub(super) fn query(&self, at: usize) -> (Filter, Option<Position>) {
        match at.checked_sub(1).and_then(|at| self.branches.get(at)) {
            None => (Filter { only: self.covers.clone(), except: self.apart.clone() }, None),
            Some(track) => {
                let only = track.destination.iter().map(ToString::to_string).collect();
                (Filter { only: Some(only), except: Arc::new([]) }, Some(self.main.read.base()))
            }
        }
    }

    /// Whether there is something to read for the track.
    pub(super) fn may_read(&self, at: usize) -> bool {
        let Some(track) = at.checked_sub(1).map(|at| self.branches.get(at)) else {
            return !(self.joining.is_some() && self.main.read.is_settled());
        };
        let Some(track) = track else { return false };
        // Refused rows must be settled before they are read again, and earlier rows of the destination too.
        let settled = track.fault.as_ref().is_none_or(|fault| !fault.settling);
        let behind = !track.read.is_settled() || track.read != self.main.read.base();
        settled && behind && track.clear && self.pages() < MOST_PAGES
    }

    /// The branches that have a page, or read one.
    fn pages(&self) -> usize {
        let has_page = |track: &&Track| track.reading.is_some() || !track.unsent.rows.is_empty();
        self.branches.iter().filter(has_page).count()
    }

    pub(super) fn room(&self, settings: &Settings) -> bool {
        let (rows, bytes) = self.all().fold((0, 0), |(rows, bytes), track| {
            (rows + track.flights.rows(), bytes + track.flights.bytes())
        });
        rows < settings.in_flight && bytes < settings.in_flight_bytes
    }

    pub(super) fn changed(&self) -> bool {
        self.branches.iter().any(|track| track.changed)
    }

    /// The branches whose stored form is old.
    pub(super) fn changes(&self) -> Vec<Branch> {
        let changed = self.branches.iter().filter(|track| track.changed);
        let branch = |track: &Track| {
            let held = track.fault.as_ref().map(|Fault { kind, reason, .. }| (*kind, reason.clone()));
            let position = track.fault.as_ref().map_or(&track.acked, |fault| &fault.at).clone();
            track.destination.clone().map(|destination| Branch { destination, position, held })
        };
        changed.filter_map(branch).collect()
    }

    pub(super) fn saved(&mut self) {
        self.branches.iter_mut().for_each(|track| track.changed = false);
    }

    /// A destination that this process does not name: the branch to store for it.
    pub(super) fn set_apart(&mut self, destination: Arc<str>, position: Position) -> Branch {
        self.unnamed.push((destination.clone(), position.clone()));
        self.changed_names();
        Branch { destination, position, held: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::flights::Sent;

    #[test]
    fn many_branches_that_catch_up_take_a_few_pages() {
        let here = Position { last_id: 9, ..Position::default() };
        let mut tracks = Tracks::new(here, None, None);
        for n in 0..10 {
            tracks.begin(n.to_string().into(), Position::default());
        }
        let row = || Sent { id: 1, topic: "t".into(), key: None, bytes: 0 };
        let mut reading = 0;
        while let Some(at) = (1..tracks.len())
            .find(|at| tracks.may_read(*at) && tracks.branches[*at - 1].unsent.rows.is_empty())
        {
            tracks.branches[at - 1].unsent.rows.push_back(row());
            reading += 1;
        }
        assert_eq!(reading, MOST_PAGES);
        assert!(tracks.may_read(0), "the others go on");
        tracks.branches[0].unsent.rows.clear();
        assert!((1..tracks.len()).any(|at| tracks.may_read(at)), "it was handed over");
    }
}
