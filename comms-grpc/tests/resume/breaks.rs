//! Breaks after which the stream goes on, and ends after which it does not.

use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use comms_core::{Error, ErrorKind};
use comms_grpc::{refused, tonic::Status};
use tokio::{
    io,
    net::{TcpListener, TcpStream},
};

use crate::support::{Line, Log, channel, open, quick, read, resume, start};

const LENGTH: u64 = 6;

fn all() -> Vec<u64> {
    (1..=LENGTH).collect()
}

#[tokio::test]
async fn a_break_at_any_position_loses_and_repeats_nothing() {
    for at in 0..=LENGTH {
        let server = start(Log::new(LENGTH, [Line::Break(at, Status::unavailable("restart"))])).await;
        assert_eq!(read(open(resume(quick()), server.channel())).await.0, all(), "a break after {at} items");
        assert_eq!(server.log.calls(), [0, at]);
    }
}

#[tokio::test]
async fn breaks_after_every_item_are_resumed_without_an_end() {
    // More breaks than `max_failures`: each item is progress.
    let breaks = (0..LENGTH).map(|_| Line::Break(1, Status::internal("again")));
    let server = start(Log::new(LENGTH, breaks)).await;
    let (items, error) = read(open(resume(quick().max_failures(2)), server.channel())).await;
    assert_eq!((items, error.map(|error| error.kind)), (all(), None));
    assert_eq!(server.log.calls(), (0..=LENGTH).collect::<Vec<_>>());
}

/// A proxy that cuts the first connection after some bytes, in the middle of frames.
#[tokio::test]
async fn a_connection_that_is_cut_at_any_byte_loses_and_repeats_nothing() {
    let log = Log { payload: 10, pace: Duration::from_millis(2), ..Log::new(LENGTH, []) };
    let server = start(log).await;
    for bytes in (0..400).step_by(13) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (proxy, upstream) = (listener.local_addr().unwrap(), server.address);
        let proxying = tokio::spawn(async move {
            for cut_after in [bytes, u64::MAX] {
                let (client, _) = listener.accept().await.unwrap();
                let (mut from_client, mut to_client) = client.into_split();
                let (from_server, mut to_server) = TcpStream::connect(upstream).await.unwrap().into_split();
                let forward = tokio::spawn(async move { io::copy(&mut from_client, &mut to_server).await });
                let mut limited = io::AsyncReadExt::take(from_server, cut_after);
                drop(io::copy(&mut limited, &mut to_client).await);
                forward.abort();
            }
        });
        let (items, error) = read(open(resume(quick()), channel(proxy, Duration::from_secs(60)))).await;
        assert_eq!((items, error.map(|error| error.to_string())), (all(), None), "cut after {bytes} bytes");
        proxying.abort();
    }
    let calls = server.log.calls();
    assert!((1..LENGTH).all(|position| calls.contains(&position)), "a cut after each item: {calls:?}");
}

#[tokio::test]
async fn a_server_that_is_away_is_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let reading = tokio::spawn(read(open(
        resume(quick().max_failures(1_000)),
        channel(address, Duration::from_secs(60)),
    )));
    tokio::time::sleep(Duration::from_millis(100)).await;
    let log = Log::new(LENGTH, []);
    let listener = TcpListener::bind(address).await.unwrap();
    let routes = comms_grpc::tonic::service::Routes::new(log);
    let clock = comms_core::clock::Clock::system();
    tokio::spawn(comms_grpc::serve(
        listener,
        routes,
        comms_grpc::ServerConfig::default(),
        clock,
        std::future::pending(),
    ));
    assert_eq!(reading.await.unwrap().0, all());
}

#[tokio::test]
async fn items_that_are_sent_again_are_dropped_by_their_position() {
    let script = || [Line::Break(4, Status::unavailable("restart")), Line::Back(3)];
    let server = start(Log::new(LENGTH, script())).await;
    let (items, _) = read(open(resume(quick()).drop_duplicates(), server.channel())).await;
    assert_eq!(items, all());
    let server = start(Log::new(LENGTH, script())).await;
    let (items, _) = read(open(resume(quick()), server.channel())).await;
    assert_eq!(items, [1, 2, 3, 4, 2, 3, 4, 5, 6], "without drop_duplicates");
}

#[tokio::test]
async fn a_stream_starts_after_the_stored_position() {
    let server = start(Log::new(LENGTH, [Line::Back(2)])).await;
    assert_eq!(read(open(resume(quick()).after(4).drop_duplicates(), server.channel())).await.0, [5, 6]);
    assert_eq!(server.log.calls(), [4]);
}

