//! Bounds: failures without progress, the deadline, memory, and cancellation.

use std::{
    sync::atomic::Ordering::SeqCst,
    time::{Duration, Instant},
};

use comms_core::{
    ErrorKind,
    clock::Clock,
    context::{Context, Deadline},
};
use comms_grpc::{Resume, ResumeConfig, tonic::Status};
use futures::StreamExt;

use crate::support::{Line, Log, channel, open, open_path, quick, read, resume, start};

#[tokio::test]
async fn failures_without_progress_have_a_bound_and_progress_starts_the_count_anew() {
    let failed = || Line::Refuse(Status::unavailable("down"));
    let broken = Line::Break(1, Status::unavailable("down"));
    let script = [failed(), failed(), broken, failed(), failed(), failed(), failed()];
    let server = start(Log::new(9, script)).await;
    let (items, error) = read(open(resume(quick().max_failures(4)), server.channel())).await;
    // The break after item 1 is the first failure since the progress, and the third refusal the fourth one.
    assert_eq!((items, server.log.calls()), (vec![1], vec![0, 0, 0, 1, 1, 1]));
    let error = error.unwrap();
    assert_eq!(error.kind, ErrorKind::Indeterminate);
    assert!(error.to_string().contains("4 failures in a row without progress"), "{error}");
}

#[tokio::test]
async fn items_that_are_sent_again_are_no_progress() {
    let script = (0..20).flat_map(|_| [Line::Break(3, Status::unavailable("down"))]);
    let server = start(Log::new(3, script)).await;
    let stream = open_path(
        resume(quick().max_failures(3)).after(3).drop_duplicates(),
        server.channel(),
        "/test.Log/List",
    );
    let (items, error) = read(stream).await;
    assert_eq!((items.len(), server.log.calls().len()), (0, 3));
    assert!(error.is_some());
}

#[tokio::test]
async fn an_item_that_is_repeated_for_ever_is_no_progress() {
    let script = (0..20).map(|_| Line::Repeat(1, Status::unavailable("down")));
    let server = start(Log::new(9, script)).await;
    let (items, error) = read(open(resume(quick().max_failures(3)), server.channel())).await;
    // The first call is progress, so its break is the first failure of the row.
    assert_eq!((items, server.log.calls()), (vec![1, 1, 1], vec![0, 1, 1]));
    assert!(error.unwrap().to_string().contains("3 failures in a row"));
}

/// Each call is opened, and brings no item.
#[tokio::test]
async fn a_quiet_stream_never_ends_by_itself() {
    let script = (0..12).map(|_| Line::Silent(0));
    let server = start(Log::new(2, script)).await;
    let config = quick().max_failures(3).silence(Duration::from_millis(50));
    assert_eq!(read(open(resume(config), server.channel())).await.0, [1, 2]);
    assert_eq!(server.log.calls().len(), 13);
}

/// The server accepts the connection and sends no response headers.
#[tokio::test]
async fn a_call_that_is_not_opened_in_time_is_a_failure() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let config = quick().max_failures(3).silence(Duration::from_millis(50));
    let channel = channel(silent.local_addr().unwrap(), Duration::from_secs(60));
    let (items, error) = read(open(resume(config), channel)).await;
    assert!(items.is_empty(), "{items:?}");
    assert!(error.unwrap().to_string().contains("3 failures in a row"));
}

/// The channel ends each call at its limit, as a server ends calls when it restarts. With days between, these are no
/// failures in a row.
#[tokio::test]
async fn a_call_that_was_open_for_long_starts_the_row_of_failures_anew() {
    let script = (0..6).map(|_| Line::Silent(0));
    let server = start(Log::new(2, script)).await;
    let clock = Clock::manual(Duration::from_secs(1));
    let resume = Resume::new("log", quick().max_failures(3).silence(None), clock.clone()).unwrap();
    let channel = channel(server.address, Duration::from_millis(300));
    let reading = tokio::spawn(read(open(resume, channel)));
    while !reading.is_finished() {
        tokio::time::sleep(Duration::from_millis(20)).await;
        clock.advance(Duration::from_secs(31));
    }
    assert_eq!((reading.await.unwrap().0, server.log.calls().len()), (vec![1, 2], 7));
}

