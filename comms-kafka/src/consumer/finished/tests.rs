use super::*;
use proptest::{collection::vec, prelude::*};

fn finished(ranges: &[(i64, i64)]) -> Finished {
    let ranges = ranges.iter().map(|(start, end)| *start..*end);
    Finished { ranges: ranges.collect(), committed: 0 }
}

#[test]
fn ranges_go_on_over_offsets_without_a_record() {
    let records = [(5, false), (6, true), (7, true), (10, true), (11, false), (12, true)];
    assert_eq!(Finished::collect(records.into_iter()), finished(&[(6, 11), (12, 13)]));
    let created_again = [(100, false), (101, true), (0, true), (1, true)];
    assert_eq!(Finished::collect(created_again.into_iter()), finished(&[(101, 102)]));
}

#[test]
fn finished_records_are_found_in_the_order_of_their_offsets() {
    let mut list = Finished::of_text(&finished(&[(6, 11), (12, 13), (20, 22)]).to_text(), 8);
    assert_eq!(list.count(), 3 + 1 + 2);
    let found: Vec<_> = (8..25).filter(|offset| list.take(*offset)).collect();
    assert_eq!(found, [8, 9, 10, 12, 20, 21]);
    assert!(list.is_empty());
}

#[test]
fn a_log_that_was_truncated_has_no_finished_records() {
    let mut list = Finished::of_text(&finished(&[(6, 11)]).to_text(), 5);
    assert!((4..11).all(|offset| !list.take(offset)));
}

#[test]
fn a_text_of_another_program_is_an_empty_list() {
    for text in ["", "r", "b", "x", "committed by hand", "rAAAA!", "é", "r_____________w", "bgICAgICAgICAgAE"]
    {
        assert!(Finished::of_text(text, 0).is_empty(), "{text}");
    }
}

#[test]
fn a_list_without_room_loses_its_end() {
    let alternating = finished(&(0..50_000).map(|n| (2 * n, 2 * n + 1)).collect::<Vec<_>>());
    let text = alternating.to_text();
    assert!(text.len() <= MAX_TEXT && text.starts_with('b'), "{}", text.len());
    let read = Finished::of_text(&text, 0);
    assert_eq!(read.count(), 8_984);
    assert!(read.ranges.iter().eq(alternating.ranges.iter().take(8_984)));
    let long = finished(&(0..5_000).map(|n| (1_000 * n, 1_000 * n + 900)).collect::<Vec<_>>());
    let text = long.to_text();
    assert!(text.len() <= MAX_TEXT && text.starts_with('r'), "{}", text.len());
    assert!(Finished::of_text(&text, 0).count() > 500_000);
}

proptest! {
    #[test]
    fn a_text_is_read_back_as_it_was_written(first in 0..i64::MAX / 2, records in vec((1..40_i64, any::<bool>()), 0..300)) {
        let records = records.into_iter().scan(first, |offset, (step, is_finished)| {
            *offset += step;
            Some((*offset, is_finished))
        });
        let list = Finished::collect(records);
        prop_assert_eq!(Finished::of_text(&list.to_text(), 0), list);
    }

    #[test]
    fn any_text_is_read_without_a_panic(text in "[rb][A-Za-z0-9_-]{0,60}") {
        let mut list = Finished::of_text(&text, 0);
        list.take(7);
    }
}