#[tokio::test]
async fn silence_is_a_break_and_a_keep_alive_is_not() {
    let config = quick().silence(Duration::from_millis(200));
    let server = start(Log::new(LENGTH, [Line::Silent(2), Line::Silent(0)])).await;
    assert_eq!(read(open(resume(config.clone()), server.channel())).await.0, all());
    assert_eq!(server.log.calls(), [0, 2, 2]);
    assert!(server.log.dropped.load(SeqCst) >= 2, "the silent calls were cancelled");

    let server = start(Log::new(1, [Line::KeepAlive(6, Duration::from_millis(80))])).await;
    assert_eq!(read(open(resume(config), server.channel())).await.0, [0, 0, 0, 0, 0, 0, 1]);
    assert_eq!(server.log.calls(), [0]);
}

#[tokio::test]
async fn a_consumer_that_pauses_is_no_silence() {
    use futures::StreamExt;
    let server = start(Log::new(LENGTH, [])).await;
    let mut stream = open(resume(quick().silence(Duration::from_millis(100))), server.channel());
    assert_eq!(stream.next().await.unwrap().unwrap().position, 1);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(read(stream).await.0, [2, 3, 4, 5, 6]);
    assert_eq!(server.log.calls(), [0]);
}

#[tokio::test]
async fn a_clean_end_ends_the_stream_or_is_followed() {
    let server = start(Log::new(LENGTH, [Line::End(3)])).await;
    assert_eq!(read(open(resume(quick()), server.channel())).await.0, [1, 2, 3]);
    assert_eq!(server.log.calls(), [0]);

    // A server that ends each call without an error is no failure, however often.
    let script = [3, 0, 0, 0, 1].map(Line::End).into_iter().chain([Line::Refuse(Status::not_found("gone"))]);
    let server = start(Log::new(LENGTH, script)).await;
    let (items, error) = read(open(resume(quick().max_failures(2).follow(true)), server.channel())).await;
    assert_eq!((items, error.unwrap().kind), (vec![1, 2, 3, 4], ErrorKind::NotFound));
    assert_eq!(server.log.calls(), [0, 3, 3, 3, 3, 4]);
}

#[tokio::test]
async fn an_answer_ends_the_stream_with_its_kind() {
    let table = [
        (Status::permission_denied("no"), ErrorKind::Misconfigured),
        (Status::unauthenticated("no"), ErrorKind::Misconfigured),
        (Status::invalid_argument("no"), ErrorKind::Invalid),
        (Status::not_found("no"), ErrorKind::NotFound),
        (Status::failed_precondition("no"), ErrorKind::Conflict),
        (Status::unimplemented("no"), ErrorKind::Misconfigured),
        (refused(&Error::rejected("no", None)), ErrorKind::Rejected),
        (refused(&Error::rejected("no", Some(Duration::MAX))), ErrorKind::Rejected),
        (refused(&Error::rejected("no", Some(Duration::from_secs(301)))), ErrorKind::Rejected),
    ];
    for (status, kind) in table {
        for line in [Line::Refuse(status.clone()), Line::Break(2, status.clone())] {
            // A proof that a call was not executed is not sent in the middle of a stream.
            let at_start = matches!(line, Line::Refuse(_));
            if !at_start && kind == ErrorKind::Rejected {
                continue;
            }
            let server = start(Log::new(LENGTH, [line.clone()])).await;
            let (items, error) = read(open(resume(quick()), server.channel())).await;
            assert_eq!(items, if at_start { vec![] } else { vec![1, 2] }, "{line:?}");
            let error = error.unwrap();
            assert_eq!(error.kind, kind, "{line:?}");
            assert!(error.to_string().contains("stream log"), "{error}");
            assert_eq!(server.log.calls(), [0], "{line:?}");
        }
    }
}

#[tokio::test]
async fn a_server_that_requests_a_wait_gets_exactly_that_wait() {
    let busy = refused(&Error::rejected("busy", Some(Duration::from_millis(300))));
    let server = start(Log::new(LENGTH, [Line::Refuse(busy)])).await;
    let began = std::time::Instant::now();
    assert_eq!(read(open(resume(quick()), server.channel())).await.0, all());
    assert!(began.elapsed() >= Duration::from_millis(300), "the backoff is at most 24 ms");
}
