use super::*;
use proptest::{collection::vec, prelude::*};

/// Reads a list that was committed with `committed`.
fn read(list: &Finished, committed: i64) -> Finished {
    Finished::of_metadata(&metadata(committed, &list.to_text()), committed)
}

fn finished(ranges: &[(i64, i64)]) -> Finished {
    let ranges = ranges.iter().map(|(start, end)| *start..*end);
    Finished { ranges: ranges.collect(), next: 0 }
}

#[test]
fn ranges_go_on_over_offsets_without_a_record() {
    let records = [(5, false), (6, true), (7, true), (10, true), (11, false), (12, true)];
    assert_eq!(Finished::collect(records.into_iter()), finished(&[(6, 11), (12, 13)]));
    let created_again = [(100, false), (101, true), (0, true), (1, true)];
    assert!(Finished::collect(created_again.into_iter()).is_empty());
    let truncated = [(100, false), (101, true), (150, true), (160, true), (150, false), (151, true)];
    assert_eq!(Finished::collect(truncated.into_iter()), finished(&[(101, 150)]));
}

#[test]
fn finished_records_are_found_in_the_order_of_their_offsets() {
    let mut list = read(&finished(&[(6, 11), (12, 13), (20, 22)]), 8);
    assert_eq!(list.count(), 3 + 1 + 2);
    let found: Vec<_> = (8..25).filter(|offset| list.take(*offset)).collect();
    assert_eq!(found, [8, 9, 10, 12, 20, 21]);
    assert!(list.is_empty());
}

#[test]
fn a_log_that_was_truncated_has_no_finished_records() {
    let mut list = read(&finished(&[(6, 11)]), 5);
    assert!((4..11).all(|offset| !list.take(offset)));
    let mut list = read(&finished(&[(6, 20)]), 5);
    assert!([5, 6, 7].map(|offset| list.take(offset)) == [false, true, true]);
    assert!([7, 8, 9].iter().all(|offset| !list.take(*offset)), "the client was set back to 7");
}

#[test]
fn a_text_of_another_program_is_an_empty_list() {
    let lists =
        ["", "r", "b", "x", "committed by hand", "rAAAA!", "é", "r_____________w", "bgICAgICAgICAgAE"];
    for text in lists {
        assert!(Finished::of_metadata(&format!("comms1:0:{text}"), 0).is_empty(), "{text}");
    }
    // Without the head they would be lists: the first one of 121 to 1,741,614, for example.
    for text in ["rebalance", "reprocess", "batch", "comms1:rATE", "comms1::rATE", "comms2:0:rATE"] {
        assert!(Finished::of_metadata(text, 0).is_empty(), "{text}");
    }
    let copied = metadata(100, &finished(&[(101, 201)]).to_text());
    assert!(
        Finished::of_metadata(&copied, 40).is_empty(),
        "metadata that a tool has copied to another offset"
    );
}

#[test]
fn a_list_without_room_loses_its_end() {
    let alternating = finished(&(0..50_000).map(|n| (2 * n, 2 * n + 1)).collect::<Vec<_>>());
    let text = alternating.to_text();
    assert!(text.len() <= MAX_TEXT && text.starts_with('b'), "{}", text.len());
    let list = read(&alternating, 0);
    assert_eq!(list.count(), 8_984);
    assert!(list.ranges.iter().eq(alternating.ranges.iter().take(8_984)));
    let long = finished(&(0..5_000).map(|n| (1_000 * n, 1_000 * n + 900)).collect::<Vec<_>>());
    let text = long.to_text();
    assert!(text.len() <= MAX_TEXT && text.starts_with('r'), "{}", text.len());
    assert!(read(&long, 0).count() > 500_000);
}

#[test]
fn what_is_left_of_a_list_is_kept() {
    let mut restored = read(&finished(&[(101, 105), (110, 120)]), 100);
    let taken: Vec<_> = (100..104).filter(|offset| restored.take(*offset)).collect();
    assert_eq!(taken, [101, 102, 103]);
    let mut list = Finished::collect([(100, false), (101, true), (102, true), (103, true)].into_iter());
    list.append(&restored);
    assert_eq!(list.count(), 3 + 1 + 10);
    assert_eq!(read(&list, 100).count(), list.count());
}

proptest! {
    #[test]
    fn a_text_is_read_back_as_it_was_written(first in 0..i64::MAX / 2, records in vec((1..40_i64, any::<bool>()), 0..300)) {
        let records = records.into_iter().scan(first, |offset, (step, is_finished)| {
            *offset += step;
            Some((*offset, is_finished))
        });
        let list = Finished::collect(records);
        prop_assert_eq!(read(&list, 0), list);
    }

    #[test]
    fn any_text_is_read_without_a_panic(text in "[rb][A-Za-z0-9_-]{0,60}") {
        let mut list = Finished::of_metadata(&format!("comms1:0:{text}"), 0);
        list.take(7);
    }
}