#[tokio::test]
async fn an_item_that_cannot_be_read_ends_the_stream_after_max_failures() {
    let server = start(Log::new(9, [])).await;
    let stream = open_path(resume(quick().max_failures(3)).after(6), server.channel(), "/test.Log/Poison");
    let (items, error) = read(stream).await;
    assert_eq!((items.len(), server.log.calls()), (0, vec![6, 6, 6]));
    assert_eq!(error.unwrap().kind, ErrorKind::Indeterminate);
}

#[tokio::test]
async fn the_limit_of_the_channel_is_a_break() {
    let server = start(Log::new(4, [Line::Silent(2)])).await;
    let (items, error) =
        read(open(resume(quick()), channel(server.address, Duration::from_millis(200)))).await;
    assert_eq!((items, error.is_none(), server.log.calls()), (vec![1, 2, 3, 4], true, vec![0, 2]));
}

#[tokio::test]
async fn the_deadline_of_the_context_ends_the_stream() {
    let server = start(Log::new(4, [Line::Silent(2)])).await;
    let began = Instant::now();
    let deadline = Deadline::after(Duration::from_millis(300), &Clock::system());
    let stream = Context::default()
        .with_deadline(deadline)
        .scope(async { open(resume(quick()), server.channel()) })
        .await;
    // Read outside of the scope: the context of the creation counts.
    let (items, error) = read(stream).await;
    assert_eq!((items, server.log.calls()), (vec![1, 2], vec![0]));
    assert_eq!(error.unwrap().kind, ErrorKind::Indeterminate);
    assert!(began.elapsed() >= Duration::from_millis(300));

    // A backoff that would reach the deadline does not begin.
    let server = start(Log::new(4, [Line::Break(1, Status::unavailable("down"))])).await;
    let deadline = Deadline::after(Duration::from_millis(500), &Clock::system());
    let context = Context::default().with_deadline(deadline);
    let stream = context.scope(async { open(resume(ResumeConfig::default()), server.channel()) }).await;
    let (items, error) = read(stream).await;
    assert_eq!((items, error.unwrap().kind), (vec![1], ErrorKind::Indeterminate));
    assert!(!deadline.has_passed(&Clock::system()), "the stream ended before its deadline");
}

#[tokio::test]
async fn a_consumer_that_stops_reading_stops_the_server() {
    let log = Log { payload: 16 << 10, ..Log::new(1_000_000, []) };
    let server = start(log).await;
    let mut stream = open(resume(quick()), server.channel());
    stream.next().await.unwrap().unwrap();
    // Wait until the windows are full.
    let mut produced = 0;
    for _ in 0..50 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = server.log.produced.load(SeqCst);
        if now == produced {
            break;
        }
        produced = now;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(server.log.produced.load(SeqCst), produced, "nothing is produced while nothing is read");
    assert!(produced < 2_000, "{produced} items of 16 KiB are in flight");
    for _ in 0..produced + 10 {
        stream.next().await.unwrap().unwrap();
    }
    assert!(server.log.produced.load(SeqCst) > produced, "reading goes on");
}

#[tokio::test]
async fn a_dropped_stream_cancels_the_call() {
    let server = start(Log::new(4, [Line::Silent(1)])).await;
    let mut stream = open(resume(quick()), server.channel());
    stream.next().await.unwrap().unwrap();
    assert_eq!(server.log.dropped.load(SeqCst), 0);
    drop(stream);
    for _ in 0..500 {
        if server.log.dropped.load(SeqCst) == 1 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the server streams on");
}

#[tokio::test]
async fn nothing_is_opened_before_the_stream_is_read() {
    let server = start(Log::new(4, [])).await;
    let stream = open(resume(quick()), server.channel());
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(server.log.calls().is_empty());
    assert_eq!(read(stream).await.0.len(), 4);
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let refused = [
        quick().max_failures(0),
        quick().silence(Duration::ZERO),
        quick().silence(Duration::from_secs(100_000_000)),
    ];
    for config in refused {
        let error = Resume::<u64>::new("log", config.clone(), Clock::system()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid, "{config:?}");
    }
    quick().silence(None).validate().unwrap();
}
