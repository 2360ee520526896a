//! The end of a call ends its request, also while messages are still sent.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use comms_grpc::{Channel, tonic};
use futures::{Stream, StreamExt, stream};
use http::uri::PathAndQuery;
use tonic::{Code, Request, Status, Streaming};
use tonic_prost::ProstCodec;

use crate::{
    frames::{END_STREAM, SETTINGS, frame, headers},
    raw_peer::RawPeer,
    support::{Observation, SECOND, TestRequest, eventually, millis},
};

/// Counts the drops of the messages of a call.
struct Dropped(Arc<AtomicUsize>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
    }
}

type Messages = Pin<Box<dyn Stream<Item = TestRequest> + Send>>;

/// Messages that never end: one that is followed by nothing, or large ones without a pause, until the peer reads no more.
fn messages(flood: bool, dropped: &Arc<AtomicUsize>) -> Messages {
    let held = Dropped(dropped.clone());
    let message = |size| TestRequest { action: "x".repeat(size), millis: 0 };
    let messages = match flood {
        true => stream::repeat_with(move || message(10_000)).boxed(),
        false => stream::iter([message(1)]).chain(stream::pending()).boxed(),
    };
    let held = messages.map(move |message| {
        let _ = &held;
        message
    });
    held.boxed()
}

async fn bidi(channel: Channel, messages: Messages) -> Result<Streaming<Observation>, Status> {
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await?;
    let path = PathAndQuery::from_static("/test.Service/Chat");
    let codec = ProstCodec::<TestRequest, Observation>::default();
    grpc.streaming(Request::new(messages), path, codec).await.map(tonic::Response::into_inner)
}

/// A call whose response has begun and whose request goes on.
struct Running {
    peer: RawPeer,
    response: Streaming<Observation>,
    dropped: Arc<AtomicUsize>,
    channel: Channel,
}

impl Running {
    async fn start(flood: bool, timeout: Duration) -> Self {
        let peer = RawPeer::start(|_| frame(SETTINGS, 0, 0, &[])).await;
        let channel = Channel::builder(format!("http://{}", peer.address)).timeout(timeout).build().unwrap();
        let dropped = Arc::new(AtomicUsize::new(0));
        let calling = tokio::spawn(bidi(channel.clone(), messages(flood, &dropped)));
        peer.wait_for_calls(1).await;
        peer.send(0, &headers(1, 0, &[("content-type", "application/grpc")])).await;
        let response = calling.await.unwrap().unwrap();
        // The request goes on, and a flood fills the window of the peer.
        tokio::time::sleep(millis(50)).await;
        assert_eq!((dropped.load(SeqCst), peer.resets().len()), (0, 0));
        Self { peer, response, dropped, channel }
    }
}

async fn expect_end(peer: &RawPeer, dropped: &AtomicUsize, channel: &Channel, name: &str) {
    eventually(&format!("{name}: the messages are dropped"), || dropped.load(SeqCst) == 1).await;
    eventually(&format!("{name}: the stream is reset"), || peer.resets() == [(0, 1)]).await;
    assert_eq!(channel.snapshot().endpoints[0].in_flight, 0, "{name}");
}

#[tokio::test]
async fn a_response_that_is_dropped_ends_the_request() {
    for flood in [false, true] {
        let Running { peer, response, dropped, channel } = Running::start(flood, SECOND * 60).await;
        drop(response);
        expect_end(&peer, &dropped, &channel, &format!("flood: {flood}")).await;
    }
}

#[tokio::test]
async fn the_deadline_ends_the_request() {
    for flood in [false, true] {
        let Running { peer, mut response, dropped, channel } = Running::start(flood, millis(400)).await;
        let status = response.message().await.unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
        expect_end(&peer, &dropped, &channel, &format!("flood: {flood}")).await;
    }
}

/// Nobody reads the response, so its timer does not run.
#[tokio::test]
async fn the_deadline_ends_a_request_whose_response_is_not_read() {
    for flood in [false, true] {
        let Running { peer, response, dropped, channel } = Running::start(flood, millis(400)).await;
        eventually("the messages are dropped", || dropped.load(SeqCst) == 1).await;
        drop(response);
        expect_end(&peer, &dropped, &channel, &format!("flood: {flood}")).await;
    }
}

#[tokio::test]
async fn a_response_that_ends_early_ends_the_request() {
    for (flood, code) in [(false, "0"), (true, "0"), (false, "5"), (true, "5")] {
        let Running { peer, mut response, dropped, channel } = Running::start(flood, SECOND * 60).await;
        peer.send(0, &headers(1, END_STREAM, &[("grpc-status", code)])).await;
        match response.message().await {
            Ok(message) => assert_eq!((message, code), (None, "0")),
            Err(status) => assert_eq!((status.code(), code), (Code::NotFound, "5")),
        }
        expect_end(&peer, &dropped, &channel, &format!("flood: {flood}, status {code}")).await;
        drop(response);
    }
}

/// The connection stays in use, and the stream is free again: a request that ended has left nothing behind.
#[tokio::test]
async fn requests_that_ended_leave_the_connection_to_others() {
    let peer = RawPeer::start(|_| crate::raw_peer::max_streams(1)).await;
    let channel = Channel::builder(format!("http://{}", peer.address)).timeout(SECOND * 60).build().unwrap();
    let dropped = Arc::new(AtomicUsize::new(0));
    for call in 0..3 {
        let calling = tokio::spawn(bidi(channel.clone(), messages(false, &dropped)));
        peer.wait_for_calls(call + 1).await;
        peer.send(0, &headers(call as u32 * 2 + 1, 0, &[("content-type", "application/grpc")])).await;
        drop(calling.await.unwrap().unwrap());
    }
    eventually("the messages are dropped", || dropped.load(SeqCst) == 3).await;
    assert_eq!(peer.connections(), 1);
}
