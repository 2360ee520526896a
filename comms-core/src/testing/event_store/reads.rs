//! The checks of reads and snapshots.

use std::time::Duration;

use bytes::Bytes;

use super::{append, event, new_stream, read, versions};
use crate::{
    Message, UnitOfWork,
    clock::Clock,
    event_sourcing::{Direction, EventStore, Expected, Read, Recorded, Snapshot, Stream},
    testing::{
        Broken, UnitFixture,
        check::{ensure, ensure_eq},
    },
};

/// Checks ranges of versions, forwards and backwards.
///
/// # Errors
/// Returns [`Broken`] if a read returns other events or another order.
pub async fn ranges_and_directions<F: UnitFixture<Unit: EventStore>>(fixture: &F) -> Result<(), Broken> {
    let (unit, stream) = (fixture.unit(), filled_stream(fixture, 5).await?);
    let all = Read::default();
    let backwards = Read { direction: Direction::Backwards, ..all };
    let reads = [
        (Read { from: 2, up_to: 4, ..all }, vec![2, 3, 4]),
        (Read { from: 4, ..all }, vec![4, 5]),
        (Read { from: 6, ..all }, vec![]),
        (Read { from: 0, up_to: 0, ..all }, vec![]),
        (Read { from: 4, up_to: 2, ..all }, vec![]),
        (backwards, vec![5, 4, 3, 2, 1]),
        (Read { from: 2, up_to: 4, ..backwards }, vec![4, 3, 2]),
        (Read { max_events: 1, ..backwards }, vec![5]),
    ];
    for (selection, expected) in reads {
        let guarantee = format!("the versions of {selection:?}");
        ensure_eq(versions(&read(&unit, &stream, selection).await?), expected, &guarantee)?;
    }
    Ok(())
}

/// Checks that the pages of a read, one after the other, have every event once and keep their bounds.
///
/// # Errors
/// Returns [`Broken`] if a page is larger than its bounds, or an event is missing or repeated.
pub async fn pages_are_bounded<F: UnitFixture<Unit: EventStore>>(fixture: &F) -> Result<(), Broken> {
    let (unit, stream) = (fixture.unit(), filled_stream(fixture, 5).await?);
    let size = read(&unit, &stream, Read::default()).await?.iter().map(memory).max().unwrap_or(0);
    let reads = [
        (Read { max_events: 2, ..Read::default() }, vec![2, 2, 1]),
        (Read { max_events: 0, ..Read::default() }, vec![1; 5]),
        (Read { max_bytes: 0, ..Read::default() }, vec![1; 5]),
        (Read { max_bytes: size * 2 - 1, ..Read::default() }, vec![2, 2, 1]),
        (Read { max_bytes: size + 1, max_events: 1, ..Read::default() }, vec![1; 5]),
    ];
    for (start, expected) in reads {
        for direction in [Direction::Forwards, Direction::Backwards] {
            let (mut pages, mut found) = (Vec::new(), Vec::new());
            let mut next = Some(Read { direction, ..start });
            while let Some(selection) = next {
                let page = read(&unit, &stream, selection).await?;
                next = selection.next(&page);
                pages.extend((!page.is_empty()).then_some(page.len()));
                found.extend(versions(&page));
            }
            ensure_eq(pages, expected.clone(), &format!("the sizes of the pages of {start:?}"))?;
            if direction == Direction::Backwards {
                found.reverse();
            }
            ensure_eq(found, (1..=5).collect(), "the pages have each event once")?;
        }
    }
    Ok(())
}

/// Checks that the recorded times of a stream do not decrease, also if a transaction that began earlier appends later,
/// and that a read at a time returns the events that were recorded by then.
///
/// # Errors
/// Returns [`Broken`] if a time decreases, or a read at a time returns other events.
pub async fn reads_at_a_time<F: UnitFixture<Unit: EventStore>>(fixture: &F) -> Result<(), Broken> {
    let stream = filled_stream(fixture, 1).await?;
    let unit = fixture.unit();
    for version in 1..4 {
        // Longer than the resolution of any clock of a database.
        Clock::system().sleep(Duration::from_millis(5)).await;
        append(&unit, &stream, Expected::Version(version), &[event(&stream, "x")]).await?;
    }
    let stored = read(&unit, &stream, Read::default()).await?;
    let times: Vec<_> = stored.iter().map(|recorded| recorded.recorded_at).collect();
    ensure(times.is_sorted(), "the recorded times of a stream do not decrease", format!("{times:?}"))?;
    for (n, at) in times.iter().enumerate() {
        let expected: Vec<_> = stored.iter().filter(|recorded| recorded.recorded_at <= *at).collect();
        let observed = read(&unit, &stream, Read { at: Some(*at), ..Read::default() }).await?;
        let guarantee = "a read at the time of an event returns this event and the earlier ones";
        ensure_eq(observed.iter().collect::<Vec<_>>(), expected, guarantee)?;
        ensure(observed.len() > n, guarantee, format!("version {} is missing", n + 1))?;
    }
    let before = Some(times[0].saturating_sub(Duration::from_millis(1)));
    let observed = read(&unit, &stream, Read { at: before, ..Read::default() }).await?;
    ensure_eq(versions(&observed), vec![], "a read at a time before the first event is empty")
}

/// Checks that a snapshot commits with its transaction, that a newer one of its schema stays, and that another schema
/// replaces it.
///
/// # Errors
/// Returns [`Broken`] if another snapshot is returned.
pub async fn latest_snapshot_is_kept<F: UnitFixture<Unit: EventStore>>(fixture: &F) -> Result<(), Broken> {
    let (unit, stream) = (fixture.unit(), filled_stream(fixture, 1).await?);
    let snapshot = |schema, version, state: &'static [u8]| Snapshot {
        schema,
        version,
        state: Bytes::from_static(state),
    };
    let save = async |snapshot: &Snapshot, commits: bool| {
        let mut tx = unit.begin().await?;
        unit.save_snapshot(&mut tx, &stream, snapshot).await?;
        if commits { unit.commit(tx).await } else { Ok(()) }
    };
    let load = async |stream: &Stream| {
        let mut tx = unit.begin().await?;
        unit.snapshot(&mut tx, stream).await
    };
    let first = snapshot(1, 2, b"\x00\xff");
    save(&first, false).await?;
    ensure_eq(load(&stream).await?, None, "a snapshot whose transaction was dropped is not stored")?;
    save(&first, true).await?;
    ensure_eq(load(&stream).await?, Some(first.clone()), "a snapshot is read as it was saved")?;
    ensure_eq(load(&new_stream()).await?, None, "another stream has no snapshot")?;
    save(&snapshot(1, 1, b"older"), true).await?;
    ensure_eq(load(&stream).await?, Some(first), "an older snapshot of the same schema replaces none")?;
    for later in [snapshot(1, 3, b"newer"), snapshot(2, 1, b"schema 2"), snapshot(1, 1, b"schema 1 again")] {
        save(&later, true).await?;
        ensure_eq(
            load(&stream).await?,
            Some(later),
            "a newer snapshot, or one of another schema, replaces it",
        )?;
    }
    Ok(())
}

/// Returns a stream with `count` events of equal size.
async fn filled_stream<F: UnitFixture<Unit: EventStore>>(
    fixture: &F,
    count: usize,
) -> Result<Stream, Broken> {
    let stream = new_stream();
    let events: Vec<Message> = (0..count).map(|_| event(&stream, "payload")).collect();
    append(&fixture.unit(), &stream, Expected::NoStream, &events).await?;
    Ok(stream)
}

fn memory(recorded: &Recorded) -> usize {
    recorded.message.memory()
}
