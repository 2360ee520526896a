//! Sessions that are open after the limit of a drain.

use std::{future::poll_fn, pin::Pin, time::Duration};

use comms_core::clock::Clock;
use comms_ws::{Hub, HubConfig, Session, close};
use http_body::Body as _;
use tokio::time::sleep;

const SECOND: Duration = Duration::from_secs(1);

/// The server does not poll the body of the stream, neither before nor after the end of the drain.
#[tokio::test]
async fn a_stream_that_is_not_polled_ends_after_the_limit_of_the_drain() {
    for limit in [Duration::ZERO, SECOND] {
        let clock = Clock::manual(1_000 * SECOND);
        let hub = Hub::new(HubConfig::default(), clock.clone()).unwrap();
        let request = http::Request::get("/").header("accept", "text/event-stream").body(()).unwrap();
        let mut eve = hub.accept(request, Session::new("eve", vec!["public/all".into()])).into_body();
        let drain = tokio::spawn({
            let hub = hub.clone();
            async move { hub.drain(limit).await }
        });
        while !drain.is_finished() {
            clock.advance(SECOND / 10);
            sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(hub.stats().sessions, 1, "the limit of a write has not passed");
        for _ in 0..12 {
            clock.advance(SECOND);
            sleep(Duration::from_millis(5)).await;
        }
        assert_eq!((hub.stats().sessions, hub.stats().topics), (0, 0), "{limit:?}");
        let mut text = String::new();
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut eve).poll_frame(cx)).await {
            text.push_str(std::str::from_utf8(&frame.unwrap().into_data().unwrap()).unwrap());
        }
        assert!(text.contains(&format!("\"code\":{}", close::GOING_AWAY)), "{text}");
    }
}
