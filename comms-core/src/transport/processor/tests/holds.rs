//! Deliveries whose cause of failure lies outside the message.

use std::sync::atomic::AtomicBool;

use super::*;
use crate::health::Status;

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn limited(limits: fn(&mut AttemptConfig), kind: ErrorKind, good: u32) -> (Processor, Arc<AtomicU32>) {
    let (mut processor, tries) = processor(kind, good);
    limits(&mut processor.config);
    (processor, tries)
}

#[tokio::test(start_paused = true)]
async fn a_hold_is_seen_while_it_lasts_and_ends_by_itself_when_the_cause_is_gone() {
    let repaired = Arc::new(AtomicBool::new(false));
    let seen = repaired.clone();
    let handler = handler_fn(move |_| {
        let repaired = seen.load(Ordering::SeqCst);
        async move { if repaired { Ok(Outcome::Done) } else { Err(Error::misconfigured("no such method")) } }
    });
    let processor =
        Processor::new(BoxHandler::new(handler), AttemptConfig::default(), Clock::system(), "test");
    let holds = processor.holds().clone();
    let work = tokio::spawn(async move { processor.process(delivery(), pending(), pending()).await });
    tokio::time::sleep(secs(24 * 3600)).await;
    let list = holds.list();
    assert_eq!((list.len(), list[0].kind, &*list[0].group), (1, ErrorKind::Misconfigured, "g"));
    assert!(list[0].attempts > 2_000, "{}", list[0].attempts);
    assert_eq!(holds.state().status, Status::Degraded);
    repaired.store(true, Ordering::SeqCst);
    assert!(matches!(work.await.unwrap(), Verdict::Done(Outcome::Done)));
    assert!(holds.is_empty());
    assert_eq!(holds.state().status, Status::Ready);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_rejects_without_a_wait_holds_visibly() {
    let (processor, _) = processor(ErrorKind::Rejected, u32::MAX);
    let holds = processor.holds().clone();
    let work = tokio::spawn(async move { processor.process(delivery(), pending(), pending()).await });
    tokio::time::sleep(secs(90)).await;
    assert_eq!((holds.len(), holds.state().status), (1, Status::Degraded));
    assert!(!work.is_finished());
    work.abort();
    assert!(work.await.unwrap_err().is_cancelled());
    assert!(holds.is_empty(), "what is dropped is not held");
}

#[tokio::test(start_paused = true)]
async fn a_hold_with_a_limit_becomes_a_dead_letter_with_its_last_error() {
    let (processor, _) =
        limited(|attempts| attempts.hold_limit = Some(secs(60)), ErrorKind::Misconfigured, u32::MAX);
    let start = Clock::system().now();
    let verdict = processor.process(delivery(), pending(), pending()).await;
    let took = Clock::system().now() - start;
    assert!(
        matches!(&verdict, Verdict::DeadLetter { error, attempts: 1 } if error.kind == ErrorKind::Misconfigured)
    );
    assert!((secs(60)..secs(100)).contains(&took), "{took:?}");
    assert!(processor.holds().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_hold_beyond_its_time_in_place_is_handed_back_and_goes_on_when_it_comes_again() {
    let limits = |attempts: &mut AttemptConfig| {
        (attempts.hold_in_place, attempts.hold_limit) = (Some(secs(2)), Some(secs(3600)));
    };
    let (processor, tries) = limited(limits, ErrorKind::NotExecuted, 20);
    let holds = processor.holds().clone();
    let mut handed_back = 0;
    let mut again = delivery();
    loop {
        match processor.process(again.clone(), pending(), pending()).await {
            Verdict::Held { error, attempts } => {
                assert_eq!((error.kind, attempts), (ErrorKind::NotExecuted, 1));
                assert_eq!(holds.list()[0].attempts, tries.load(Ordering::SeqCst));
                handed_back += 1;
                again.attempt = attempts;
            }
            Verdict::Done(Outcome::Done) => break,
            other => panic!("{other:?}"),
        }
        tokio::time::sleep(secs(10)).await;
    }
    assert!(handed_back > 10, "{handed_back}: the waits grow across the calls, and are over 2 s at once");
    assert!(holds.is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_limit_of_a_hold_counts_from_its_beginning_though_it_was_handed_back() {
    let limits = |attempts: &mut AttemptConfig| {
        (attempts.hold_in_place, attempts.hold_limit) = (Some(Duration::ZERO), Some(secs(60)));
    };
    let (processor, tries) = limited(limits, ErrorKind::NotExecuted, u32::MAX);
    let verdict = || processor.process(delivery(), pending(), pending());
    assert!(matches!(verdict().await, Verdict::Held { .. }));
    tokio::time::sleep(secs(59)).await;
    assert!(matches!(verdict().await, Verdict::Held { .. }));
    tokio::time::sleep(secs(1)).await;
    assert!(matches!(verdict().await, Verdict::DeadLetter { .. }));
    assert_eq!(tries.load(Ordering::SeqCst), 3);
    assert!(processor.holds().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_counts_ends_the_hold() {
    let handler = handler_fn(|delivery: Delivery| async move {
        match delivery.attempt {
            1 => Err(Error::internal("corrupt row")),
            _ => Err(Error::not_executed("connection refused")),
        }
    });
    let attempts = AttemptConfig { hold_in_place: Some(Duration::ZERO), ..AttemptConfig::default() };
    let processor = Processor::new(BoxHandler::new(handler), attempts, Clock::system(), "test");
    let verdict = processor.process(delivery(), pending(), pending()).await;
    assert!(matches!(verdict, Verdict::Held { attempts: 2, .. }), "{verdict:?}");
    let mut again = delivery();
    again.attempt = 1;
    let stopping = tokio::time::sleep(Duration::from_millis(1));
    assert!(matches!(processor.process(again, stopping, pending()).await, Verdict::Abandoned));
    assert!(processor.holds().is_empty());
}

#[tokio::test(start_paused = true)]
async fn several_processors_share_one_list() {
    let holds = Holds::new(Clock::system());
    let limits = |attempts: &mut AttemptConfig| attempts.hold_in_place = Some(Duration::ZERO);
    for group in ["a", "b"] {
        let (processor, _) = limited(limits, ErrorKind::NotExecuted, u32::MAX);
        let mut delivery = delivery();
        delivery.group = group.into();
        processor.with_holds(holds.clone()).process(delivery, pending(), pending()).await;
    }
    let groups: Vec<_> = holds.list().iter().map(|hold| hold.group.to_string()).collect();
    assert_eq!(groups, ["a", "b"]);
}

/// A peer may name any number, also one that stands for ever.
#[tokio::test(start_paused = true)]
async fn a_delivery_that_is_handed_back_waits_five_minutes_at_most() {
    for (asked, handed_back) in [(secs(1), secs(1)), (secs(3600), secs(300)), (Duration::MAX, secs(300))] {
        let handler = handler_fn(move |_| async move {
            Err::<Outcome, _>(Error::not_executed("busy").with_retry_after(asked))
        });
        let attempts = AttemptConfig { hold_in_place: Some(Duration::ZERO), ..AttemptConfig::default() };
        let processor = Processor::new(BoxHandler::new(handler), attempts, Clock::system(), "test");
        let verdict = processor.process(delivery(), pending(), pending()).await;
        let Verdict::Held { error, .. } = verdict else { panic!("{verdict:?}") };
        assert_eq!(error.retry_after, Some(handed_back), "{asked:?}");
    }
}
