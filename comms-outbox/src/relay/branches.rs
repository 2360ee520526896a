//! Destinations apart from the main position.
//!
//! A position says nothing of a destination that was not read under it. So the stored cursor names the destinations
//! that it stands for, and a destination that is not at the main position has a *branch* of its own: it was added,
//! its messages are refused as a whole, or the process with the lease does not name it. A branch catches up and
//! then joins the main position again; nothing is delivered twice for it, and no reconfiguration passes rows over.

use std::sync::Arc;

use super::store::{Branch, Lease, Position};

/// Where a destination begins that a relay did not stand for before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Start {
    /// With the oldest row that the outbox still has. Nothing is lost; rows that another relay delivered come again.
    #[default]
    Oldest,
    /// A new relay begins with the rows that are committed from now on, a destination that is added to a relay with the
    /// rows behind the relay's position. For what another relay has delivered up to here.
    Now,
}

/// How a session begins.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) main: Position,
    /// The destinations that the main position stands for; `None`: all.
    pub(super) covers: Option<Vec<String>>,
    /// Branches to begin: destination and position.
    pub(super) begin: Vec<(Arc<str>, Position)>,
}

/// Brings together what the cursor stands for and what this process names (`None`: everything).
pub(super) fn plan(lease: &Lease, named: Option<&[String]>, oldest: &Position, start: Start) -> Plan {
    let Lease { position, covers, branches, .. } = lease;
    let apart = |d: &str| branches.iter().any(|branch: &Branch| &*branch.destination == d);
    let at = |d: &String, position: &Position| (Arc::from(&**d), position.clone());
    let main = position.clone();
    match (named, covers) {
        (None, None) => Plan { main, covers: None, begin: Vec::new() },
        // From some to all: the others were never read, so that the main position begins anew for them.
        (None, Some(covered)) if start == Start::Oldest => Plan {
            main: oldest.clone(),
            covers: None,
            begin: covered.iter().filter(|d| !apart(d)).map(|d| at(d, position)).collect(),
        },
        (None, Some(_)) => Plan { main, covers: None, begin: Vec::new() },
        // It stands for more than this process names: what it meets of others is set apart then.
        (Some(_), None) => Plan { main, covers: None, begin: Vec::new() },
        (Some(named), Some(covered)) => {
            let gone = covered.iter().filter(|d| !named.contains(d) && !apart(d)).map(|d| at(d, position));
            let added = named.iter().filter(|d| !covered.contains(d) && !apart(d));
            let added = added.filter(|_| start == Start::Oldest).map(|d| at(d, oldest));
            let begin = gone.chain(added).collect();
            let all: Vec<_> = covered.iter().chain(named).cloned().collect();
            Plan { main, covers: Some(sorted(all)), begin }
        }
    }
}

fn sorted(mut destinations: Vec<String>) -> Vec<String> {
    destinations.sort();
    destinations.dedup();
    destinations
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(covers: Option<&[&str]>, branches: &[&str]) -> Lease {
        let position = Position { last_id: 50, ..Position::default() };
        let branch = |d: &&str| Branch { destination: (*d).into(), position: position.clone(), held: None };
        Lease {
            token: String::new(),
            position: position.clone(),
            covers: covers.map(names),
            branches: branches.iter().map(branch).collect(),
        }
    }

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|d| (*d).to_owned()).collect()
    }

    /// Main position, covered destinations, and the branches that begin.
    fn planned(
        lease: &Lease,
        named: Option<&[&str]>,
        start: Start,
    ) -> (i64, Option<Vec<String>>, Vec<(String, i64)>) {
        let named = named.map(names);
        let plan = plan(lease, named.as_deref(), &Position::default(), start);
        let begin = plan.begin.iter().map(|(d, at)| (d.to_string(), at.last_id)).collect();
        (plan.main.last_id, plan.covers, begin)
    }

    #[test]
    fn a_destination_that_was_added_begins_with_its_oldest_row() {
        let lease = lease(Some(&["a"]), &[]);
        let all = Some(names(&["a", "b"]));
        let wanted = (50, all.clone(), vec![("b".to_owned(), 0)]);
        assert_eq!(planned(&lease, Some(&["a", "b"]), Start::Oldest), wanted);
        assert_eq!(planned(&lease, Some(&["b", "a"]), Start::Now), (50, all, vec![]));
    }

    #[test]
    fn a_destination_that_is_not_named_stays_where_it_is() {
        let covered = Some(names(&["a", "b"]));
        let wanted = (50, covered.clone(), vec![("b".to_owned(), 50)]);
        assert_eq!(planned(&lease(Some(&["a", "b"]), &[]), Some(&["a"]), Start::Oldest), wanted);
        let apart = lease(Some(&["a", "b"]), &["b"]);
        assert_eq!(planned(&apart, Some(&["a"]), Start::Oldest), (50, covered, vec![]));
    }

    #[test]
    fn from_some_to_all_the_others_begin_with_their_oldest_row() {
        let lease = lease(Some(&["a", "b"]), &["b"]);
        let wanted = (0, None, vec![("a".to_owned(), 50)]);
        assert_eq!(planned(&lease, None, Start::Oldest), wanted);
    }

    #[test]
    fn a_relay_that_stands_for_all_goes_on_to_do_so() {
        assert_eq!(planned(&lease(None, &[]), None, Start::Oldest), (50, None, vec![]));
        assert_eq!(planned(&lease(None, &[]), Some(&["a"]), Start::Oldest), (50, None, vec![]));
    }
}
