//! Request bodies that are sent again.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use comms_core::{clock::Clock, context::Context as CallContext};
use http::{HeaderMap, Method, uri};
use http_body::{Body as HttpBody, Frame};
use tonic::{Status, body::Body};

use super::{
    CallRequest, Head, Origin, RequestBody,
    headers::{GRPC_TIMEOUT, OF_CONNECTION, TRACEPARENT},
    write_context,
};

/// Messages of a body; `None` is a message that is not available yet.
struct Messages(VecDeque<Option<Bytes>>);

impl HttpBody for Messages {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match self.0.pop_front() {
            Some(Some(message)) => Poll::Ready(Some(Ok(Frame::data(message)))),
            Some(None) => Poll::Pending,
            None => Poll::Ready(None),
        }
    }
}

fn body(messages: &[Option<&'static str>], limit: usize) -> RequestBody {
    let messages = messages.iter().map(|message| message.map(|text| Bytes::from_static(text.as_bytes())));
    let mut cx = Context::from_waker(Waker::noop());
    RequestBody::read(Body::new(Messages(messages.collect())), limit, &mut cx).unwrap()
}

/// Reads the messages that are available. The last item is an error, if there is one.
fn read(body: &mut RequestBody) -> Vec<Result<Bytes, Status>> {
    let mut cx = Context::from_waker(Waker::noop());
    let mut read = Vec::new();
    while let Poll::Ready(Some(frame)) = Pin::new(&mut *body).poll_frame(&mut cx) {
        read.push(frame.map(|frame| frame.into_data().unwrap()));
        if read.last().is_some_and(Result::is_err) {
            break;
        }
    }
    read
}

fn text(body: &mut RequestBody) -> String {
    read(body).into_iter().map(|data| String::from_utf8(data.unwrap().to_vec()).unwrap()).collect()
}

#[test]
fn a_body_of_one_message_is_sent_again_however_often() {
    let mut original = body(&[Some("one")], 3);
    for _ in 0..3 {
        let mut sent = original.next();
        assert_eq!(text(&mut sent), "one");
        assert!(sent.is_end_stream());
    }
    let mut empty = body(&[], 3).next();
    assert_eq!(text(&mut empty), "");
    assert!(empty.is_end_stream());
}

#[test]
fn a_stream_is_sent_again_from_its_beginning() {
    let mut original = body(&[Some("one"), Some("two"), None, Some("three")], 11);
    let mut first = original.next();
    assert_eq!(text(&mut first), "onetwo", "the third message is not available");
    let mut second = original.next();
    assert_eq!(text(&mut second), "onetwothree");
    assert_eq!(text(&mut original.next()), "onetwothree");
}

#[test]
fn a_stream_that_has_sent_more_than_the_limit_cannot_be_sent_again() {
    let mut original = body(&[Some("one"), Some("two"), None, Some("three"), Some("four")], 8);
    let mut first = original.next();
    assert_eq!(text(&mut first), "onetwo");
    assert!(original.replay().is_some(), "within the limit");
    assert_eq!(text(&mut first), "threefour", "the attempt itself goes on");
    assert!(original.replay().is_none());

    let mut long = body(&[Some("a message over the limit")], 3);
    assert!(long.replay().is_some(), "nothing is sent yet");
    assert_eq!(text(&mut long.next()), "a message over the limit");
    assert!(long.replay().is_none());
}

/// The connection of an earlier attempt may still read its body. It must not take messages from the newest attempt.
#[test]
fn the_body_of_an_earlier_attempt_reads_no_further() {
    let mut original = body(&[Some("one"), Some("two"), None, Some("three")], 100);
    let mut first = original.next();
    assert_eq!(text(&mut first), "onetwo");
    let mut second = original.next();
    assert_eq!(text(&mut second), "onetwothree");
    assert!(read(&mut first).pop().unwrap().is_err());
}

/// An entry that a first request makes gives later requests the name. An entry of each request would replace others.
#[test]
fn values_of_a_call_are_in_the_header_table_only_in_the_first_requests_of_a_connection() {
    let clock = Clock::manual(Duration::from_secs(1));
    for (is_first, left, timeout_indexed, trace_indexed) in
        [(true, 1_500, true, true), (false, 1_500, false, false), (false, 2_000, true, false)]
    {
        let mut headers = HeaderMap::new();
        write_context(CallContext::root(&clock), &mut headers, &clock).unwrap();
        let deadline = clock.now() + Duration::from_millis(left);
        let (method, path) = (Method::POST, None);
        let head = Head {
            method,
            path,
            headers,
            deadline,
            caller_deadline: None,
            idempotent: false,
            wait_for_ready: false,
            hedged: None,
        };
        let origin =
            Origin { scheme: uri::Scheme::HTTP, authority: uri::Authority::from_static("localhost") };
        let mut request = CallRequest::new(head, body(&[], 0));
        let request = request.http(&origin, is_first, deadline, &clock).unwrap();
        let indexed = [GRPC_TIMEOUT, TRACEPARENT].map(|name| !request.headers()[name].is_sensitive());
        assert_eq!(indexed, [timeout_indexed, trace_indexed], "{is_first} {left}");
    }
}

/// h2 refuses a request with such a header.
#[test]
fn headers_of_a_connection_of_http1_are_removed() {
    let clock = Clock::manual(Duration::from_secs(1));
    for name in OF_CONNECTION {
        let mut headers = HeaderMap::new();
        headers.insert(name.clone(), http::HeaderValue::from_static("close"));
        headers.insert("te", http::HeaderValue::from_static("gzip"));
        write_context(CallContext::root(&clock), &mut headers, &clock).unwrap();
        assert!(!headers.contains_key(&name) && headers.contains_key(TRACEPARENT), "{name}");
        assert_eq!(headers["te"], "trailers");
    }
}
