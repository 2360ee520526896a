//! Every call ends by its deadline, on both sides, and with DEADLINE_EXCEEDED.

use std::{
    sync::atomic::Ordering::SeqCst,
    time::{Duration, Instant},
};

use comms_core::{
    ErrorKind,
    clock::Clock,
    context::{Context, Deadline},
};
use comms_grpc::{Channel, ServerConfig, from_status, tonic};
use tokio::{net::TcpStream, time::sleep};
use tonic::{Code, Request, Status};

use crate::probe::{Ask, Probe, SECOND, ask, call, channel, millis, start, watch};

fn within(timeout: Duration) -> Context {
    let clock = Clock::system();
    Context::root(&clock).with_deadline(Deadline::after(timeout, &clock))
}

#[expect(clippy::disallowed_methods, reason = "the test measures real time")]
fn now() -> Instant {
    Instant::now()
}

fn late(result: Result<impl std::fmt::Debug, Status>) -> Status {
    let status = result.expect_err("the deadline passed");
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    status
}

#[tokio::test]
async fn what_remains_goes_over_two_hops_and_shrinks() {
    let last = start(Probe::default(), ServerConfig::default()).await;
    // Its own limit is far longer: what binds is what the first caller has left.
    let next = Some(last.channel(SECOND * 20));
    let first = start(Probe { next, ..Probe::default() }, ServerConfig::default()).await;
    let channel = first.channel(SECOND * 20);

    let seen = within(SECOND * 3).scope(call(&channel, "relay", 300)).await.unwrap();
    let near = Duration::from_micros(seen.left_micros);
    let far = Duration::from_micros(seen.next.unwrap().left_micros);
    assert!(near <= SECOND * 3 && near > SECOND * 2, "{near:?}");
    assert!(far <= near - millis(300) && far > SECOND, "{far:?} after {near:?}");
}

#[tokio::test]
async fn one_trace_on_all_hops_and_a_key_only_on_its_own() {
    let last = start(Probe::default(), ServerConfig::default()).await;
    let next = Some(last.channel(SECOND));
    let first = start(Probe { next, ..Probe::default() }, ServerConfig::default()).await;

    let context = within(SECOND * 5);
    let trace_id = context.trace.unwrap().trace_id();
    let request = Request::new(Ask { what: "relay".into(), millis: 0 });
    let request = comms_grpc::keyed(request, "order-7").unwrap();
    let seen = context.scope(ask(first.channel(SECOND * 5), request)).await.unwrap();
    let behind = seen.next.unwrap();
    assert_eq!((seen.trace_id, seen.key), (trace_id.clone(), "order-7".into()));
    assert_eq!((behind.trace_id, behind.key), (trace_id, String::new()));

    let alone = call(&first.channel(SECOND), "report", 0).await.unwrap();
    assert_eq!(alone.trace_id.len(), 32, "a trace begins where there is none");
}

#[tokio::test]
async fn a_deadline_that_has_passed_is_refused_without_a_call() {
    let probe = Probe::default();
    let server = start(probe.clone(), ServerConfig::default()).await;
    let channel = server.channel(SECOND);
    let context = within(millis(1));
    sleep(millis(5)).await;
    let status = late(context.scope(call(&channel, "report", 0)).await);
    assert_eq!(from_status(&status).kind, ErrorKind::Rejected);
    assert_eq!(probe.begun.load(SeqCst), 0);
}

#[tokio::test]
async fn a_handler_that_hangs_is_dropped_on_both_sides() {
    let probe = Probe::default();
    let server = start(probe.clone(), ServerConfig::default()).await;
    let begun = now();
    let status = late(call(&server.channel(millis(200)), "hang", 0).await);
    assert!(begun.elapsed() < SECOND * 2, "{:?}", begun.elapsed());
    assert_eq!(from_status(&status).kind, ErrorKind::Indeterminate);
    crate::probe::eventually("the handler is dropped", || probe.dropped.load(SeqCst) == 1).await;
}

/// Connects, for the kernel accepts, and never hears a byte: neither the queue nor the connect is unbounded.
#[tokio::test]
async fn a_peer_that_never_answers_is_bounded() {
    let deaf = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let channel = channel(deaf.local_addr().unwrap(), millis(200));
    let begun = now();
    let calls = (0..50).map(|_| call(&channel, "report", 0));
    for result in futures::future::join_all(calls).await {
        late(result);
    }
    assert!(begun.elapsed() < SECOND * 2, "{:?}", begun.elapsed());
}

/// Also one that always has a next item, and would never let a timer be asked.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_in_its_middle() {
    let probe = Probe::default();
    let server = start(probe.clone(), ServerConfig::default()).await;
    for what in ["ticks", "flood"] {
        let mut ticks = watch(server.channel(SECOND), what, 10).await.unwrap();
        let mut seen = 0;
        let read = async {
            while ticks.message().await?.is_some() {
                seen += 1;
            }
            Ok(())
        };
        late(tokio::time::timeout(SECOND * 10, read).await.expect("bounded"));
        assert!(seen > 1, "{seen} of {what}");
    }
    crate::probe::eventually("the streams are dropped", || probe.dropped.load(SeqCst) == 2).await;
}

