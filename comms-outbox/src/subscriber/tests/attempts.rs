//! The attempts of a message that the relay parks as held meanwhile.

use super::*;

/// Returns a subscriber whose nth call fails with the nth error and then succeeds, and the numbers of its attempts.
fn failing(errors: Vec<Error>) -> (Subscriber, Arc<Mutex<Vec<u32>>>) {
    let (errors, seen) = (Arc::new(Mutex::new(VecDeque::from(errors))), Arc::<Mutex<Vec<u32>>>::default());
    let attempts = seen.clone();
    let handler = handler_fn(move |delivery: Delivery| {
        seen.lock().unwrap().push(delivery.attempt);
        let next = errors.lock().unwrap().pop_front();
        async move { next.map_or(Ok(Outcome::Done), Err) }
    });
    let config = AttemptConfig::default().max_attempts(3).hold_in_place(Duration::ZERO);
    (Subscriber::builder("g").on("t", handler).attempts(config).build().unwrap(), attempts)
}

async fn refusal(subscriber: &Subscriber) -> Refusal {
    let results = subscriber.enqueue(&mut batch(&[("a", "1")])).await;
    Refusal::carried_by(results[0].as_ref().unwrap_err()).unwrap().clone()
}

#[tokio::test(start_paused = true)]
async fn a_message_that_was_parked_as_held_keeps_its_attempts() {
    let (again, away) = (|| Error::indeterminate("no answer"), || Error::not_executed("away"));
    let (subscriber, attempts) = failing(vec![again(), away(), away(), again(), away(), again()]);
    let mut stored = Vec::new();
    for _ in 0..3 {
        let refusal = refusal(&subscriber).await;
        assert!(refusal.hold.is_some());
        stored.push(refusal.attempts);
    }
    let last = refusal(&subscriber).await;
    assert_eq!((last.hold, last.kind), (None, Some(ErrorKind::Indeterminate)), "the third counted attempt");
    assert_eq!(*attempts.lock().unwrap(), [1, 2, 2, 2, 3, 3]);
    // The relay adds these numbers up: three attempts counted.
    assert_eq!((stored, last.attempts), (vec![1, 0, 1], 1));

    // An operator who releases a parked message gives it all attempts again.
    let released = subscriber.enqueue(&mut batch(&[("a", "1")])).await;
    assert_eq!((kinds(&released), attempts.lock().unwrap().last()), (vec![None], Some(&1)));
}
