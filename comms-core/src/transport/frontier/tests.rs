//! The frontier against a reference that computes every answer from the whole list.

use super::*;
use proptest::prelude::*;

/// Every delivered record. Each answer is computed from the whole list.
#[derive(Default)]
struct Reference(Vec<(i64, bool)>);

impl Reference {
    fn offset(&self) -> Option<i64> {
        let done = self.0.iter().take_while(|(_, done)| *done);
        done.last().map(|(offset, _)| offset + 1)
    }
    fn records(&self) -> Vec<(i64, bool)> {
        self.0.iter().copied().skip_while(|(_, done)| *done).collect()
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// A record. The next offset is higher by this number.
    Deliver(i64),
    /// Any ticket so far, including tickets of complete records.
    Complete(prop::sample::Index),
    /// The partition is revoked, and assigned again at the committed offset.
    Reassign,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1i64..4).prop_map(Step::Deliver),
        5 => any::<prop::sample::Index>().prop_map(Step::Complete),
        1 => Just(Step::Reassign),
    ]
}

proptest! {
    #[test]
    fn agrees_with_the_reference_and_never_passes_an_open_record(steps in prop::collection::vec(step(), 0..300)) {
        let (mut frontier, mut reference) = (Frontier::default(), Reference::default());
        let (mut tickets, mut next, mut committed) = (Vec::new(), 0, None);
        for step in steps {
            match step {
                Step::Deliver(gap) => {
                    tickets.push(frontier.deliver(next));
                    reference.0.push((next, false));
                    next += gap;
                }
                Step::Complete(_) if tickets.is_empty() => {}
                Step::Complete(index) => {
                    let index = index.index(tickets.len());
                    frontier.complete(tickets[index]);
                    reference.0[index].1 = true;
                }
                Step::Reassign => {
                    committed = frontier.offset().or(committed);
                    next = committed.unwrap_or(0);
                    (frontier, reference) = Default::default();
                    tickets.clear();
                }
            }
            prop_assert_eq!(frontier.offset(), reference.offset());
            prop_assert_eq!(frontier.backlog(), reference.records().len());
            prop_assert_eq!(frontier.records().collect::<Vec<_>>(), reference.records());
            let open = reference.0.iter().find(|(_, done)| !done).map(|(offset, _)| *offset);
            if let (Some(frontier), Some(open)) = (frontier.offset(), open) {
                prop_assert!(frontier <= open);
            }
        }
    }
}

#[test]
fn an_unknown_ticket_changes_nothing() {
    let mut frontier = Frontier::default();
    frontier.complete(7);
    let ticket = frontier.deliver(10);
    frontier.complete(ticket + 1);
    assert_eq!((frontier.offset(), frontier.backlog()), (None, 1));
    frontier.complete(ticket);
    frontier.complete(ticket);
    assert_eq!((frontier.offset(), frontier.backlog()), (Some(11), 0));
}
