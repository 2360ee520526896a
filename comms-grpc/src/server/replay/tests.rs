//! What is stored of a response.

use super::*;
use comms_core::idempotency::MemoryStore;
use futures::FutureExt;

/// Returns the kind that decides about the lease of a call whose trailers have `code` and `message`.
fn kind(code: Code, message: &str) -> Option<ErrorKind> {
    let mut trailers = HeaderMap::new();
    Status::new(code, message).add_header(&mut trailers).unwrap();
    let response = Response::new(Body::new(Stored::new(bytes::Bytes::new(), Some(trailers))));
    let replay = Replay::new(Arc::new(MemoryStore::new(Clock::system())));
    let (_, outcome) = replay.settle(response, &Clock::system()).now_or_never().unwrap();
    outcome.err().map(|error| error.kind)
}

/// The handler has had its effect when tonic refuses to encode its response.
#[test]
fn a_response_that_cannot_be_encoded_keeps_the_lease() {
    let text = "Error, encoded message length too large: found 9 bytes, the limit is: 8 bytes";
    let encoded = kind(Code::OutOfRange, text).unwrap();
    assert!(!encoded.is_without_effect(), "{encoded}");
    assert!(kind(Code::OutOfRange, "no such page").unwrap().is_without_effect());
    for code in [Code::PermissionDenied, Code::Unauthenticated, Code::Unimplemented, Code::NotFound] {
        assert!(kind(code, "").unwrap().is_without_effect(), "{code:?}");
    }
    assert_eq!(kind(Code::Ok, ""), None);
}

/// Another server in the process does not suppress the warning of this one.
#[test]
fn each_replay_limits_its_warnings_of_responses_that_are_not_stored() {
    let clock = Clock::manual(Duration::ZERO);
    let replay = || Replay::new(Arc::new(MemoryStore::new(clock.clone()))).max_response(1);
    let replays = [replay(), replay()];
    let respond = |replay: &Replay| {
        let response = Response::new(Body::new(Stored::new(bytes::Bytes::from_static(b"ab"), None)));
        let (_, outcome) = replay.settle(response, &clock).now_or_never().unwrap();
        assert!(outcome.is_ok(), "a repetition gets ALREADY_EXISTS");
    };
    for replay in &replays {
        respond(replay);
        respond(replay);
    }
    clock.advance(Duration::from_secs(10));
    for replay in &replays {
        assert_eq!(
            replay.unstored_log.admit(&clock),
            Some(1),
            "the first one was logged, and the second one not"
        );
    }
}
