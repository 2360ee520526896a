//! How deliveries end: a lost session, a drain, and the bounds of the channel to the task.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use comms_core::transport::Ordering;

use super::*;

/// Counts running attempts of the handler, and the most at the same time.
#[derive(Clone, Default)]
struct Running(Arc<(AtomicUsize, AtomicUsize)>);

struct Attempt(Running);

impl Running {
    fn begin(&self) -> Attempt {
        let running = self.0.0.fetch_add(1, SeqCst) + 1;
        self.0.1.fetch_max(running, SeqCst);
        Attempt(self.clone())
    }

    fn now(&self) -> usize {
        self.0.0.load(SeqCst)
    }

    fn most(&self) -> usize {
        self.0.1.load(SeqCst)
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.0.0.0.fetch_sub(1, SeqCst);
    }
}

/// Returns a builder of a subscriber whose handler hangs until the flag is set.
fn hanging() -> (SubscriberBuilder, Running, Arc<AtomicBool>, Log) {
    let (running, released, log) = (Running::default(), Arc::<AtomicBool>::default(), Log::default());
    let (count, end, seen) = (running.clone(), released.clone(), log.clone());
    let handler = handler_fn(move |delivery: Delivery| {
        let (count, end, seen) = (count.clone(), end.clone(), seen.clone());
        async move {
            let _attempt = count.begin();
            let payload = String::from_utf8(delivery.message.payload().unwrap().to_vec()).unwrap();
            seen.lock().unwrap().push(payload);
            while !end.load(SeqCst) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Ok(Outcome::Done)
        }
    });
    (Subscriber::builder("g").on("t", handler), running, released, log)
}

async fn wait(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

#[tokio::test(start_paused = true)]
async fn after_a_lost_session_its_attempts_end_before_those_of_the_next_one_begin() {
    let (builder, running, released, log) = hanging();
    let subscriber = builder.drain(Duration::from_millis(100)).build().unwrap();
    let lost = subscriber.enqueue(&mut batch(&[("a", "1"), ("a", "2"), ("b", "3")]));
    wait(10).await;
    drop(lost);
    let next = subscriber.enqueue(&mut batch(&[("a", "1"), ("a", "2"), ("b", "3")]));
    wait(80).await;
    assert_eq!((running.now(), log.lock().unwrap().len()), (2, 2), "the attempts have their drain time");
    wait(100).await;
    assert_eq!((running.now(), running.most(), log.lock().unwrap().len()), (2, 2, 4));
    released.store(true, SeqCst);
    assert_eq!(kinds(&next.await), [None, None, None]);
    let mut ran = log.lock().unwrap().clone();
    ran.sort();
    assert_eq!(ran, ["1", "1", "2", "3", "3"], "the message behind a cancelled one did not begin");
}

#[tokio::test(start_paused = true)]
async fn the_next_session_begins_when_the_attempts_of_the_lost_one_have_ended() {
    let (builder, _, released, log) = hanging();
    let subscriber = builder.drain(Duration::from_secs(1_000)).build().unwrap();
    let lost = subscriber.enqueue(&mut batch(&[("a", "1")]));
    wait(10).await;
    drop(lost);
    let next = subscriber.enqueue(&mut batch(&[("a", "1")]));
    released.store(true, SeqCst);
    assert_eq!(kinds(&tokio::time::timeout(Duration::from_secs(1), next).await.unwrap()), [None]);
    assert_eq!(*log.lock().unwrap(), ["1", "1"]);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_a_lost_session_refused_runs_in_the_next_one() {
    let (subscriber, log) = subscriber(100, refuse_bad);
    let lost = subscriber.enqueue(&mut batch(&[("a", "bad1"), ("a", "2")]));
    wait(10).await;
    // The results have not been received.
    drop(lost);
    let next = subscriber.enqueue(&mut batch(&[("a", "2")]));
    assert_eq!(kinds(&next.await), [None]);
    assert_eq!(*log.lock().unwrap(), ["bad1", "2"]);
}

#[tokio::test(start_paused = true)]
async fn a_drain_cancels_what_outlives_it_and_stops_the_subscriber() {
    let (builder, running, _, log) = hanging();
    let subscriber = builder.drain(Duration::from_millis(100)).build().unwrap();
    let acks = subscriber.enqueue(&mut batch(&[("a", "1"), ("a", "2")]));
    wait(10).await;
    subscriber.begin_drain();
    let late = subscriber.enqueue(&mut batch(&[("b", "3")]));
    let abandoned = Some(ErrorKind::NotExecuted);
    assert_eq!(kinds(&late.await), [abandoned], "no attempt begins");
    assert_eq!(running.now(), 1, "the attempt has its drain time");
    assert_eq!(kinds(&acks.await), [abandoned, abandoned]);
    subscriber.ended().await;
    assert!(subscriber.stop_token().is_cancelled());
    assert_eq!((running.now(), log.lock().unwrap().len()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn messages_behind_a_refused_one_of_their_topic_are_delivered_again() {
    let (_, log) = subscriber(1, refuse_bad);
    let seen = log.clone();
    let handler = handler_fn(move |delivery: Delivery| {
        let payload = String::from_utf8(delivery.message.payload().unwrap().to_vec()).unwrap();
        seen.lock().unwrap().push(payload.clone());
        refuse_bad(payload)
    });
    let builder = Subscriber::builder("g").on("t", handler).ordering(Ordering::Partition);
    let subscriber = builder.build().unwrap();
    let results = subscriber.enqueue(&mut batch(&[("a", "1"), ("b", "bad2"), ("c", "3"), ("", "4")])).await;
    let again = Some(ErrorKind::NotExecuted);
    assert_eq!(kinds(&results), [None, Some(ErrorKind::Invalid), again, again]);
    assert!(Refusal::carried_by(results[2].as_ref().unwrap_err()).is_none(), "it is not parked");
    let results = subscriber.enqueue(&mut batch(&[("c", "3"), ("", "4")])).await;
    assert_eq!(kinds(&results), [None, None]);
    assert_eq!(*log.lock().unwrap(), ["1", "bad2", "3", "4"]);
}

/// Batches that are dropped before the task runs fill the slots, and not more. Then the task frees them.
#[tokio::test(start_paused = true)]
async fn dropped_batches_do_not_exceed_the_channel() {
    let (subscriber, log) = subscriber(3, |_| async { Ok(Outcome::Done) });
    let mut taken = 0;
    for _ in 0..100 {
        let mut messages = batch(&[("a", "1")]);
        drop(subscriber.enqueue(&mut messages));
        taken += usize::from(messages.is_empty());
    }
    assert_eq!(taken, 3);
    subscriber.ready().await.unwrap();
    let results = subscriber.enqueue(&mut batch(&[("a", "2")])).await;
    assert_eq!(kinds(&results), [None]);
    assert_eq!(*log.lock().unwrap(), ["2"], "dropped batches did not run");
}

#[test]
fn a_subscriber_works_on_the_next_runtime() {
    let (subscriber, log) = subscriber(10, |_| async { Ok(Outcome::Done) });
    for payload in ["1", "2"] {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let results = runtime.block_on(async { subscriber.enqueue(&mut batch(&[("a", payload)])).await });
        assert_eq!(kinds(&results), [None]);
    }
    assert_eq!(*log.lock().unwrap(), ["1", "2"]);
}
