//! The oracle finds each violation in a ledger that was made up.

use crate::{
    ledger::{Event, Kind},
    load::{Ack, Acks, Flow},
    oracle,
    report::Report,
};

const FLOW: Flow = Flow { rate: 1, hot: false, count: None };

/// Returns 3,000 records in one partition, acknowledged at the time 0.
fn acks() -> Acks {
    (0..3_000).map(|offset| Some(Ack { partition: 0, offset, time: 0 })).collect()
}

/// Returns the index of the second record of the key of record 0.
fn successor() -> u32 {
    (1..).find(|index| FLOW.key(*index) == FLOW.key(0)).unwrap()
}

/// Appends that `member` handles `records` one after the other.
fn handle(events: &mut Vec<(Kind, u16, u32)>, member: u16, records: impl IntoIterator<Item = u32>) {
    for index in records {
        events.extend([(Kind::Begin, member, index), (Kind::End, member, index)]);
    }
}

fn check(events: &[(Kind, u16, u32)]) -> Report {
    let event = |(time, (kind, process, number)): (u64, &(Kind, u16, u32))| Event {
        kind: *kind,
        process: *process,
        number: *number,
        time,
    };
    let events: Vec<_> = (0..).zip(events).map(event).collect();
    oracle::check(&events, &acks(), FLOW, &[9], |_| true)
}

/// Returns the events of a member that handles every record, and a last commit.
fn everything() -> Vec<(Kind, u16, u32)> {
    let mut events = Vec::new();
    handle(&mut events, 1, 0..3_000);
    events.push((Kind::Committed, 0, 3_000));
    events
}

#[test]
fn chaos_oracle_accepts_a_correct_ledger() {
    let report = check(&everything());
    report.judge("correct", std::time::Duration::from_secs(20));
    assert_eq!((report.handled, report.again, report.assignments), (3_000, 0, 1));
}

#[test]
fn chaos_oracle_finds_lost_records() {
    let mut events = Vec::new();
    handle(&mut events, 1, (0..3_000).filter(|index| *index != 2_999));
    // An attempt that failed or was dropped has not handled its record.
    events.extend([(Kind::Begin, 1, 2_999), (Kind::Drop, 1, 2_999)]);
    assert_eq!(check(&events).lost, [2_999]);
}

#[test]
fn chaos_oracle_finds_records_out_of_order() {
    let next = successor();
    let mut events = vec![(Kind::Begin, 1, next), (Kind::End, 1, next)];
    events.extend(everything());
    assert_eq!(check(&events).out_of_order, 1);
    // A failed predecessor is not handled.
    let events = [(Kind::Begin, 1, 0), (Kind::Fail, 1, 0), (Kind::Begin, 1, next)];
    assert_eq!(check(&events).out_of_order, 1);
}

#[test]
fn chaos_oracle_finds_two_handlers_of_a_key() {
    let next = successor();
    for (member, in_one, in_two, with_stopped) in [(1, 1, 0, 0), (2, 0, 1, 0), (9, 0, 0, 1)] {
        let report = check(&[(Kind::Begin, 1, 0), (Kind::Begin, member, next)]);
        let found = (report.overlaps, report.overlaps_across, report.overlaps_with_stopped);
        assert_eq!(found, (in_one, in_two, with_stopped));
    }
    let killed = [(Kind::Begin, 1, 0), (Kind::Killed, 1, 0), (Kind::Begin, 2, 0)];
    assert_eq!(check(&killed).overlaps_across, 0, "a killed member has no handlers");
}

#[test]
fn chaos_oracle_finds_commits_of_unfinished_records() {
    let mut events = vec![(Kind::Begin, 1, 0)];
    handle(&mut events, 1, [1, 2]);
    events.extend([(Kind::Committed, 0, 0), (Kind::Committed, 0, 3)]);
    assert_eq!(check(&events).past_unfinished, 1);
    events.extend([(Kind::End, 1, 0), (Kind::Committed, 0, 3), (Kind::Committed, 0, 2)]);
    let report = check(&events);
    assert_eq!((report.past_unfinished, report.commits_back), (1, 1));
}

#[test]
fn chaos_oracle_counts_what_is_handled_again_and_its_bound() {
    let mut events = Vec::new();
    handle(&mut events, 1, 0..100);
    events.extend([(Kind::Committed, 0, 60), (Kind::Killed, 1, 0)]);
    handle(&mut events, 2, 60..3_000);
    let report = check(&events);
    assert_eq!((report.again, report.bound, report.assignments), (40, 40, 2));
    assert_eq!((report.uncommitted_at_kill, report.below_commit), (vec![40], 0));
    // Without a new assignment the same record comes twice, which counts as an assignment of its own.
    handle(&mut events, 2, [59]);
    let report = check(&events);
    assert_eq!((report.again, report.below_commit), (41, 1));
    handle(&mut events, 9, [59]);
    assert_eq!(check(&events).below_commit_by_stopped, 1);
}

#[test]
fn chaos_oracle_finds_a_pause() {
    let mut events = vec![(Kind::Committed, 0, 0); 500];
    events.extend(everything());
    let pause = check(&events).longest_pause[&0];
    assert!((500..510).contains(&pause), "{pause}");
    events[100] = (Kind::BrokerDown, 0, 0);
    events[490] = (Kind::BrokerUp, 0, 0);
    let pause = check(&events).longest_pause[&0];
    assert!((100..110).contains(&pause), "{pause}");
}
