use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use super::*;
use crate::{Headers, Message, handler_fn};

fn delivery() -> Delivery {
    let message = Message {
        source: "s".into(),
        id: "1".into(),
        destination: "t".into(),
        key: None,
        headers: Headers::new(),
        payload: None,
    };
    Delivery::new(message, "g", "t/0@1")
}

/// Fails with `kind` until the `good`-th try.
fn processor(kind: ErrorKind, good: u32) -> (Processor, Arc<AtomicU32>) {
    let tries = Arc::new(AtomicU32::new(0));
    let count = tries.clone();
    let handler = handler_fn(move |_| {
        let n = count.fetch_add(1, Ordering::SeqCst) + 1;
        async move { if n >= good { Ok(Outcome::Done) } else { Err(Error::new(kind, "no")) } }
    });
    let attempts = Attempts { limit: 5, ..Attempts::default() };
    (Processor::new(BoxHandler::new(handler), attempts, Clock::system(), "test"), tries)
}

#[tokio::test(start_paused = true)]
async fn the_kind_of_the_error_decides() {
    let table = [
        (ErrorKind::Transient, "dead letter", 5),
        (ErrorKind::Unknown, "dead letter", 5),
        (ErrorKind::Conflict, "dead letter", 5),
        (ErrorKind::Rejected, "done", 100),
        (ErrorKind::Invalid, "dead letter", 1),
        (ErrorKind::Fatal, "stop", 1),
    ];
    for (kind, expected, tries) in table {
        let (processor, count) = processor(kind, 100);
        let verdict = match processor.process(delivery(), pending()).await {
            Verdict::Done(_) => "done",
            Verdict::DeadLetter { attempts, .. } => {
                assert_eq!(attempts, tries, "{kind}");
                "dead letter"
            }
            Verdict::Abandoned => "abandoned",
            Verdict::Stop(_) => "stop",
        };
        assert_eq!((verdict, count.load(Ordering::SeqCst)), (expected, tries), "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_transient_failure_passes() {
    let (processor, tries) = processor(ErrorKind::Transient, 3);
    assert!(matches!(processor.process(delivery(), pending()).await, Verdict::Done(Outcome::Done)));
    assert_eq!(tries.load(Ordering::SeqCst), 3);
}

#[tokio::test(start_paused = true)]
async fn a_try_without_end_and_a_panic_are_failures_like_others() {
    let stuck = handler_fn(|_| pending());
    let panics = handler_fn(|delivery: Delivery| async move { panic!("at try {}", delivery.attempt) });
    for (handler, kind) in
        [(BoxHandler::new(stuck), ErrorKind::Unknown), (BoxHandler::new(panics), ErrorKind::Transient)]
    {
        let attempts = Attempts { limit: 2, ..Attempts::default() };
        let processor = Processor::new(handler, attempts, Clock::system(), "test");
        match processor.process(delivery(), pending()).await {
            Verdict::DeadLetter { error, attempts: 2 } => assert_eq!(error.kind, kind),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_shut_down_ends_the_wait_and_the_try() {
    let (waits, _) = processor(ErrorKind::Transient, 100);
    let limit = Duration::from_millis(150);
    assert!(matches!(waits.process(delivery(), tokio::time::sleep(limit)).await, Verdict::Abandoned));
    let stuck = BoxHandler::new(handler_fn(|_| pending()));
    let runs = Processor::new(stuck, Attempts::default(), Clock::system(), "test");
    assert!(matches!(runs.process(delivery(), tokio::time::sleep(limit)).await, Verdict::Abandoned));
}
