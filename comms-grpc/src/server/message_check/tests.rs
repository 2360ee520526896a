//! The bodies of requests and responses, frame by frame.

use super::*;
use futures::FutureExt;
use std::{collections::VecDeque, future::poll_fn, time::Duration};

/// A body of the frames or errors of a client.
struct Frames(VecDeque<Result<Frame<Bytes>, h2::Error>>);

impl Body for Frames {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        Poll::Ready(self.0.pop_front())
    }
}

/// Returns the number of frames that pass, and the code of the error that ends the body.
fn read(
    frames: impl IntoIterator<Item = Result<Frame<Bytes>, h2::Error>>,
    single: bool,
) -> (usize, Option<Code>) {
    let mut body = CheckedRequest::new(Frames(frames.into_iter().collect()), 10, single, None);
    let mut next = || poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).now_or_never().unwrap();
    let mut passed = 0;
    loop {
        match next() {
            Some(Ok(_)) => passed += 1,
            Some(Err(status)) => {
                assert!(next().is_none(), "the body has ended");
                return (passed, Some(status.code()));
            }
            None => return (passed, None),
        }
    }
}

fn data(bytes: &'static [u8]) -> Result<Frame<Bytes>, h2::Error> {
    Ok(Frame::data(Bytes::from_static(bytes)))
}

/// tonic takes CANCELLED for a clean end, after which a client-streaming handler would commit an incomplete upload.
#[test]
fn a_request_that_is_reset_does_not_end_cleanly() {
    for reason in [h2::Reason::CANCEL, h2::Reason::INTERNAL_ERROR] {
        let (passed, code) = read([data(b"\0\0\0\0\x01a"), Err(reason.into())], false);
        assert_eq!(passed, 1);
        assert!(code.is_some_and(|code| code != Code::Cancelled), "{reason:?}: {code:?}");
    }
}

/// hyper ends the body of a stream that is reset with NO_ERROR, without the end of the stream.
#[test]
fn a_request_that_ends_before_its_stream_is_cut() {
    assert_eq!(read([data(b"\0\0\0\0\x01a")], false), (1, Some(Code::Unknown)));
}

#[test]
fn trailers_end_a_request_only_between_messages() {
    let trailers = || Ok(Frame::trailers(http::HeaderMap::new()));
    assert_eq!(read([data(b"\0\0\0\0\x01a"), trailers()], true), (2, None));
    assert_eq!(read([data(b"\0\0\0\0\x02a"), trailers()], false), (1, Some(Code::Internal)));
    assert_eq!(read([trailers()], true), (0, Some(Code::Unimplemented)));
    assert_eq!(read([trailers()], false), (1, None));
}

#[test]
fn the_second_message_of_a_method_of_one_is_refused_at_its_prefix() {
    let (first, second) = (b"\0\0\0\0\x01a\0\0\0\0", b"\x05");
    assert_eq!(read([data(first), data(second)], true), (1, Some(Code::Unimplemented)));
    assert_eq!(read([data(first), data(b"\x0b")], false), (1, Some(Code::ResourceExhausted)));
}

/// Another server in the process does not suppress the warning of this one.
#[test]
fn each_server_limits_its_warnings_of_responses_that_are_too_large() {
    let clock = Clock::manual(Duration::ZERO);
    let limit = || {
        let config = ServerConfig::default().max_response_message(1);
        MessageLimits::of(&config, clock.clone()).unwrap().response
    };
    let respond = |limit: &Arc<ResponseLimit>| {
        let frames = Frames([data(b"\0\0\0\0\x02ab")].into());
        let mut body = CheckedResponse::new(frames, limit.clone(), None);
        let frame = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).now_or_never().unwrap();
        assert!(frame.unwrap().is_err());
    };
    let servers = [limit(), limit()];
    for server in &servers {
        respond(server);
        respond(server);
        assert_eq!(server.log.admit(&clock), None, "the first one was logged");
    }
    clock.advance(Duration::from_secs(10));
    for server in &servers {
        assert_eq!(server.log.admit(&clock), Some(2), "the second one, and the question of the test");
    }
}
