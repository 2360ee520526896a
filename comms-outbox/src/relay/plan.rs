//! Where a session begins to read each topic.
//!
//! A position covers only the topics that were read under it. So the stored cursor names the topics that it covers, and
//! a topic that is not at the main position has a *branch*, a separate position: the topic was added, its messages
//! are refused, or the process with the lease does not name it. A branch catches up and then joins the main position
//! again. So no message is delivered twice because of a branch, and no reconfiguration skips rows.

use std::sync::Arc;

use super::{
    start::Start,
    store::{Lease, Position, StoredBranch},
};

/// The positions at which a session begins.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) main: Position,
    /// The topics that the main position covers; `None`: all.
    pub(super) covers: Option<Vec<String>>,
    /// New branches: topic and position.
    pub(super) begin: Vec<(Arc<str>, Position)>,
}

/// Compares the topics that the cursor covers with those that this process names (`None`: all), and returns where to
/// begin. `oldest` is the position before the oldest row.
pub(super) fn plan(lease: &Lease, named: Option<&[String]>, oldest: &Position, start: Start) -> Plan {
    let Lease { position, covers, branches, .. } = lease;
    let has_branch = |topic: &str| branches.iter().any(|branch: &StoredBranch| &*branch.topic == topic);
    let at = |topic: &String, position: &Position| (Arc::from(&**topic), position.clone());
    let main = position.clone();
    match (named, covers) {
        (None, None) => Plan { main, covers: None, begin: Vec::new() },
        // From some topics to all: the others were never read, so the main position begins at the oldest row for them,
        // and the covered topics get branches at the stored position.
        (None, Some(covered)) if start == Start::Oldest => Plan {
            main: oldest.clone(),
            covers: None,
            begin: covered.iter().filter(|t| !has_branch(t)).map(|t| at(t, position)).collect(),
        },
        (None, Some(_)) => Plan { main, covers: None, begin: Vec::new() },
        // The cursor covers more topics than this process names. A branch is made when the first row of another topic
        // is read.
        (Some(_), None) => Plan { main, covers: None, begin: Vec::new() },
        (Some(named), Some(covered)) => {
            let removed = covered.iter().filter(|t| !named.contains(t) && !has_branch(t));
            let removed = removed.map(|t| at(t, position));
            let added = named.iter().filter(|t| !covered.contains(t) && !has_branch(t));
            let added = added.filter(|_| start == Start::Oldest).map(|t| at(t, oldest));
            let begin = removed.chain(added).collect();
            let all: Vec<_> = covered.iter().chain(named).cloned().collect();
            Plan { main, covers: Some(sorted(all)), begin }
        }
    }
}

fn sorted(mut topics: Vec<String>) -> Vec<String> {
    topics.sort();
    topics.dedup();
    topics
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(covers: Option<&[&str]>, branches: &[&str]) -> Lease {
        let position = Position { last_id: 50, ..Position::default() };
        let branch = |t: &&str| StoredBranch { topic: (*t).into(), position: position.clone(), held: None };
        Lease {
            token: String::new(),
            position: position.clone(),
            covers: covers.map(names),
            branches: branches.iter().map(branch).collect(),
        }
    }

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|t| (*t).to_owned()).collect()
    }

    /// Returns the main position, the covered topics, and the new branches.
    fn planned(
        lease: &Lease,
        named: Option<&[&str]>,
        start: Start,
    ) -> (i64, Option<Vec<String>>, Vec<(String, i64)>) {
        let named = named.map(names);
        let plan = plan(lease, named.as_deref(), &Position::default(), start);
        let begin = plan.begin.iter().map(|(t, at)| (t.to_string(), at.last_id)).collect();
        (plan.main.last_id, plan.covers, begin)
    }

    #[test]
    fn an_added_topic_begins_at_the_oldest_row() {
        let lease = lease(Some(&["a"]), &[]);
        let all = Some(names(&["a", "b"]));
        let expected = (50, all.clone(), vec![("b".to_owned(), 0)]);
        assert_eq!(planned(&lease, Some(&["a", "b"]), Start::Oldest), expected);
        assert_eq!(planned(&lease, Some(&["b", "a"]), Start::Now), (50, all, vec![]));
    }

    #[test]
    fn a_topic_that_is_not_named_keeps_its_position_in_a_branch() {
        let covered = Some(names(&["a", "b"]));
        let expected = (50, covered.clone(), vec![("b".to_owned(), 50)]);
        assert_eq!(planned(&lease(Some(&["a", "b"]), &[]), Some(&["a"]), Start::Oldest), expected);
        let apart = lease(Some(&["a", "b"]), &["b"]);
        assert_eq!(planned(&apart, Some(&["a"]), Start::Oldest), (50, covered, vec![]));
    }

    #[test]
    fn a_relay_that_widens_to_all_topics_begins_at_the_oldest_row() {
        let lease = lease(Some(&["a", "b"]), &["b"]);
        let expected = (0, None, vec![("a".to_owned(), 50)]);
        assert_eq!(planned(&lease, None, Start::Oldest), expected);
    }

    #[test]
    fn a_cursor_that_covers_all_topics_keeps_doing_so() {
        assert_eq!(planned(&lease(None, &[]), None, Start::Oldest), (50, None, vec![]));
        assert_eq!(planned(&lease(None, &[]), Some(&["a"]), Start::Oldest), (50, None, vec![]));
    }
}
