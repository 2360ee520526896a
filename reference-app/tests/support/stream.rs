//! An event stream of a user.

use std::time::Duration;

use reqwest::{RequestBuilder, Response, StatusCode};
use serde_json::Value;

/// An open event stream.
pub struct EventStream {
    response: Response,
    unread: String,
    /// The `id` of the last event.
    pub last_id: String,
}

impl EventStream {
    /// Sends the request of a stream. Fails the test if it is refused.
    pub async fn open(request: RequestBuilder) -> Self {
        let response = request.header("accept", "text/event-stream").send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, unread: String::new(), last_id: String::new() }
    }

    /// Returns the data of the next event. Fails the test after 30 s.
    pub async fn next(&mut self) -> Value {
        loop {
            let block = self.block().await;
            let value = |field: &str| {
                block.lines().find_map(|line| line.strip_prefix(field)).map(|value| value.trim().to_owned())
            };
            if let Some(id) = value("id:") {
                self.last_id = id;
            }
            if let Some(data) = value("data:") {
                return serde_json::from_str(&data).unwrap();
            }
        }
    }

    /// Returns the events of the topic up to the one with `status`.
    pub async fn until(&mut self, status: &str) -> Vec<Value> {
        let mut seen = Vec::new();
        loop {
            let frame = self.next().await;
            if frame["type"] != "event" {
                continue;
            }
            let is_last = frame["data"]["status"] == status;
            seen.push(frame);
            if is_last {
                return seen;
            }
        }
    }

    async fn block(&mut self) -> String {
        loop {
            if let Some((block, rest)) = self.unread.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.unread = rest;
                return block;
            }
            let read = tokio::time::timeout(Duration::from_secs(30), self.response.chunk());
            let chunk = read.await.expect("an event within 30 s").unwrap().expect("the stream goes on");
            self.unread += std::str::from_utf8(&chunk).unwrap();
        }
    }
}