/// A caller that sends no deadline: the server's maximum holds for the handler and for the stream.
#[tokio::test]
async fn the_server_has_a_limit_of_its_own() {
    let mut config = ServerConfig::default();
    config.max_timeout = millis(200);
    let server = start(Probe::default(), config).await;
    let plain = tonic::transport::Endpoint::from_shared(format!("http://{}", server.address)).unwrap();
    let plain = plain.connect().await.unwrap();
    late(ask(plain.clone(), Request::new(Ask { what: "hang".into(), millis: 0 })).await);
    let mut ticks = watch(plain, "ticks", 10).await.unwrap();
    let status = late(
        async {
            while ticks.message().await?.is_some() {}
            Ok(())
        }
        .await,
    );
    assert!(status.message().contains("streamed"), "{status}");
    // And a longer one is cut to it.
    late(call(&server.channel(SECOND * 20), "hang", 0).await);
}

/// tonic's own timer answers CANCELLED: ours must come first. The peer here has no timer at all.
#[tokio::test(flavor = "multi_thread")]
async fn the_server_says_deadline_exceeded_and_not_cancelled() {
    let server = start(Probe::default(), ServerConfig::default()).await;
    let socket = TcpStream::connect(server.address).await.unwrap();
    let (client, connection) = h2::client::handshake(socket).await.unwrap();
    tokio::spawn(async move { connection.await.unwrap() });
    let calls = (0..200u32).map(|n| {
        let client = client.clone();
        async move {
            let request = http::Request::post("http://probe/test.Probe/Ask")
                .header("content-type", "application/grpc")
                .header("grpc-timeout", format!("{}u", 3_000 + n * 37))
                .body(())
                .unwrap();
            let (response, mut body) = client.ready().await.unwrap().send_request(request, false).unwrap();
            // Ask { what: "hang" } behind its five bytes of prefix.
            body.send_data(bytes::Bytes::from_static(b"\0\0\0\0\x06\x0a\x04hang"), true).unwrap();
            let response = response.await.unwrap();
            response.headers().get("grpc-status").map(|v| v.to_str().unwrap().to_owned())
        }
    });
    for status in futures::future::join_all(calls).await {
        assert_eq!(status.as_deref(), Some("4"));
    }
}

#[tokio::test]
async fn a_timeout_that_cannot_be_read_is_no_timeout_at_all() {
    let probe = Probe::default();
    let server = start(probe.clone(), ServerConfig::default()).await;
    let plain = tonic::transport::Endpoint::from_shared(format!("http://{}", server.address)).unwrap();
    let plain = plain.connect().await.unwrap();
    for text in ["+5S", "5x", "", "S", "123456789m", "1 S", "-1S"] {
        let mut request = Request::new(Ask { what: "report".into(), millis: 0 });
        request.metadata_mut().insert("grpc-timeout", text.parse().unwrap());
        let status = ask(plain.clone(), request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{text:?}: {status}");
    }
    assert_eq!(probe.begun.load(SeqCst), 0);
}

#[tokio::test]
async fn for_ever_is_a_long_time_and_not_a_panic() {
    let server = start(Probe::default(), ServerConfig::default()).await;
    let channel = server.channel(Duration::MAX);
    let seen = within(Duration::MAX).scope(call(&channel, "report", 0)).await.unwrap();
    assert!(Duration::from_micros(seen.left_micros) <= SECOND * 30, "clamped by the server");
}

/// The earliest binds: here the one the caller put on the request itself.
#[tokio::test]
async fn a_timeout_on_the_request_counts_too() {
    let server = start(Probe::default(), ServerConfig::default()).await;
    let mut request = Request::new(Ask { what: "hang".into(), millis: 0 });
    request.set_timeout(millis(100));
    let begun = now();
    late(ask(server.channel(SECOND * 20), request).await);
    assert!(begun.elapsed() < SECOND * 2);
}

#[tokio::test]
async fn a_channel_is_checked_when_it_is_made() {
    for uri in [
        "",
        "127.0.0.1:1",
        "https://host:1",
        "http://",
        "http://host:1/path",
        "unix:/tmp/x",
        "http://h o",
        "http://shop:hunter2@host:1",
        "ftp://shop:hunter2@host:1",
        "shop:hunter2",
    ] {
        let error = Channel::builder(uri).build().unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid, "{uri:?}");
        assert!(!error.chain().to_string().contains("hunter2"), "{uri:?}: {error:?}");
    }
    assert!(Channel::builder("http://h:1").timeout(Duration::ZERO).build().is_err());
    let outside = std::thread::spawn(|| Channel::builder("http://h:1").build().is_err());
    assert!(outside.join().unwrap(), "outside a runtime");
}
